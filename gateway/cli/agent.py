"""govctl agent: the inventory of identities, and their certificates."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.app import open_authority, open_registry
from gateway.cli import review, revocation, static_keys
from gateway.cli.acting import IdArgument, ReasonOption, check_known, inventory, moment, operator, record
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say, when
from gateway.config import load_config
from gateway.inventory_records import registered
from identity.authority import write_svid
from identity.registry import KINDS, RISK_TIERS, Agent
from identity.spiffe_id import SpiffeId

_TIMES = ("created_at", "review_due", "last_reviewed", "expires_at", "first_seen", "last_seen")

app = typer.Typer(help="Identities of agents, services, pipelines and people.", no_args_is_help=True)


@app.command()
def register(
    spiffe_id: IdArgument,
    team: Annotated[str, typer.Option(help="Team whose role bindings and quotas it shares.")],
    owner: Annotated[str, typer.Option(help="Person or team that answers for it.")],
    purpose: Annotated[str, typer.Option(help="What it is for.")],
    kind: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")] = "agent",
    risk_tier: Annotated[str, typer.Option(help=f"Highest risk it may reach: {', '.join(RISK_TIERS)}.")] = "limited",
    system: Annotated[str, typer.Option(help="AI system it belongs to.")] = "",
    environment: Annotated[str, typer.Option(help="Where it runs, for instance production.")] = "",
    review: Annotated[str, typer.Option(help="When somebody has to confirm it: a date, or 90d.")] = "",
    expires: Annotated[str, typer.Option(help="When it is suspended unless prolonged: a date, or 90d.")] = "",
    attribute: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, a further fact for the policies. Repeatable.")
    ] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Register it, and let somebody activate it.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Register an identity. It may connect as soon as it has a certificate."""
    loaded = load_config(config)
    check_known(loaded, spiffe_id)
    registry = open_registry(loaded)
    agent = registry.register(
        spiffe_id,
        team=team,
        owner=owner,
        purpose=purpose,
        by=operator(),
        kind=kind,
        risk_tier=risk_tier,
        system=system,
        environment=environment,
        attributes=_attributes(attribute or []),
        status="pending" if pending else "active",
        review_due=moment("--review", review),
        expires_at=moment("--expires", expires),
    )
    record(loaded, "agent.registered", registered(agent))
    registry.close()
    if json:
        print_json(_view(agent))
    else:
        say(f"Registered {agent.id}: {kind} of team {team}, owned by {owner}.")
        after = "issue {} --out DIRECTORY" if agent.status == "active" else "activate {} --reason WHY"
        say(f"Next: govctl agent {after.format(agent.id)}")


@app.command()
def update(
    spiffe_id: IdArgument,
    team: Annotated[str | None, typer.Option(help="Team whose role bindings and quotas it shares.")] = None,
    owner: Annotated[str | None, typer.Option(help="Person or team that answers for it.")] = None,
    purpose: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    risk_tier: Annotated[str | None, typer.Option(help=f"Highest risk: {', '.join(RISK_TIERS)}.")] = None,
    system: Annotated[str | None, typer.Option(help="AI system it belongs to.")] = None,
    environment: Annotated[str | None, typer.Option(help="Where it runs, for instance production.")] = None,
    review: Annotated[str | None, typer.Option(help="When somebody has to confirm it: a date, or 90d.")] = None,
    expires: Annotated[str | None, typer.Option(help="When it is suspended: a date, or 90d; '': never.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Change what is known of an identity. What is not named stays."""
    named = {
        "team": team,
        "owner": owner,
        "purpose": purpose,
        "risk_tier": risk_tier,
        "system": system,
        "environment": environment,
        "review_due": None if review is None else moment("--review", review),
        "expires_at": None if expires is None else moment("--expires", expires),
    }
    changes = {name: value for name, value in named.items() if value is not None}
    if not changes:
        fail("nothing to change is named; see: govctl agent update --help")
    loaded, opened = inventory(config)
    with opened as registry:
        agent = registry.describe(spiffe_id, changes, by=operator())
    record(loaded, "agent.updated", {"agent": agent.id, "changes": changes})
    if json:
        print_json(_view(agent))
    else:
        say(f"Changed {', '.join(changes)} of {agent.id}; running gateways act on it within a second.")


@app.command()
def issue(
    spiffe_id: IdArgument,
    out: Annotated[Path, typer.Option(help="Directory for svid.pem, svid.key, bundle.pem and bundle.jwks.")],
    ttl: Annotated[int | None, typer.Option(help="Lifetime in seconds; default: identity.svid_ttl_seconds.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Make a key and issue an X.509-SVID for a registered, active identity."""
    loaded = load_config(config)
    registry = open_registry(loaded)
    agent = registry.get(spiffe_id)
    if agent.status != "active":
        fail(f"{agent.id} is {agent.status}; only active identities get a certificate.")
    authority = open_authority(loaded)
    key = ec.generate_private_key(ec.SECP256R1())
    svid = authority.issue_x509_svid(
        SpiffeId.parse(agent.id), key.public_key(), loaded.identity.svid_ttl_seconds if ttl is None else ttl
    )
    registry.record_svid(svid.serial, agent.id, svid.not_after)
    record(
        loaded,
        "identity.issued",
        {
            "agent": agent.id,
            "svid": "x509-svid",
            "serial": svid.serial,
            "not_after": svid.not_after,
            "authority": svid.authority_id,
        },
    )
    write_svid(out, svid, key, authority.bundle())
    registry.close()
    if json:
        print_json({"id": agent.id, "serial": svid.serial, "not_after": svid.not_after, "directory": str(out)})
    else:
        say(f"X.509-SVID for {agent.id}, valid until {when(svid.not_after)}, serial {svid.serial}:")
        say(f"  {out / 'svid.pem'}, key {out / 'svid.key'}, trust bundle {out / 'bundle.pem'}")


@app.command("list")
def list_agents(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """List the registered identities."""
    registry = open_registry(load_config(config))
    agents = registry.all()
    registry.close()
    if json:
        print_json([_view(agent) for agent in agents])
    else:
        print_table(
            ["SPIFFE ID", "kind", "team", "owner", "status", "risk tier", "environment", "last seen", "review due"],
            (
                [
                    a.id,
                    a.kind,
                    a.team,
                    a.owner,
                    a.status,
                    a.risk_tier,
                    a.environment,
                    _date(a.last_seen),
                    _date(a.review_due),
                ]
                for a in agents
            ),
            empty="No identity is registered yet: govctl agent register",
        )


@app.command()
def show(spiffe_id: IdArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show one identity, its history, what it calls and the certificates issued to it."""
    registry = open_registry(load_config(config))
    agent, svids = registry.get(spiffe_id), registry.svids(spiffe_id)
    history, usage = registry.history(spiffe_id), registry.usage.of(agent.id)
    registry.close()
    if json:
        told = {"history": [asdict(each) for each in history], "usage": [asdict(each) for each in usage]}
        print_json({**_view(agent), **told, "svids": svids})
        return
    for key, value in _view(agent).items():
        shown = when(value) if key in _TIMES and value else "never" if key in _TIMES else value
        say(f"{key:14} {shown}")
    print_table(
        ["when", "by", "from", "to", "reason"],
        ([when(each.at), each.by, each.before or "-", each.after, each.reason] for each in history),
        empty="Its state never changed.",
    )
    print_table(
        ["resource", "action", "calls", "last used"],
        ([each.resource, each.action, each.calls, when(each.last_used)] for each in usage),
        empty="It never called.",
    )
    print_table(
        ["serial", "issued", "valid until"],
        ([s["serial"], when(s["issued_at"]), when(s["not_after"])] for s in svids),
        empty="No certificate was issued yet.",
    )


@app.command()
def suspend(spiffe_id: IdArgument, reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Refuse its calls until it is activated again; streams under way are cut within a second."""
    _set_status(config, spiffe_id, "suspended", reason)


@app.command()
def quarantine(spiffe_id: IdArgument, reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Refuse its calls while something is looked into."""
    _set_status(config, spiffe_id, "quarantined", reason)


@app.command()
def activate(spiffe_id: IdArgument, reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Let a pending or suspended identity call again."""
    _set_status(config, spiffe_id, "active", reason)


@app.command()
def retire(spiffe_id: IdArgument, reason: ReasonOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """End an identity for good."""
    _set_status(config, spiffe_id, "retired", reason)


app.command("revoke")(revocation.revoke)
app.command("lift")(revocation.lift)
app.command("revocations")(revocation.revocations)
app.command("findings")(review.findings)
app.command("static-keys")(static_keys.report)
app.add_typer(review.app, name="review")


def _attributes(given: list[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            fail(f"--attribute {text!r} is not NAME=VALUE.")
        found[name] = value
    return found


def _set_status(config: Path, spiffe_id: str, status: str, reason: str) -> None:
    loaded = load_config(config)
    registry = open_registry(loaded)
    agent = registry.set_status(spiffe_id, status, reason, by=operator())
    registry.close()
    record(loaded, "agent.status_changed", {"agent": agent.id, "status": status, "cause": reason})
    say(f"{agent.id} is {status}; running gateways act on it within a second.")


def _date(seconds: int) -> str:
    return when(seconds)[:10] if seconds else "-"


def _view(agent: Agent) -> dict[str, Any]:
    return {**asdict(agent), "attributes": dict(agent.attributes)}
