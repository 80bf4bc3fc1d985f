"""Revocations: what is refused although its certificate is in date, and why.

| kind        | subject                               | refuses                                       | lifted |
| ----------- | ------------------------------------- | --------------------------------------------- | ------ |
| `id`        | SPIFFE ID                             | whatever carries that ID                      | yes    |
| `entry`     | entry id                              | what was issued through that entry            | yes    |
| `serial`    | serial number, or `jti` of a JWT-SVID | that one document                             | no     |
| `authority` | subject key id (hex), or JWT key id   | whatever that authority signed                | no     |
| `node`      | SPIFFE ID of an attested node         | the node, and what was issued to its children | yes    |

While an ID, entry or node is revoked, nothing new is put on record for it either.
"""

import re
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from identity.errors import RegistryError
from identity.registry import schema
from identity.registry.database import Database
from identity.registry.entry_store import load_entry
from identity.registry.inventory import canonical, one_of
from identity.registry.lifecycle import check_actor

REVOCATION_KINDS = ("id", "entry", "serial", "authority", "node")
LIFTABLE = ("id", "entry", "node")

_SERIAL = re.compile("[0-9a-f]{1,40}")
_JTI = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{1,64}")
_KEY_ID = re.compile("[A-Za-z0-9_.-]{1,200}")


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revocation. Times are UNIX seconds.

    Attributes:
        kind: one of `REVOCATION_KINDS`.
        subject: what is revoked, in canonical form.
        reason: why.
        by: who revoked it.
        at: when.
        not_after: it is kept at least until then; 0 is until it is lifted.
    """

    kind: str
    subject: str
    reason: str
    by: str
    at: int
    not_after: int = 0


class Revocations:
    """Revokes and lifts. Each call is one change of the inventory."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def revoke(self, kind: str, subject: str, reason: str, *, by: str, not_after: int | None = None) -> Revocation:
        """Revoke something; what is revoked already keeps its first reason.

        Args:
            kind: one of `REVOCATION_KINDS`.
            subject: see the table above; serials may have `0x`, colons, leading zeros and any case.
            reason: why.
            by: who revokes it.
            not_after: keep it at least until then (UNIX seconds), 0 until it is lifted; by default the end of the
                certificate where `subject` is a serial on record, else 0.

        Raises:
            RegistryError: not a subject of that kind, or no reason.
            SpiffeIdError: not a SPIFFE ID.
        """
        one_of("kind of revocation", kind, REVOCATION_KINDS)
        subject = canonical_subject(kind, subject)
        check_actor(by)
        if not reason.strip():
            raise RegistryError("a revocation needs a reason")
        with self._database.change() as connection:
            known = _load(connection, kind, subject)
            if known is not None:
                return known
            if kind == "entry" and not _issued_through(connection, subject):
                load_entry(connection, subject)
            if not_after is None:
                not_after = _end(connection, subject) if kind == "serial" else 0
            revocation = Revocation(kind, subject, reason, by, self._database.now(), not_after)
            connection.execute(
                insert(schema.revocations).values({name: getattr(revocation, name) for name in Revocation.__slots__})
            )
        return revocation

    def lift(self, kind: str, subject: str, *, by: str) -> Revocation:
        """End a revocation of an ID, entry or node.

        Raises:
            RegistryError: it is not revoked, or revocations of this kind are final.
        """
        one_of("kind of revocation", kind, REVOCATION_KINDS)
        check_actor(by)
        if kind not in LIFTABLE:
            raise RegistryError(f"the revocation of a {kind} is final; issue a new certificate instead")
        subject = canonical_subject(kind, subject)
        table = schema.revocations
        with self._database.change() as connection:
            known = _load(connection, kind, subject)
            if known is None:
                raise RegistryError(f"the {kind} {subject} is not revoked; see: govctl agent revocations")
            connection.execute(delete(table).where(table.c.kind == kind, table.c.subject == subject))
        return known

    def all(self) -> list[Revocation]:
        """Return every revocation, by kind and subject."""
        with self._database.read() as connection:
            return all_revocations(connection)

    def purge(self) -> int:
        """Drop revocations whose `not_after` has passed; return how many. Raises the generation only if there are."""
        table = schema.revocations
        passed = (table.c.not_after > 0) & (table.c.not_after < self._database.now())
        with self._database.read() as connection:
            if connection.execute(select(table.c.kind).where(passed).limit(1)).first() is None:
                return 0
        with self._database.change() as connection:
            return int(connection.execute(delete(table).where(passed)).rowcount)


def all_revocations(connection: Connection) -> list[Revocation]:
    """Return every revocation, by kind and subject."""
    table = schema.revocations
    return [
        Revocation(row.kind, row.subject, row.reason, row.by, row.at, row.not_after)
        for row in connection.execute(select(table).order_by(table.c.kind, table.c.subject))
    ]


def check_issuable(connection: Connection, spiffe_id: str, entry_id: str, node_id: str) -> None:
    """Refuse to put on record what is revoked, or issued through an entry that is gone.

    Raises:
        RegistryError: names the revocation or the entry.
    """
    if entry_id:
        load_entry(connection, entry_id)
    for kind, subject in (("id", spiffe_id), ("entry", entry_id), ("node", node_id), ("node", spiffe_id)):
        known = _load(connection, kind, subject) if subject else None
        if known is not None:
            raise RegistryError(
                f"the {kind} {subject} is revoked ({known.reason}); lift it with: govctl agent lift --{kind} {subject}"
            )


def canonical_subject(kind: str, subject: str) -> str:
    """Return a subject as it is kept and compared.

    Raises:
        RegistryError: not a subject of that kind.
        SpiffeIdError: not a SPIFFE ID.
    """
    if kind in {"id", "node"}:
        spiffe_id = canonical(subject)
        if spiffe_id.count("/") < 3:
            raise RegistryError(f"{spiffe_id} names a trust domain, not an identity; withdraw its bundle instead")
        return spiffe_id
    if kind == "serial":
        return normal_serial(subject)
    if kind == "authority":
        plain = subject.replace(":", "").removeprefix("0x")
        if not _KEY_ID.fullmatch(plain):
            raise RegistryError(f"{subject!r} is not the id of an authority; see: govctl authority x509 show")
        return plain.lower()
    return subject.strip().lower()


def normal_serial(serial: str) -> str:
    """Return a serial number, or the `jti` of a JWT-SVID, in the one form in which it is kept.

    Raises:
        RegistryError: it is neither.
    """
    plain = serial.lower().removeprefix("0x")
    if ":" in plain:
        plain = plain.replace(":", "") if all(1 <= len(part) <= 2 for part in plain.split(":")) else ""
    if not _SERIAL.fullmatch(plain) and not _JTI.fullmatch(plain):
        raise RegistryError(f"{serial!r} is not a serial number in hexadecimal, nor the jti of a JWT-SVID")
    return plain.lstrip("0") or "0"


def _load(connection: Connection, kind: str, subject: str) -> Revocation | None:
    table = schema.revocations
    row = connection.execute(select(table).where(table.c.kind == kind, table.c.subject == subject)).one_or_none()
    return None if row is None else Revocation(row.kind, row.subject, row.reason, row.by, row.at, row.not_after)


def _issued_through(connection: Connection, entry_id: str) -> bool:
    """Whether anything on record was issued through an entry; it may be deleted by now."""
    return (
        connection.execute(select(schema.svids.c.serial).where(schema.svids.c.entry_id == entry_id)).first() is not None
    )


def _end(connection: Connection, serial: str) -> int:
    found = connection.execute(select(schema.svids.c.not_after).where(schema.svids.c.serial == serial)).scalar()
    return int(found or 0)
