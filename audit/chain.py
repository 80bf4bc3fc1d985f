"""The hash chain: each record carries the hash of the one before it. Pure functions.

`hash = SHA-256(0x00 || canonical record)`, which is the leaf hash of RFC 6962, section 2.1, so that a Merkle tree over
the same records needs no second hash. The first record's previous hash is 32 zero bytes.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from audit.canonical import canonical
from audit.errors import CanonicalError

GENESIS = "0" * 64
"""Previous hash of the first record (hex)."""

VERSION = 1
"""Version of the record's form."""

_CHAIN_FIELDS = frozenset({"v", "log", "seq", "prev", "event_id", "time", "type"})


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain.

    Attributes:
        sequence: sequence number of the last record; -1 for an empty chain.
        hash: hash of the last record (hex).
    """

    sequence: int = -1
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Linked:
    """A record in its place in the chain."""

    sequence: int
    event_id: str
    time_ns: int
    type: str
    hash: str
    record: bytes


def record_hash(record: bytes) -> str:
    """Return the hash of a canonical record (hex)."""
    return sha256(b"\x00" + record).hexdigest()


def link(head: Head, log_id: str, event_id: str, time_ns: int, record_type: str, fields: dict[str, Any]) -> Linked:
    """Put a record at the end of the chain.

    Args:
        head: the end so far.
        log_id: name of the chain.
        event_id: UUIDv7 of the record.
        time_ns: UNIX time in nanoseconds. Written as text: it is beyond 2^53.
        record_type: type of the record, for instance `access.intent`.
        fields: what the record says; must not use the names that the chain sets.

    Raises:
        CanonicalError: the fields have no canonical form, or use a name that the chain sets.
    """
    taken = _CHAIN_FIELDS & fields.keys()
    if taken:
        raise CanonicalError(f"the fields of {record_type} use names that the chain sets: {', '.join(sorted(taken))}")
    sequence = head.sequence + 1
    document = {
        **fields,
        "v": VERSION,
        "log": log_id,
        "seq": sequence,
        "prev": head.hash,
        "event_id": event_id,
        "time": str(time_ns),
        "type": record_type,
    }
    record = canonical(document)
    return Linked(sequence, event_id, time_ns, record_type, record_hash(record), record)
