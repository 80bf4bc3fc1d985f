"""The inventory as the gateway and govctl use it: one file, its parts, and snapshots for the path of a call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, insert, select

from identity.clock import Clock
from identity.entries import Entry, EntryIndex
from identity.errors import RegistryError
from identity.registry import inventory, schema
from identity.registry.admission import JoinTokens, Nodes, UsedTokens
from identity.registry.database import Database, current_generation
from identity.registry.entry_store import EntryStore, all_entries
from identity.registry.inventory import Agent, Transition, canonical
from identity.registry.reviews import Reviews
from identity.registry.revocations import Revocations, check_issuable, normal_serial
from identity.registry.snapshot import RegistrySnapshot, issuable, load_refusals
from identity.registry.usage import UsageStore

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Contents:
    """Identities and entries at one generation, whole: also what is retired or revoked."""

    generation: int
    agents: tuple[Agent, ...]
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class NewSvid:
    """An issued certificate or token to be noted; see `Registry.record_svid`."""

    serial: str
    spiffe_id: str
    not_after: int
    entry_id: str = ""
    node_id: str = ""
    authority_id: str = ""


_SVID_COLUMNS = ("serial", "id", "not_after", "entry_id", "node_id", "authority_id")
"""Columns of a `NewSvid`, in its order."""


class Registry:
    """The inventory in a SQLite file.

    Attributes:
        entries: registration entries.
        revocations: what is refused although it is in date.
        join_tokens: tokens that let one node join once.
        used_tokens: tokens that were shown before.
        nodes: nodes that attested.
        usage: who called what.
        reviews: campaigns that ask of each identity whether it is still needed.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the inventory, and make it if there is none.

        Raises:
            RegistryError: the file cannot be made or opened, or is not an inventory of this version.
        """
        self._database = Database(path, clock)
        self.entries = EntryStore(self._database)
        self.revocations = Revocations(self._database)
        self.join_tokens = JoinTokens(self._database)
        self.used_tokens = UsedTokens(self._database)
        self.nodes = Nodes(self._database)
        self.usage = UsageStore(self._database)
        self.reviews = Reviews(self._database)
        self._agents: tuple[int, dict[str, Agent]] = (-1, {})
        self._entries: tuple[int, dict[str, Entry]] = (-1, {})

    def register(
        self,
        spiffe_id: str,
        *,
        team: str,
        owner: str,
        purpose: str,
        by: str,
        kind: str = "agent",
        risk_tier: str = "limited",
        system: str = "",
        environment: str = "",
        attributes: Mapping[str, str] | None = None,
        status: str = "active",
        review_due: int = 0,
        expires_at: int = 0,
    ) -> Agent:
        """Add an identity.

        Raises:
            RegistryError: known already, or a field is not allowed.
            SpiffeIdError: not a SPIFFE ID.
        """
        agent = Agent(
            id=canonical(spiffe_id),
            kind=kind,
            team=team,
            owner=owner,
            status=status,
            risk_tier=risk_tier,
            system=system,
            purpose=purpose,
            attributes=dict(attributes or {}),
            environment=environment,
            review_due=review_due,
            expires_at=expires_at,
        )
        with self._database.change() as connection:
            inventory.insert_agents(connection, self._database.now(), [agent], by)
            return inventory.load_agent(connection, agent.id)

    def describe(self, spiffe_id: str, changes: Mapping[str, Any], *, by: str) -> Agent:
        """Change fields of an identity (`inventory.DESCRIPTION`).

        Raises:
            RegistryError: unknown, retired, or a field is not allowed.
            SpiffeIdError: not a SPIFFE ID.
        """
        with self._database.change() as connection:
            return inventory.describe_agent(connection, self._database.now(), canonical(spiffe_id), changes, by)

    def set_status(self, spiffe_id: str, status: str, reason: str, *, by: str) -> Agent:
        """Move an identity to another state; who may is in `identity.registry.lifecycle`.

        Raises:
            RegistryError: unknown, or the transition is not allowed (`retired` is final).
            SpiffeIdError: not a SPIFFE ID.
        """
        with self._database.change() as connection:
            return inventory.move_agent(connection, self._database.now(), canonical(spiffe_id), status, reason, by)

    def suspend_expired(self, *, by: str) -> list[Agent]:
        """Suspend the active identities past their `expires_at`; return them. Raises no generation if there are none.

        Raises:
            RegistryError: the inventory cannot be used.
        """
        table, now = schema.agents, self._database.now()
        due = (table.c.status == "active") & (table.c.expires_at > 0) & (table.c.expires_at <= now)
        query = select(table.c.id).where(due).order_by(table.c.id)
        with self._database.read() as connection:
            if connection.execute(query.limit(1)).first() is None:
                return []
        with self._database.change() as connection:
            return [
                inventory.move_agent(connection, now, spiffe_id, "suspended", "its registration has expired", by)
                for spiffe_id in connection.execute(query).scalars().all()
            ]

    def history(self, spiffe_id: str) -> list[Transition]:
        """Return the changes of state of one identity, oldest first."""
        return inventory.history(self._database, spiffe_id)

    def record_svid(
        self,
        serial: str,
        spiffe_id: str,
        not_after: int,
        *,
        entry_id: str = "",
        node_id: str = "",
        authority_id: str = "",
    ) -> None:
        """Note an issued certificate, before it is handed out.

        Args:
            serial: serial number (hex), or `jti` of a JWT-SVID.
            spiffe_id: identity it was issued to.
            not_after: end of its life (UNIX seconds).
            entry_id: entry it was issued through.
            node_id: SPIFFE ID of the attested node that it was issued to or through.
            authority_id: subject key id of the authority that signed it.

        Raises:
            RegistryError: the serial is known already; the ID, entry or node is revoked; or the inventory cannot be
                written. The certificate must then not be handed out.
        """
        self.record_svids([NewSvid(serial, spiffe_id, not_after, entry_id, node_id, authority_id)])

    def record_svids(self, svids: Sequence[NewSvid]) -> None:
        """Note issued certificates, all or none, in one transaction. See `record_svid`.

        Raises:
            RegistryError: one of them may not be handed out, so none may, or the inventory cannot be written.
        """
        rows = [replace(each, serial=normal_serial(each.serial), spiffe_id=canonical(each.spiffe_id)) for each in svids]
        now = self._database.now()
        with self._database.write() as connection:
            for row in rows:
                check_issuable(connection, row.spiffe_id, row.entry_id, row.node_id)
                known = select(schema.svids.c.serial).where(schema.svids.c.serial == row.serial)
                if connection.execute(known).one_or_none():
                    raise RegistryError(
                        f"a certificate with the serial {row.serial} is on record already; issue a new one"
                    )
                connection.execute(
                    insert(schema.svids).values(
                        serial=row.serial,
                        id=row.spiffe_id,
                        issued_at=now,
                        not_after=row.not_after,
                        entry_id=row.entry_id,
                        node_id=row.node_id,
                        authority_id=row.authority_id,
                    )
                )

    def forget_svids(self, before: int) -> int:
        """Drop the records of certificates that ended before `before` (UNIX seconds); return how many."""
        with self._database.write() as connection:
            return int(connection.execute(delete(schema.svids).where(schema.svids.c.not_after < before)).rowcount)

    def revoke_serial(self, serial: str, reason: str, *, by: str) -> None:
        """Revoke one certificate by its serial. Revoking twice keeps the first reason.

        Raises:
            RegistryError: not a serial number, no reason, or the inventory cannot be written.
        """
        self.revocations.revoke("serial", serial, reason, by=by)

    def get(self, spiffe_id: str) -> Agent:
        """Return one identity.

        Raises:
            RegistryError: not registered.
            SpiffeIdError: not a SPIFFE ID.
        """
        spiffe_id = canonical(spiffe_id)
        with self._database.read() as connection:
            return inventory.load_agent(connection, spiffe_id)

    def all(self) -> list[Agent]:
        """Return all identities, by ID."""
        with self._database.read() as connection:
            return inventory.all_agents(connection)

    def svids(self, spiffe_id: str) -> list[dict[str, Any]]:
        """Return the certificates issued to one identity, latest first."""
        query = (
            select(schema.svids)
            .where(schema.svids.c.id == canonical(spiffe_id))
            .order_by(schema.svids.c.issued_at.desc())
        )
        with self._database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def issued(self, serial: str) -> NewSvid | None:
        """Return what is on record about one certificate or token, or None.

        Raises:
            RegistryError: not a serial number, or the inventory cannot be read.
        """
        query = select(*(schema.svids.c[name] for name in _SVID_COLUMNS))
        with self._database.read() as connection:
            row = connection.execute(query.where(schema.svids.c.serial == normal_serial(serial))).one_or_none()
        return None if row is None else NewSvid(*row)

    def svids_in_date(self) -> list[dict[str, Any]]:
        """Return the certificates and tokens of all identities that have not ended, by ID, the oldest first."""
        table = schema.svids
        query = select(table).where(table.c.not_after > self._database.now()).order_by(table.c.id, table.c.issued_at)
        with self._database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def generation(self) -> int:
        """Return the number of changes so far; cheap enough to ask twice a second.

        -1, once, where another file has taken the inventory's place: everything is to be read anew.

        Raises:
            RegistryError: the inventory cannot be read.
        """
        if self._database.reopened():
            self._agents, self._entries = (-1, {}), (-1, {})
            return -1
        with self._database.read() as connection:
            return current_generation(connection)

    def snapshot(self, *, entries: bool = True) -> RegistrySnapshot:
        """Return the inventory at one moment. Only what changed since this object's last snapshot is read again.

        Args:
            entries: whether to load the entries; the data plane does not issue and needs none.

        Raises:
            RegistryError: the inventory cannot be read.
        """
        with self._database.read() as connection:
            generation = current_generation(connection)
            agents = self._known_agents(connection, generation)
            refusals, revocations = load_refusals(connection, self._database.now())
            index = issuable(self._known_entries(connection, generation).values(), revocations) if entries else None
        return RegistrySnapshot(generation, agents, refusals, index or EntryIndex(), bool(revocations))

    def contents(self) -> Contents:
        """Return all identities and entries, by ID, at one moment.

        Raises:
            RegistryError: the inventory cannot be read.
        """
        with self._database.read() as connection:
            entries = sorted(all_entries(connection), key=lambda entry: (entry.spiffe_id, entry.entry_id))
            return Contents(current_generation(connection), tuple(inventory.all_agents(connection)), tuple(entries))

    def consistent(self, generation: int, act: Callable[[Connection, int], _Result]) -> _Result:
        """Run `act(connection, now)` as one change, if nothing changed since `generation`.

        Raises:
            RegistryError: something did; nothing is changed then.
        """
        with self._database.change() as connection:
            if current_generation(connection) != generation + 1:
                raise RegistryError("the inventory changed since the plan was made; make the plan again")
            return act(connection, self._database.now())

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _known_agents(self, connection: Connection, generation: int) -> dict[str, Agent]:
        known, agents = self._agents
        if known != generation:
            changed = inventory.all_agents(connection, known)
            agents = agents | {agent.id: agent for agent in changed}
            self._agents = (generation, agents)
        return agents

    def _known_entries(self, connection: Connection, generation: int) -> dict[str, Entry]:
        known, entries = self._entries
        if known != generation:
            changed = {entry.entry_id: entry for entry in all_entries(connection, known)}
            there = set(connection.execute(select(schema.entries.c.entry_id)).scalars())
            entries = {entry_id: entry for entry_id, entry in entries.items() if entry_id in there} | changed
            self._entries = (generation, entries)
        return entries
