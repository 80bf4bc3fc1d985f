"""govctl policy explain: why a call was decided as it was, and the smallest changes that would allow it."""

import json as json_format
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.app import open_audit_store
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.replaying import looked_up_anew
from gateway.cli.acting import inventory, now
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, say, when
from gateway.cli.policy.base import app, embedded_policies
from gateway.clock import NANOSECONDS
from gateway.config import GatewayConfig, load_config
from gateway.errors import IdentityRefusedError, PolicyDeniedError
from gateway.policyreview.explain import ExplainedCall, ExplainedReason, Explanation, bounds, explain_call
from gateway.policyreview.inert import plain
from gateway.policyreview.questions import Questions
from gateway.policyreview.recorded import chain_of
from gateway.policyreview.standing import refusal


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What the audit log says about a call, and its inputs as they are now.

    Attributes:
        shown: what of the record is shown.
        inputs: one for each link, with roles and system looked up anew.
        roles: the roles of each link that were recorded and that are held now, where they differ.
    """

    shown: dict[str, Any]
    inputs: list[dict[str, Any]]
    roles: list[dict[str, Any]]


@app.command("explain")
def explain_command(
    request: Annotated[str, typer.Option(help="Id of a recorded call: the x-request-id of its answer.")] = "",
    input_file: Annotated[
        Path | None, typer.Option("--input", help="File with a policy input (JSON); - reads standard input.")
    ] = None,
    principal: Annotated[str, typer.Option(help="SPIFFE ID of who would call.")] = "",
    action: Annotated[str, typer.Option(help="What they would do.")] = "model.infer",
    resource: Annotated[str, typer.Option(help="On what: a model, or a route of the control plane.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Explain a decision: its reasons, the rules behind them, and what would allow it."""
    if sum([bool(request), input_file is not None, bool(principal)]) != 1:
        fail("say which call: --request ID, --input FILE, or --principal SPIFFE-ID --resource NAME.", code=2)
    loaded = load_config(config)
    policies = embedded_policies(loaded)
    questions = Questions(loaded, policies, now())
    recorded: _Recorded | None = None
    refused: IdentityRefusedError | None = None
    if request:
        recorded = _find(loaded, policies, request)
        inputs = recorded.inputs
    elif input_file is not None:
        inputs = [_read(input_file)]
    else:
        _, opened = inventory(config)
        with opened as registry:
            agent = registry.get(principal)
            refused = refusal(agent.id, registry.snapshot(entries=False), questions.now)
        inputs = [questions.ask(agent, action, resource)]
    explained = explain_call(policies, inputs, questions.resources(inputs[0]["action"]))
    if json:
        print_json(
            {
                "revision": policies.revision,
                "data_digest": policies.data_digest,
                **explained.document(),
                "refused": None if refused is None else {"code": refused.code, "message": refused.detail},
                "recorded": None if recorded is None else {**recorded.shown, "changed_roles": recorded.roles},
                "differs": None if recorded is None else _differs(recorded, explained),
            }
        )
        return
    for place, each in enumerate(explained.links):
        if len(explained.links) > 1:
            say("The caller:" if place == 0 else f"Link {place} of the chain, for whom it calls:")
        _print(each)
    if not explained.decision.allow and all(each.decision.allow for each in explained.links):
        say("Together they are denied, since every link has to be kept:")
        _print_reasons(explained.reasons)
    if not explained.decision.allow:
        _print_changes(explained)
    if refused is not None:
        say(f"Whatever the policies say, the gateway refuses it before: {plain(refused.detail, 500)}")
        say(f"  {plain(refused.remedy, 500)}")
    if recorded is not None:
        _print_recorded(recorded, explained, policies)


def _find(config: GatewayConfig, policies: LoadedPolicySet, request: str) -> _Recorded:
    found = open_audit_store(config).find(request)
    if found is None:
        fail(f"the audit log has no record {plain(request)}; its id is the x-request-id of the answer.")
    record = json_format.loads(found.record)
    if not record.get("policy_input"):
        why = ", ".join(record.get("reasons", [])) or "it is no record of a call"
        fail(f"{plain(request)} was not decided by the policies: {plain(why)}.")
    inputs = _checked([record["policy_input"], *record.get("delegated_inputs", [])], f"the record {plain(request)}")
    moment = now()
    anew = [looked_up_anew(policies, each, moment) for each in inputs]
    roles = [
        {
            "principal": one["principal"]["id"],
            "recorded": one["principal"]["roles"],
            "now": other["principal"]["roles"],
        }
        for one, other in zip(inputs, anew, strict=True)
        if sorted(one["principal"]["roles"]) != sorted(other["principal"]["roles"])
    ]
    names = ("type", "time", "decision", "reasons", "problem", "obligations", "policy")
    return _Recorded({name: record.get(name) for name in names}, anew, roles)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json_format.loads(sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8"))
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}.")
    except ValueError as error:
        fail(f"{path} is not JSON: {error}.")
    (checked,) = _checked([document], str(path))
    return checked


def _checked(inputs: list[Any], source: str) -> list[dict[str, Any]]:
    try:
        checked: list[dict[str, Any]] = json_format.loads(chain_of(inputs))
    except ValueError as error:
        fail(f"{source}: no policy input: {error}. Its form is in docs/architecture.md.")
    return checked


def _print(explained: Explanation) -> None:
    allowed = explained.decision.allow
    verdict = "allowed" if allowed else "denied"
    say(f"{plain(explained.principal, 2048)} {plain(explained.action)} {plain(explained.resource)}: {verdict}")
    _print_reasons(explained.reasons)
    for obligation in explained.decision.obligations:
        say("  with " + ", ".join(f"{key} {value}" for key, value in obligation.items()))
    _print_data(explained)


def _print_changes(explained: ExplainedCall) -> None:
    if explained.prohibited:
        say("  The system is a prohibited practice: no role and no other change allows this call.")
    elif not explained.changes:
        say("  No change of one or two things that could be tried would allow it.")
    else:
        say(f"  Any one of these would allow {'it' if len(explained.links) == 1 else 'the call as a whole'}:")
        for changes in explained.changes:
            say(f"  - {plain('; and '.join(changes), 5000)}")


def _print_reasons(reasons: tuple[ExplainedReason, ...]) -> None:
    for reason in reasons:
        places = ", ".join(reason.places) or "no rule of the policies was found that gives it"
        say(f"  {reason.code}: {reason.message}  [{places}]")
        if reason.remedy:
            say(f"    {reason.remedy}")


def _print_data(explained: Explanation) -> None:
    say(f"  principal: {plain(explained.status)}, risk tier {plain(explained.risk_tier)}")
    for role in explained.roles:
        say(f"  role {plain(role.name)}: {plain('; '.join(role.grants or role.misses), 300)}")
    if not explained.roles:
        say("  no role is bound to this principal, its team or its kind")
    if explained.system is not None:
        system = explained.system
        say(f"  system {plain(system['id'])}: risk {system['risk']}, data {_listed(system.get('data_classes', ()))}")
    elif explained.action.startswith("model."):
        say("  the register of AI systems has no entry for this model; the configuration names a model's system")
    bound = list(bounds(explained))
    for name, regions in bound:
        say(f"  {plain(name)} is bound to the regions {_listed(regions)}")
    if bound:
        say(f"  the resource is in {plain(explained.region) or 'several regions'}")
    for name, entry in explained.data_classes.items():
        if entry is None:
            say(f"  data {plain(name)} is no class that the policies know")


def _listed(names: Any) -> str:
    return plain(", ".join(names), 300) or "none"


def _differs(recorded: _Recorded, explained: ExplainedCall) -> bool:
    """Return whether the policies decide otherwise now; a call refused by something else says nothing about them."""
    if _refused_elsewhere(recorded):
        return False
    decision = "allow" if explained.decision.allow else "deny"
    reasons = set(recorded.shown["reasons"] or ())
    return recorded.shown["decision"] != decision or reasons != set(explained.decision.reasons)


def _refused_elsewhere(recorded: _Recorded) -> bool:
    problem = recorded.shown["problem"]
    return bool(problem) and problem != PolicyDeniedError.slug


def _print_recorded(recorded: _Recorded, explained: ExplainedCall, policies: LoadedPolicySet) -> None:
    shown = recorded.shown
    by = (shown["policy"] or {}).get("revision", "")
    at = when(int(shown["time"]) // NANOSECONDS)
    reasons = ", ".join(shown["reasons"] or ())
    said = f"{shown['decision']} ({plain(reasons, 300)})" if reasons else str(shown["decision"])
    say(f"Recorded at {at}, under revision {plain(by)}: {said}.")
    if _refused_elsewhere(recorded):
        say("The policies did not refuse it then; the gateway did, for that reason.")
    for each in recorded.roles:
        say(f"The roles of {plain(each['principal'])} were {_listed(each['recorded'])}; now {_listed(each['now'])}.")
    if by != policies.revision:
        say(f"The above is what revision {plain(policies.revision)} says now.")
    if _differs(recorded, explained):
        say("The decision has changed since.")
