"""govctl policy explain: why a call was decided as it was, and the smallest changes that would allow it."""

import json as json_format
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.app import configured_policies, open_audit_store
from gateway.cli.acting import inventory, now
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, say
from gateway.cli.policy.base import app
from gateway.config import GatewayConfig, load_config
from gateway.policyreview.explain import Explanation, explain
from gateway.policyreview.inert import plain
from gateway.policyreview.questions import Questions


@app.command("explain")
def explain_command(
    request: Annotated[str, typer.Option(help="Id of a recorded call: the x-request-id of its answer.")] = "",
    input_file: Annotated[
        Path | None, typer.Option("--input", help="File with a policy input (JSON); - reads it.")
    ] = None,
    principal: Annotated[str, typer.Option(help="SPIFFE ID of who would call.")] = "",
    action: Annotated[str, typer.Option(help="What they would do.")] = "model.infer",
    resource: Annotated[str, typer.Option(help="On what: a model, or a route of the control plane.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Explain a decision: its reasons, the rules behind them, what would allow it."""
    given = [bool(request), input_file is not None, bool(principal)]
    if sum(given) != 1:
        fail("say which call: --request ID, --input FILE, or --principal SPIFFE-ID --resource NAME.", code=2)
    loaded = load_config(config)
    policies = configured_policies(loaded)
    recorded: dict[str, Any] = {}
    if request:
        recorded, inputs = _recorded(loaded, request)
    elif input_file is not None:
        inputs = [_read(input_file)]
    else:
        inputs = [_asked(config, principal, action, resource)]
    try:
        explained = [explain(policies, each) for each in inputs]
    except (KeyError, TypeError) as error:
        fail(f"that is no policy input: {error}. Its form is in docs/architecture.md.")
    if json:
        shown = {"revision": policies.revision, "recorded": recorded, "links": [each.document() for each in explained]}
        print_json(shown)
        return
    for place, each in enumerate(explained):
        if len(explained) > 1:
            say("The caller:" if place == 0 else f"Link {place} of the chain, for whom it calls:")
        _print(each)
    if recorded:
        _print_recorded(recorded, policies.revision, all(each.decision.allow for each in explained))


def _recorded(config: GatewayConfig, request: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found = open_audit_store(config).find(request)
    if found is None:
        fail(f"the audit log has no record {request}; its id is the x-request-id of the answer.")
    record = json_format.loads(found.record)
    if not record.get("policy_input"):
        fail(f"{request} was refused before the policies were asked: {', '.join(record.get('reasons', []))}.")
    shown = {name: record.get(name) for name in ("type", "time", "decision", "reasons", "obligations", "policy")}
    return shown, [record["policy_input"], *record.get("delegated_inputs", [])]


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json_format.loads(sys.stdin.read() if str(path) == "-" else path.read_text())
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be read as JSON: {error}.")
    if not isinstance(document, dict):
        fail(f"{path}: a policy input is a JSON object.")
    return document


def _asked(config: Path, principal: str, action: str, resource: str) -> dict[str, Any]:
    loaded, opened = inventory(config)
    with opened as registry:
        agent = registry.get(principal)
    return Questions(loaded, configured_policies(loaded), now()).ask(agent, action, resource)


def _print(explained: Explanation) -> None:
    allowed = explained.decision.allow
    verdict = "allowed" if allowed else "denied"
    say(f"{plain(explained.principal)} {explained.action} {plain(explained.resource)}: {verdict}")
    for reason in explained.reasons:
        say(f"  {reason.code}: {reason.message}" + (f"  [{reason.place}]" if reason.place else ""))
    for obligation in explained.decision.obligations:
        say("  with " + ", ".join(f"{key} {value}" for key, value in obligation.items()))
    for role in explained.roles:
        say(f"  role {plain(role.name)}: {plain('; '.join(role.grants or role.misses), 300)}")
    if not explained.roles:
        say("  no role is bound to this principal, its team or its kind")
    if explained.system is not None:
        system = explained.system
        say(f"  system {system['id']}: risk {system['risk']}, data {', '.join(system['data_classes']) or 'none'}")
    if allowed:
        return
    if not explained.changes:
        say("  No change of one or two things that could be tried would allow it.")
        return
    say("  Any one of these would allow it:")
    for changes in explained.changes:
        say(f"  - {'; and '.join(changes)}")


def _print_recorded(recorded: dict[str, Any], revision: str, allowed: bool) -> None:
    by = (recorded["policy"] or {}).get("revision", "")
    if by != revision:
        say(f"It was decided by revision {by}; this is what {revision} says.")
    if (recorded["decision"] == "allow") != allowed:
        say(f"Recorded was: {recorded['decision']} ({', '.join(recorded['reasons'] or [])}).")
