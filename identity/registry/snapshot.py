"""The inventory at one generation, for look-ups on the path of a call: who stands, and what is refused."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sqlalchemy import Connection, select

from identity.entries import Entry, EntryIndex
from identity.registry import schema
from identity.registry.inventory import Agent
from identity.registry.revocations import Revocation, all_revocations


@dataclass(frozen=True, slots=True)
class Refusals:
    """What is revoked, ready to be asked: each mapping leads from what a peer shows to why it is refused.

    Attributes:
        ids: SPIFFE IDs.
        serials: serial numbers and `jti`, also those issued through a revoked entry or node.
        authorities: key ids.
    """

    ids: Mapping[str, str] = field(default_factory=dict)
    serials: Mapping[str, str] = field(default_factory=dict)
    authorities: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RegistrySnapshot:
    """The inventory at one moment. Immutable.

    Attributes:
        generation: number of changes up to it.
        agents: identities by SPIFFE ID.
        refusals: what is revoked.
        entries: the entries that may be issued: not those revoked, nor of a revoked ID or node. Empty unless asked for.
    """

    generation: int
    agents: Mapping[str, Agent]
    refusals: Refusals = field(default_factory=Refusals)
    entries: EntryIndex = field(default_factory=EntryIndex)
    anything_revoked: bool = False

    def get(self, spiffe_id: str) -> Agent | None:
        """Return the identity, or None if it is not registered."""
        return self.agents.get(spiffe_id)

    def is_revoked(self, serial: str) -> bool:
        """Whether the certificate with this serial (hex) is revoked, by itself or by its entry or node."""
        return self.anything_revoked and serial != "" and _plain(serial) in self.refusals.serials

    def refusal(self, spiffe_id: str, serial: str, authorities: Iterable[str] = ()) -> str | None:
        """Say why a peer is refused although its document is in date, or return None.

        Args:
            spiffe_id: the peer's.
            serial: serial number of its certificate (hex), or `jti` of its JWT-SVID; empty for neither.
            authorities: subject key ids (hex) of the authorities in its chain, or the key id of its JWT-SVID.
        """
        if not self.anything_revoked:
            return None
        found = self.refusals.ids.get(spiffe_id)
        if found is None and serial:
            found = self.refusals.serials.get(_plain(serial))
        if found is None and self.refusals.authorities:
            for authority in authorities:
                found = self.refusals.authorities.get(authority.lower())
                if found is not None:
                    return found
        return found


def load_refusals(connection: Connection, now: int) -> tuple[Refusals, list[Revocation]]:
    """Return what is revoked, with what hangs under revoked entries and nodes worked out."""
    revocations = all_revocations(connection)
    if not revocations:
        return Refusals(), revocations
    ids: dict[str, str] = {}
    serials: dict[str, str] = {}
    authorities: dict[str, str] = {}
    for revocation in revocations:
        why = f"{_WORDS[revocation.kind]} {revocation.subject} is revoked: {revocation.reason}"
        if revocation.kind == "id":
            ids[revocation.subject] = why
        elif revocation.kind == "serial":
            serials[revocation.subject] = why
        elif revocation.kind == "authority":
            authorities[revocation.subject] = why
        else:
            column = schema.svids.c.entry_id if revocation.kind == "entry" else schema.svids.c.node_id
            issued = select(schema.svids.c.serial).where(column == revocation.subject, schema.svids.c.not_after >= now)
            serials.update(dict.fromkeys(connection.execute(issued).scalars(), why))
            if revocation.kind == "node":
                ids[revocation.subject] = why
    ids |= _children_of_revoked_nodes(connection, revocations, ids)
    return Refusals(ids, serials, authorities), revocations


def issuable(entries: Iterable[Entry], revocations: Iterable[Revocation]) -> EntryIndex:
    """Return the index of the entries that nothing revokes."""
    revoked = {(revocation.kind, revocation.subject) for revocation in revocations}
    if not revoked:
        return EntryIndex(entries)
    return EntryIndex(
        entry
        for entry in entries
        if ("entry", entry.entry_id) not in revoked
        and ("id", entry.spiffe_id) not in revoked
        and ("node", entry.spiffe_id) not in revoked
        and ("node", entry.parent_id) not in revoked
    )


def _children_of_revoked_nodes(
    connection: Connection, revocations: Iterable[Revocation], known: Mapping[str, str]
) -> dict[str, str]:
    """Return the IDs that have entries under revoked nodes and under no other parent.

    An ID that also runs elsewhere is not refused by name: there, what was issued through the revoked node is refused
    by its serial.
    """
    nodes = {revocation.subject for revocation in revocations if revocation.kind == "node"}
    if not nodes:
        return {}
    table = schema.entries
    under = select(table.c.spiffe_id, table.c.parent_id).where(table.c.parent_id.in_(nodes))
    children = {row.spiffe_id: row.parent_id for row in connection.execute(under)}
    elsewhere = select(table.c.spiffe_id).where(table.c.parent_id.not_in(nodes))
    spared = set(connection.execute(elsewhere).scalars()) if children else set()
    return {child: known[parent] for child, parent in children.items() if child not in spared}


def _plain(serial: str) -> str:
    return serial.lower().lstrip("0") or "0"


_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "id": "the identity",
        "entry": "the entry",
        "serial": "the certificate",
        "authority": "the authority",
        "node": "the node",
    }
)
