"""The inventory of non-human identities: who they are, who owns them, whether they stand, and what is revoked.

Several processes share it: govctl writes, the gateway's processes poll `generation`, which every change raises in the
same transaction, and take a new `snapshot` when it moved. Reading waits for no writer.
"""

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    create_engine,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from identity.clock import NANOSECONDS, Clock
from identity.errors import RegistryError
from identity.spiffe_id import SpiffeId

KINDS = ("agent", "service", "pipeline", "human")
STATUSES = ("pending", "active", "suspended", "quarantined", "retired")
RISK_TIERS = ("minimal", "limited", "high")

_TRANSITIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "pending": frozenset({"active", "retired"}),
        "active": frozenset({"suspended", "quarantined", "retired"}),
        "suspended": frozenset({"active", "quarantined", "retired"}),
        "quarantined": frozenset({"suspended", "retired"}),
        "retired": frozenset(),
    }
)

_SERIAL = re.compile("[0-9A-Fa-f]{1,40}")
_BUSY_SECONDS = 10
"""How long a change waits for another process's change."""

_metadata = MetaData()
_agents = Table(
    "agents",
    _metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("team", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("status", String, nullable=False),
    Column("status_reason", String, nullable=False),
    Column("risk_tier", String, nullable=False),
    Column("system", String, nullable=False),
    Column("attributes", String, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("changed_at", Integer, nullable=False),
)
_svids = Table(
    "svids",
    _metadata,
    Column("serial", String, primary_key=True),
    Column("id", String, nullable=False, index=True),
    Column("issued_at", Integer, nullable=False),
    Column("not_after", Integer, nullable=False),
)
_revoked = Table(
    "revoked_serials",
    _metadata,
    Column("serial", String, primary_key=True),
    Column("reason", String, nullable=False),
    Column("revoked_at", Integer, nullable=False),
)
_generation = Table(
    "generation",
    _metadata,
    Column("one", Integer, primary_key=True),
    Column("value", Integer, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Agent:
    """A registered identity.

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
        created_at: UNIX seconds.
        status_reason: why it has its status.
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


@dataclass(frozen=True, slots=True)
class RegistrySnapshot:
    """The inventory at one generation, for look-ups on the path of a call."""

    generation: int
    agents: Mapping[str, Agent]
    revoked: frozenset[str]

    def get(self, spiffe_id: str) -> Agent | None:
        """Return the identity, or None if it is not registered."""
        return self.agents.get(spiffe_id)

    def is_revoked(self, serial: str) -> bool:
        """Whether the certificate with this serial (hex) is revoked."""
        return serial in self.revoked


class Registry:
    """The inventory in a SQLite file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the inventory, and make it if there is none.

        Raises:
            RegistryError: the file cannot be made or opened, or is not an inventory.
        """
        self._clock = clock
        self._path = path
        self._engine = _engine(path)
        self._reader = self._engine.execution_options(govgateway_reads_only=True)
        with self._transaction(self._engine) as connection:
            _metadata.create_all(connection)
            if connection.execute(select(_generation)).one_or_none() is None:
                connection.execute(insert(_generation).values(one=1, value=0))

    def register(
        self,
        spiffe_id: str,
        *,
        team: str,
        owner: str,
        purpose: str,
        kind: str = "agent",
        risk_tier: str = "limited",
        system: str = "",
        attributes: Mapping[str, str] | None = None,
        status: str = "active",
    ) -> Agent:
        """Add an identity.

        Raises:
            RegistryError: known already, or a field is not allowed.
            SpiffeIdError: not a SPIFFE ID.
        """
        spiffe_id = _canonical(spiffe_id)
        if not SpiffeId.parse(spiffe_id).path:
            raise RegistryError(f"{spiffe_id} names a trust domain, not an identity; add a path, such as /agent/name")
        _one_of("kind", kind, KINDS)
        _one_of("risk tier", risk_tier, RISK_TIERS)
        _one_of("status", status, STATUSES)
        for name, value in (("team", team), ("owner", owner), ("purpose", purpose)):
            if not value.strip():
                raise RegistryError(f"an identity needs its {name}")
        now = self._now()
        row = {
            "id": spiffe_id,
            "kind": kind,
            "team": team,
            "owner": owner,
            "purpose": purpose,
            "status": status,
            "status_reason": "",
            "risk_tier": risk_tier,
            "system": system,
            "attributes": json.dumps(dict(attributes or {}), sort_keys=True),
            "created_at": now,
            "changed_at": now,
        }
        with self._change() as connection:
            if connection.execute(select(_agents.c.id).where(_agents.c.id == spiffe_id)).one_or_none() is not None:
                raise RegistryError(f"{spiffe_id} is registered already; see: govctl agent show {spiffe_id}")
            connection.execute(insert(_agents).values(row))
        return self.get(spiffe_id)

    def set_status(self, spiffe_id: str, status: str, reason: str) -> Agent:
        """Move an identity to another state.

        Raises:
            RegistryError: unknown, or the transition is not allowed (`retired` is final).
            SpiffeIdError: not a SPIFFE ID.
        """
        spiffe_id = _canonical(spiffe_id)
        _one_of("status", status, STATUSES)
        if not reason.strip():
            raise RegistryError("a change of status needs a reason")
        with self._change() as connection:
            row = connection.execute(select(_agents.c.status).where(_agents.c.id == spiffe_id)).one_or_none()
            if row is None:
                raise RegistryError(_unknown(spiffe_id))
            if status not in _TRANSITIONS[row.status]:
                allowed = ", ".join(sorted(_TRANSITIONS[row.status])) or "nothing: it is final"
                raise RegistryError(f"{spiffe_id} is {row.status}; from there it can become: {allowed}")
            connection.execute(
                update(_agents)
                .where(_agents.c.id == spiffe_id)
                .values(status=status, status_reason=reason, changed_at=self._now())
            )
        return self.get(spiffe_id)

    def record_svid(self, serial: str, spiffe_id: str, not_after: int) -> None:
        """Note an issued certificate.

        Args:
            serial: serial number (hex).
            spiffe_id: identity it was issued to.
            not_after: end of its life (UNIX seconds).

        Raises:
            RegistryError: the serial is known already, or the inventory cannot be written.
        """
        spiffe_id = _canonical(spiffe_id)
        with self._transaction(self._engine) as connection:
            if connection.execute(select(_svids.c.serial).where(_svids.c.serial == serial)).one_or_none() is not None:
                raise RegistryError(f"a certificate with the serial {serial} is on record already; issue a new one")
            connection.execute(
                insert(_svids).values(serial=serial, id=spiffe_id, issued_at=self._now(), not_after=not_after)
            )

    def revoke_serial(self, serial: str, reason: str) -> None:
        """Revoke one certificate by its serial (hex). Revoking twice keeps the first reason.

        Raises:
            RegistryError: not a serial number, no reason, or the inventory cannot be written.
        """
        if not _SERIAL.fullmatch(serial):
            raise RegistryError(f"{serial!r} is not a serial number in hexadecimal")
        serial = serial.lower().lstrip("0") or "0"
        if not reason.strip():
            raise RegistryError("a revocation needs a reason")
        with self._change() as connection:
            known = connection.execute(select(_revoked.c.serial).where(_revoked.c.serial == serial)).one_or_none()
            if known is None:
                connection.execute(insert(_revoked).values(serial=serial, reason=reason, revoked_at=self._now()))

    def get(self, spiffe_id: str) -> Agent:
        """Return one identity.

        Raises:
            RegistryError: not registered.
            SpiffeIdError: not a SPIFFE ID.
        """
        spiffe_id = _canonical(spiffe_id)
        with self._transaction(self._reader) as connection:
            row = connection.execute(select(_agents).where(_agents.c.id == spiffe_id)).one_or_none()
        if row is None:
            raise RegistryError(_unknown(spiffe_id))
        return _agent(row)

    def all(self) -> list[Agent]:
        """Return all identities, by ID."""
        with self._transaction(self._reader) as connection:
            return [_agent(row) for row in connection.execute(select(_agents).order_by(_agents.c.id))]

    def svids(self, spiffe_id: str) -> list[dict[str, Any]]:
        """Return the certificates issued to one identity, latest first."""
        query = select(_svids).where(_svids.c.id == _canonical(spiffe_id)).order_by(_svids.c.issued_at.desc())
        with self._transaction(self._reader) as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def generation(self) -> int:
        """Return the number of changes so far; cheap enough to ask twice a second.

        Raises:
            RegistryError: the inventory cannot be read.
        """
        with self._transaction(self._reader) as connection:
            return int(connection.execute(select(_generation.c.value)).scalar_one())

    def snapshot(self) -> RegistrySnapshot:
        """Return the whole inventory at one moment.

        Raises:
            RegistryError: the inventory cannot be read.
        """
        with self._transaction(self._reader) as connection:
            generation = int(connection.execute(select(_generation.c.value)).scalar_one())
            agents = {row.id: _agent(row) for row in connection.execute(select(_agents))}
            revoked = frozenset(connection.execute(select(_revoked.c.serial)).scalars())
        return RegistrySnapshot(generation, agents, revoked)

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    @contextmanager
    def _change(self) -> Iterator[Connection]:
        """Open a transaction that raises the generation."""
        with self._transaction(self._engine) as connection:
            connection.execute(update(_generation).values(value=_generation.c.value + 1))
            yield connection

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, sqlite3.Error) as error:
            cause = getattr(error, "orig", None) or error
            raise RegistryError(
                f"the inventory {self._path} cannot be used: {cause}; check the file, its owner and the free space"
            ) from error

    def _now(self) -> int:
        return self._clock() // NANOSECONDS


def _engine(path: Path) -> Engine:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its journal the mode of the database, so the database is private before SQLite opens it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise RegistryError(f"the inventory {path} cannot be opened: {error.strerror}") from error
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once: a transaction that reads first and then writes cannot wait for it.
        reads_only = connection.get_execution_options().get("govgateway_reads_only", False)
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine


def _agent(row: Row[Any]) -> Agent:
    return Agent(
        id=row.id,
        kind=row.kind,
        team=row.team,
        owner=row.owner,
        status=row.status,
        risk_tier=row.risk_tier,
        system=row.system,
        purpose=row.purpose,
        attributes=json.loads(row.attributes),
        created_at=row.created_at,
        status_reason=row.status_reason,
    )


def _canonical(spiffe_id: str) -> str:
    return str(SpiffeId.parse(spiffe_id))


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise RegistryError(f"{value!r} is not a {name}; use one of: {', '.join(allowed)}")


def _unknown(spiffe_id: str) -> str:
    return f"{spiffe_id} is not registered; register it with: govctl agent register {spiffe_id}"
