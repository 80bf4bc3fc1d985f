"""The identities themselves: registering one, changing what is known of it, moving it along its life."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from identity.errors import RegistryError
from identity.registry import schema
from identity.registry.database import Database, current_generation
from identity.registry.lifecycle import KINDS, RISK_TIERS, STATUSES, check_actor, check_transition
from identity.spiffe_id import SpiffeId

DESCRIPTION = (
    "kind",
    "team",
    "owner",
    "purpose",
    "risk_tier",
    "system",
    "environment",
    "attributes",
    "review_due",
    "expires_at",
)
"""Fields of an identity that its people decide on, besides its status."""

_LARGEST_TIME = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Agent:
    """A registered identity. Times are UNIX seconds; 0 is never.

    Attributes:
        id: SPIFFE ID.
        kind: agent, service, pipeline or human.
        team: team whose quotas and role bindings it shares.
        owner: person or team that answers for it.
        status: pending, active, suspended, quarantined or retired; only active ones are served.
        risk_tier: highest risk of an AI system it may reach: minimal, limited or high.
        system: AI system it belongs to, if any.
        purpose: what it is for, in words.
        attributes: further facts for the policy.
        created_at: when it was registered.
        status_reason: why it has its status.
        environment: where it runs, for instance production.
        created_by: who registered it.
        review_due: when somebody has to confirm that it is still needed.
        last_reviewed: when somebody last did.
        expires_at: when it is suspended, unless somebody prolongs it.
        first_seen: its first call.
        last_seen: its latest call known here; a snapshot's may be older.
        calls: number of its calls known here.
    """

    id: str
    kind: str
    team: str
    owner: str
    status: str
    risk_tier: str
    system: str = ""
    purpose: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    status_reason: str = ""
    environment: str = ""
    created_by: str = ""
    review_due: int = 0
    last_reviewed: int = 0
    expires_at: int = 0
    first_seen: int = 0
    last_seen: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state in the history of an identity; `before` is empty for its registration."""

    id: str
    at: int
    by: str
    before: str
    after: str
    reason: str


def insert_agents(connection: Connection, now: int, agents: Sequence[Agent], by: str) -> None:
    """Add identities inside a change; their IDs are canonical already.

    Raises:
        RegistryError: one is known already, or has a field that is not allowed.
    """
    if not agents:
        return
    for agent in agents:
        check_description(agent)
        if agent.status not in {"pending", "active"}:
            raise RegistryError(f"a new identity has the status pending or active, not {agent.status!r}")
        check_transition(agent.id, "", agent.status, by=by, owner=agent.owner, risk_tier=agent.risk_tier)
    generation = current_generation(connection)
    rows = [
        {name: getattr(agent, name) for name in DESCRIPTION}
        | {
            "id": agent.id,
            "status": agent.status,
            "attributes": json.dumps(dict(agent.attributes), sort_keys=True),
            "created_by": by,
            "created_at": now,
            "changed_at": now,
            "generation": generation,
        }
        for agent in agents
    ]
    try:
        with connection.begin_nested():
            connection.execute(insert(schema.agents), rows)
    except IntegrityError:
        known = set(connection.execute(select(schema.agents.c.id)).scalars())
        twice = next((agent.id for agent in agents if agent.id in known), agents[0].id)
        raise RegistryError(f"{twice} is registered already; see: govctl agent show {twice}") from None
    connection.execute(
        insert(schema.transitions),
        [_transition(agent.id, now, by, "", agent.status, "registered") for agent in agents],
    )


def describe_agent(connection: Connection, now: int, spiffe_id: str, changes: Mapping[str, Any], by: str) -> Agent:
    """Change fields named in `DESCRIPTION` inside a change.

    Raises:
        RegistryError: unknown, retired, or a field is not allowed.
    """
    check_actor(by)
    unknown = set(changes) - set(DESCRIPTION)
    if unknown:
        raise RegistryError(f"{', '.join(sorted(unknown))} cannot be changed; these can: {', '.join(DESCRIPTION)}")
    before = load_agent(connection, spiffe_id)
    if before.status == "retired":
        raise RegistryError(f"{spiffe_id} is retired; that is final")
    after = _replaced(before, changes)
    check_description(after)
    if after.status == "active" and after.risk_tier == "high" and before.risk_tier != "high":
        check_transition(spiffe_id, "suspended", "active", by=by, owner=after.owner, risk_tier="high")
    values = {name: value for name, value in changes.items() if name != "attributes"}
    if "attributes" in changes:
        values["attributes"] = json.dumps(dict(after.attributes), sort_keys=True)
    _write(connection, spiffe_id, now, values)
    return load_agent(connection, spiffe_id)


def move_agent(connection: Connection, now: int, spiffe_id: str, status: str, reason: str, by: str) -> Agent:
    """Move an identity to another state inside a change.

    Raises:
        RegistryError: unknown, no reason, or the transition is not allowed to this actor.
    """
    one_of("status", status, STATUSES)
    if not reason.strip():
        raise RegistryError("a change of status needs a reason")
    before = load_agent(connection, spiffe_id)
    check_transition(spiffe_id, before.status, status, by=by, owner=before.owner, risk_tier=before.risk_tier)
    _write(connection, spiffe_id, now, {"status": status, "status_reason": reason})
    transition = _transition(spiffe_id, now, by, before.status, status, reason)
    connection.execute(insert(schema.transitions).values(transition))
    return load_agent(connection, spiffe_id)


def review_agent(connection: Connection, now: int, spiffe_id: str, review_due: int) -> None:
    """Note inside a change that somebody confirmed the identity; the next review is at `review_due` (UNIX seconds)."""
    _write(connection, spiffe_id, now, {"last_reviewed": now, "review_due": review_due})


def load_agent(connection: Connection, spiffe_id: str) -> Agent:
    """Return one identity; its ID is canonical already.

    Raises:
        RegistryError: not registered.
    """
    row = connection.execute(select(schema.agents).where(schema.agents.c.id == spiffe_id)).one_or_none()
    if row is None:
        raise RegistryError(f"{spiffe_id} is not registered; register it with: govctl agent register {spiffe_id}")
    return agent_of(row)


def all_agents(connection: Connection, since_generation: int = -1) -> list[Agent]:
    """Return the identities that changed after a generation, by ID."""
    query = select(schema.agents).order_by(schema.agents.c.id)
    if since_generation >= 0:
        query = query.where(schema.agents.c.generation > since_generation)
    return [agent_of(row) for row in connection.execute(query)]


def history(database: Database, spiffe_id: str) -> list[Transition]:
    """Return the changes of state of one identity, oldest first."""
    table = schema.transitions
    query = select(table).where(table.c.id == canonical(spiffe_id)).order_by(table.c.number)
    with database.read() as connection:
        return [
            Transition(row.id, row.at, row.by, row.before, row.after, row.reason) for row in connection.execute(query)
        ]


def canonical(spiffe_id: str) -> str:
    """Return a SPIFFE ID in the form in which it is kept.

    Raises:
        SpiffeIdError: not a SPIFFE ID.
    """
    return str(SpiffeId.parse(spiffe_id))


def check_description(agent: Agent) -> None:
    """Check the fields that people decide on.

    Raises:
        RegistryError: the first that is not allowed, and what is.
    """
    if not SpiffeId.parse(agent.id).path:
        raise RegistryError(f"{agent.id} names a trust domain, not an identity; add a path, such as /agent/name")
    one_of("kind", agent.kind, KINDS)
    one_of("risk tier", agent.risk_tier, RISK_TIERS)
    for name in ("team", "owner", "purpose"):
        if not getattr(agent, name).strip():
            raise RegistryError(f"an identity needs its {name}")
    for name in ("review_due", "expires_at"):
        if not 0 <= getattr(agent, name) <= _LARGEST_TIME:
            raise RegistryError(f"{name} is UNIX seconds, or 0 for never")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not among the allowed ones.

    Raises:
        RegistryError: names those that are.
    """
    if value not in allowed:
        raise RegistryError(f"{value!r} is not a {name}; use one of: {', '.join(allowed)}")


def agent_of(row: Row[Any]) -> Agent:
    """Return the identity in a row of the table."""
    values = dict(row._mapping)
    del values["changed_at"], values["generation"]
    values["attributes"] = json.loads(values["attributes"])
    return Agent(**values)


def _replaced(agent: Agent, changes: Mapping[str, Any]) -> Agent:
    return Agent(**({name: getattr(agent, name) for name in Agent.__slots__} | dict(changes)))


def _write(connection: Connection, spiffe_id: str, now: int, values: Mapping[str, Any]) -> None:
    connection.execute(
        update(schema.agents)
        .where(schema.agents.c.id == spiffe_id)
        .values(**values, changed_at=now, generation=current_generation(connection))
    )


def _transition(spiffe_id: str, at: int, by: str, before: str, after: str, reason: str) -> dict[str, Any]:
    return {"id": spiffe_id, "at": at, "by": by, "before": before, "after": after, "reason": reason}
