"""The hash chain: each record carries the hash of the one before it. Pure functions.

`hash = SHA-256(0x00 || canonical record)`, which is the leaf hash of RFC 6962, section 2.1, so that a Merkle tree over
the same records needs no second hash. The first record's previous hash is 32 zero bytes.

A record names its log and its chain: one gateway writes one log, each of its writers a chain of it, so that no record,
and no whole chain, can be passed off as another's.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from audit.canonical import canonical
from audit.errors import CanonicalError

GENESIS = "0" * 64
"""Previous hash of the first record (hex)."""

VERSION = 1
"""Version of the record's form."""

MAX_RECORD_BYTES = 65_535
"""Longest canonical record: what an entry bundle of C2SP tlog-tiles has room for."""

SKEW_NS = 5_000_000_000
"""How far a record's time may lie before that of the one before it (nanoseconds); beyond it a `clock.stepped` record
has to stand between them."""

_CHAIN_FIELDS = frozenset({"v", "log", "chain", "seq", "prev", "event_id", "time", "type"})
_CHAIN_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_LOG_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[A-Za-z0-9._-]+)*")


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


def is_chain_name(name: str) -> bool:
    """Whether a chain may have this name: 1 to 63 of a-z, 0-9 and `-`, not beginning with `-`."""
    return _CHAIN_NAME.fullmatch(name) is not None


def is_log_name(name: str) -> bool:
    """Whether a log may have this name: a URL without its scheme, as C2SP tlog-checkpoint asks of an origin."""
    return len(name) <= 255 and _LOG_NAME.fullmatch(name) is not None


def record_hash(record: bytes) -> str:
    """Return the hash of a canonical record (hex)."""
    return sha256(b"\x00" + record).hexdigest()


def link(
    head: Head, log: str, chain: str, event_id: str, time_ns: int, record_type: str, fields: dict[str, Any]
) -> Linked:
    """Put a record at the end of the chain.

    Args:
        head: the end so far.
        log: name of the log, the origin of its checkpoints.
        chain: name of the chain in the log.
        event_id: UUIDv7 of the record.
        time_ns: UNIX time in nanoseconds. Written as text: it is beyond 2^53.
        record_type: type of the record, for instance `access.intent`.
        fields: what the record says; must not use the names that the chain sets.

    Raises:
        CanonicalError: the fields have no canonical form, use a name that the chain sets, or are too long.
    """
    if not _CHAIN_FIELDS.isdisjoint(fields):
        taken = _CHAIN_FIELDS & fields.keys()
        raise CanonicalError(f"the fields of {record_type} use names that the chain sets: {', '.join(sorted(taken))}")
    sequence = head.sequence + 1
    document = {
        **fields,
        "v": VERSION,
        "log": log,
        "chain": chain,
        "seq": sequence,
        "prev": head.hash,
        "event_id": event_id,
        "time": str(time_ns),
        "type": record_type,
    }
    record = canonical(document)
    if len(record) > MAX_RECORD_BYTES:
        raise CanonicalError(f"a record has at most {MAX_RECORD_BYTES} bytes, this one would have {len(record)}")
    return Linked(sequence, event_id, time_ns, record_type, record_hash(record), record)
