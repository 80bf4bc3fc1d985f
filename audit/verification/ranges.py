"""Verifies a range of one chain by itself; what reaches beyond it is kept for the joining. No input or output."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from audit.chain import SKEW_NS
from audit.store.base import StoredRecord
from audit.verification.findings import Finding, OpenIntent
from audit.verification.form import parse_canonical

EXPLAINS = frozenset({"gateway.started", "gateway.stopped", "worker.exited", "log.recovered"})
"""Types of the records that say why calls have no outcome."""

STEP_TYPE = "clock.stepped"

FormCheck = Callable[[dict[str, Any]], list[str]]
"""Returns what is wrong with a record's fields, in words."""


@dataclass(frozen=True, slots=True)
class Explainer:
    """A record that may say why calls have no outcome; `about`: only those of this chain."""

    type: str
    chain: str
    sequence: int
    event_id: str
    time_ns: int
    about: str = ""


@dataclass(slots=True)
class RangeResult:
    """What one range says.

    Attributes:
        first: sequence number of its first record; -1 if it has none.
        first_prev: what that record names as the hash before it; None if it could not be read.
        first_time: its time; None if it could not be read, or is allowed to go back.
        last: sequence number of the last record.
        last_hash: its hash (hex).
        last_time: time of the last record that could be read (UNIX, nanoseconds).
        records: number of records.
        hashes: 32 bytes for each record, from the first on; what was computed, not what is stored.
        least_id: the least event id.
        greatest_id: the greatest.
        late_ids: event ids that are not greater than all before them in the range, with their places.
        opened: intents without an outcome in the range.
        closed: outcomes whose intent is not in the range: place and intent.
        explainers: records that say why calls have no outcome.
    """

    chain: str
    first: int = -1
    first_prev: str | None = None
    first_time: int | None = None
    last: int = -1
    last_hash: str = ""
    last_time: int = 0
    records: int = 0
    hashes: bytes = b""
    least_id: str = ""
    greatest_id: str = ""
    late_ids: list[tuple[int, str]] = field(default_factory=list)
    opened: dict[str, OpenIntent] = field(default_factory=dict)
    closed: list[tuple[int, str]] = field(default_factory=list)
    explainers: list[Explainer] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def check_range(chain: str, log: str | None, rows: Iterable[StoredRecord], check: FormCheck | None) -> RangeResult:
    """Check the records of a range: hash, form, columns, and sequence, link and time between them.

    Args:
        chain: name of the chain.
        log: name of the log; None to take any.
        rows: the records, in order.
        check: also checks the fields of each record.
    """
    result = RangeResult(chain)
    hashes = bytearray()
    seen: set[str] = set()
    for row in rows:
        if result.first < 0:
            result.first = row.sequence
        elif row.sequence != result.last + 1:
            _note(result, "sequence", row, f"after record {result.last} comes record {row.sequence}")
            hashes += bytes(32 * max(0, row.sequence - result.last - 1))
        digest = sha256(b"\x00" + row.record).digest() if type(row.record) is bytes else bytes(32)
        hashes += digest
        document = _check_row(result, row, digest, log)
        result.last, result.last_hash = row.sequence, digest.hex()
        result.records += 1
        if document is None:
            continue
        if check is not None:
            for wrong in check(document):
                _note(result, "fields", row, wrong)
        _check_id(result, row, document["event_id"], seen)
        _check_time(result, row, int(document["time"]), document["type"])
        _follow_call(result, row, document)
    result.hashes = bytes(hashes)
    return result


def _check_row(result: RangeResult, row: StoredRecord, digest: bytes, log: str | None) -> dict[str, Any] | None:
    """Check one record against its hash, its place and its columns."""
    if type(row.record) is not bytes:
        _note(result, "form", row, "the record is not stored as bytes")
        return None
    if digest.hex() != row.hash:
        _note(result, "hash", row, "the record is not the one that was hashed")
    document = parse_canonical(row.record)
    if document is None:
        _note(result, "form", row, "the record is not in canonical form, or lacks a field of the chain")
        return None
    if not result.records:
        result.first_prev = document["prev"]
    elif document["prev"] != result.last_hash:
        _note(result, "link", row, "the record does not name the hash of the one before it")
    columns = (document["seq"], document["event_id"], document["time"], document["type"], document["chain"])
    if columns != (row.sequence, row.event_id, str(row.time_ns), row.type, row.chain):
        _note(result, "column", row, "a column of the table says something else than the record")
    if log is not None and document["log"] != log:
        _note(result, "log", row, f"the record belongs to the log {document['log']:.100}")
    return document


def _check_id(result: RangeResult, row: StoredRecord, event_id: str, seen: set[str]) -> None:
    """Event ids rise with time; one that does not is compared with all others, here and when ranges are joined."""
    if event_id in seen:
        _note(result, "duplicate-id", row, f"the event id {event_id} occurs twice")
    seen.add(event_id)
    if not result.least_id:
        result.least_id = result.greatest_id = event_id
    elif event_id > result.greatest_id:
        result.greatest_id = event_id
    else:
        result.late_ids.append((row.sequence, event_id))
        result.least_id = min(result.least_id, event_id)


def _check_time(result: RangeResult, row: StoredRecord, time_ns: int, record_type: str) -> None:
    stepped = record_type == STEP_TYPE
    if result.last_time == 0:
        result.first_time = None if stepped else time_ns
    elif not stepped and time_ns < result.last_time - SKEW_NS:
        _note(result, "time", row, "the record is earlier than the one before it by more than the allowed skew")
    result.last_time = time_ns


def _follow_call(result: RangeResult, row: StoredRecord, document: dict[str, Any]) -> None:
    kind = document["type"]
    if kind == "access.intent":
        result.opened[document["event_id"]] = OpenIntent(row.sequence, int(document["time"]))
    elif kind == "access.outcome":
        intent = str(document.get("intent"))
        if result.opened.pop(intent, None) is None:
            result.closed.append((row.sequence, intent))
    elif kind in EXPLAINS:
        place = (row.chain, row.sequence, document["event_id"], int(document["time"]))
        about = f"worker-{document.get('worker')}" if kind == "worker.exited" else ""
        result.explainers.append(Explainer(kind, *place, about))


def _note(result: RangeResult, rule: str, row: StoredRecord, message: str) -> None:
    result.findings.append(Finding(rule, result.chain, row.sequence, message))
