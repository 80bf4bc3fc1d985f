"""govctl policy activate, rollback and history: which revision decides, and the way back."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.app import policy_store
from gateway.authorization.bundle.archive import MAX_PACKED_BYTES
from gateway.cli.acting import now, operator, record
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say, when
from gateway.cli.policy.base import app
from gateway.config import GatewayConfig, load_config
from gateway.errors import ConfigError
from gateway.local_control import NotRunningError, ask
from gateway.people import says_something
from gateway.policy_activation.policies import ActivePolicies
from gateway.policy_activation.store import Activation
from gateway.policyreview.inert import plain
from gateway.process import only_gateway

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle of 'govctl policy build'.")]
WhyOption = Annotated[str, typer.Option("--reason", help="Why; goes to the audit log.")]


@app.command()
def activate(
    bundle: BundleArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    rollback: Annotated[bool, typer.Option("--rollback", help="It may be older than the active revision.")] = False,
    reason: WhyOption = "",
    json: JsonOption = False,
) -> None:
    """Let every worker decide by the revision in BUNDLE: all of them, or none.

    A running gateway takes it at once; otherwise it is what the gateway starts with.
    """
    if rollback and not says_something(reason):
        fail("--rollback needs --reason: why an older revision is wanted.")
    loaded = load_config(config)
    content, source = read_bundle_file(bundle), str(bundle.resolve())
    request = {"rollback": rollback, "reason": reason, "source": source}
    try:
        answer = ask(loaded.state_dir, "policy.activate", request, content)
    except NotRunningError:
        with only_gateway(loaded.state_dir):  # one that starts at this moment reads what is active only once
            answer = _activate_at_rest(loaded, content, source, rollback=rollback, reason=reason)
    _print(answer, "Active", json=json)


@app.command()
def rollback(
    to: Annotated[str, typer.Argument(metavar="[REVISION]", help="Name, or beginning of the digest.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    reason: WhyOption = "",
    json: JsonOption = False,
) -> None:
    """Go back to an earlier revision: by default the one before the active one."""
    if not says_something(reason):
        fail("A rollback needs --reason: it goes to the audit log.")
    loaded = load_config(config)
    try:
        answer = ask(loaded.state_dir, "policy.rollback", {"to": to, "reason": reason})
    except NotRunningError:
        with only_gateway(loaded.state_dir):
            policies = ActivePolicies(policy_store(loaded), now)
            candidate = policies.earlier(to, loaded.policy)
            activation = candidate.activation(time=now(), by=operator(), rollback=True, reason=reason)
            answer = _take_at_rest(loaded, policies, candidate.content, activation)
    _print(answer, "Back to", json=json)


@app.command()
def history(
    config: ConfigOption = DEFAULT_CONFIG,
    count: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 20,
    json: JsonOption = False,
) -> None:
    """List the activations, the latest first: what, when, by whom, written and approved by whom."""
    activations = policy_store(load_config(config)).history().activations[::-1][:count]
    if json:
        print_json([each.model_dump(mode="json") for each in activations])
        return
    print_table(
        ["activated", "revision", "digest", "by", "author", "approved by", ""],
        (
            [
                when(each.time),
                plain(each.revision, 40),
                each.digest[:12],
                each.by,
                plain(each.change.author),
                plain(", ".join(each.change.approvers)),
                " ".join(filter(None, ["active" * (place == 0), f"rollback: {plain(each.reason)}" * each.rollback])),
            ]
            for place, each in enumerate(activations)
        ),
        empty="No revision was activated here yet.",
    )


def read_bundle_file(path: Path) -> bytes:
    """Read a bundle, within the bound of its size."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PACKED_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    return content


def _activate_at_rest(
    config: GatewayConfig, content: bytes, source: str, *, rollback: bool, reason: str
) -> dict[str, Any]:
    """Activate while no gateway runs: it starts with what is recorded here."""
    policies = ActivePolicies(policy_store(config), now)
    try:
        candidate = policies.candidate(content, source, config.policy, rollback=rollback)
    except ConfigError as error:
        record(config, "policy.refused", {"source": source, "rollback": rollback, "cause": str(error)[:2000]})
        raise
    activation = candidate.activation(time=now(), by=operator(), rollback=rollback, reason=reason)
    return _take_at_rest(config, policies, content, activation)


def _take_at_rest(
    config: GatewayConfig, policies: ActivePolicies, content: bytes, activation: Activation
) -> dict[str, Any]:
    store = policies.store
    with store.locked():
        before = store.history().active
        store.put(content)
        record(config, "policy.activated", activation.record(before))
        store.record(activation)
    return activation.model_dump(mode="json")


def _print(activation: dict[str, Any], verb: str, *, json: bool) -> None:
    if json:
        print_json(activation)
    else:
        say(f"{verb}: revision {activation['revision']} (bundle {activation['digest'][:12]}).")
