"""govctl agent: the inventory of identities, and their certificates."""

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric import ec

from audit.log import append_once
from gateway.app import open_audit_store, open_authority, open_registry
from gateway.cli.output import DEFAULT_CONFIG, ConfigOption, JsonOption, fail, print_json, print_table, say, when
from gateway.clock import system_clock
from gateway.config import GatewayConfig, load_config
from identity.authority import write_svid
from identity.registry import KINDS, RISK_TIERS, Agent
from identity.spiffe_id import SpiffeId

app = typer.Typer(help="Identities of agents, services, pipelines and people.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="SPIFFE-ID", help="spiffe://trust-domain/path")]
ReasonOption = Annotated[str, typer.Option(help="Why; goes to the audit log.")]


@app.command()
def register(
    spiffe_id: IdArgument,
    team: Annotated[str, typer.Option(help="Team whose role bindings and quotas it shares.")],
    owner: Annotated[str, typer.Option(help="Person or team that answers for it.")],
    purpose: Annotated[str, typer.Option(help="What it is for.")],
    kind: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")] = "agent",
    risk_tier: Annotated[str, typer.Option(help=f"Highest risk it may reach: {', '.join(RISK_TIERS)}.")] = "limited",
    system: Annotated[str, typer.Option(help="AI system it belongs to.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Register an identity. It may connect as soon as it has a certificate."""
    loaded = load_config(config)
    _own(loaded, spiffe_id)
    registry = open_registry(loaded)
    agent = registry.register(
        spiffe_id,
        team=team,
        owner=owner,
        purpose=purpose,
        kind=kind,
        risk_tier=risk_tier,
        system=system,
        by=operator(),
    )
    _record(loaded, "agent.registered", {"agent": agent.id, "kind": kind, "team": team, "owner": owner})
    registry.close()
    if json:
        print_json(_view(agent))
    else:
        say(f"Registered {agent.id}: {kind} of team {team}, owned by {owner}.")
        say(f"Next: govctl agent issue {agent.id} --out DIRECTORY")


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
    _record(loaded, "identity.issued", {"agent": agent.id, "serial": svid.serial, "not_after": svid.not_after})
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
            ["SPIFFE ID", "kind", "team", "owner", "status", "risk tier"],
            ([a.id, a.kind, a.team, a.owner, a.status, a.risk_tier] for a in agents),
            empty="No identity is registered yet: govctl agent register",
        )


@app.command()
def show(spiffe_id: IdArgument, config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Show one identity and the certificates issued to it."""
    registry = open_registry(load_config(config))
    agent, svids = registry.get(spiffe_id), registry.svids(spiffe_id)
    registry.close()
    if json:
        print_json({**_view(agent), "svids": svids})
        return
    for key, value in _view(agent).items():
        say(f"{key:14} {value}")
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


@app.command()
def revoke(
    serial: Annotated[str, typer.Argument(help="Serial number of the certificate, hexadecimal.")],
    reason: ReasonOption,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Revoke one certificate by its serial; its identity stays."""
    loaded = load_config(config)
    registry = open_registry(loaded)
    registry.revoke_serial(serial, reason, by=operator())
    registry.close()
    _record(loaded, "identity.revoked", {"serial": serial, "cause": reason})
    say(f"Certificate {serial} is revoked; running gateways refuse it within a second.")


def _set_status(config: Path, spiffe_id: str, status: str, reason: str) -> None:
    loaded = load_config(config)
    registry = open_registry(loaded)
    agent = registry.set_status(spiffe_id, status, reason, by=operator())
    registry.close()
    _record(loaded, "agent.status_changed", {"agent": agent.id, "status": status, "cause": reason})
    say(f"{agent.id} is {status}; running gateways act on it within a second.")


def _own(config: GatewayConfig, spiffe_id: str) -> None:
    """Refuse an ID that this gateway could never meet."""
    parsed = SpiffeId.parse(spiffe_id)
    known = [config.trust_domain, *(federated.trust_domain for federated in config.identity.federated)]
    if parsed.trust_domain.name not in known:
        fail(f"{parsed} is of the trust domain {parsed.trust_domain}; this gateway knows: {', '.join(known)}")
    if not parsed.path:
        fail(f"{parsed} names the trust domain itself; an identity has a path, for instance {parsed}/agent/name")


def operator() -> str:
    """Return who runs govctl, as the audit log names it."""
    return f"operator:{getpass.getuser()}"


def _record(config: GatewayConfig, record_type: str, fields: dict[str, Any]) -> None:
    who = {"principal": operator()}
    append_once(open_audit_store(config), "govctl", record_type, {**who, **fields}, system_clock)


def _view(agent: Agent) -> dict[str, Any]:
    return {
        "id": agent.id,
        "kind": agent.kind,
        "team": agent.team,
        "owner": agent.owner,
        "purpose": agent.purpose,
        "status": agent.status,
        "status_reason": agent.status_reason,
        "risk_tier": agent.risk_tier,
        "system": agent.system,
        "created_at": agent.created_at,
    }
