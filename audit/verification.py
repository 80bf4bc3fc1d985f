"""Verifies chains: every link, every hash, the form of each record, order in time, and that intents were closed.

What it proves: the records are those that were written, in that order, none missing in between. What it cannot prove by
itself: that nothing was cut off the end together with the recorded head, or that the whole chain was not written anew.
For that, compare the heads it reports with ones kept elsewhere.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import orjson

from audit.canonical import canonical
from audit.chain import GENESIS, SKEW_NS, VERSION, Head, record_hash
from audit.errors import CanonicalError
from audit.store import AuditStore, StoredRecord


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        rule: `link`, `hash`, `form`, `sequence`, `column`, `duplicate-id`, `time`, `outcome-without-intent`,
            `shortened`, `head`, `unreadable`.
        chain: the chain.
        sequence: the record, -1 for the chain as a whole.
        message: what is wrong, in words.
    """

    rule: str
    chain: str
    sequence: int
    message: str


@dataclass(slots=True)
class ChainReport:
    """What was found in one chain.

    Attributes:
        head: the end that was reached.
        watched_hash: hash of the record whose place was asked for; empty if there was none.
        records: number of records read.
        open_intents: event ids of intents without an outcome. Expected for calls under way and, for each kill of a
            gateway, for those that were under way then.
    """

    chain: str
    records: int = 0
    head: Head = field(default_factory=Head)
    watched_hash: str = ""
    findings: list[Finding] = field(default_factory=list)
    open_intents: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong. Open intents are no fault of the chain."""
        return not self.findings


def verify_store(store: AuditStore, progress: Callable[[int], None] | None = None) -> list[ChainReport]:
    """Verify every chain of a directory.

    Args:
        store: the directory.
        progress: called with the number of records done since the last call.
    """
    return [_verify_one(store, chain, progress) for chain in store.expected_chains()]


def _verify_one(store: AuditStore, chain: str, progress: Callable[[int], None] | None) -> ChainReport:
    try:
        with store.reader(chain) as reader:
            expected = reader.expected_head()
            report = verify_chain(chain, reader.records(), progress, watched=expected.sequence if expected else -1)
    except Exception as error:  # whatever a file holds, its chain gets a report, and so do the others
        return ChainReport(chain, findings=[Finding("unreadable", chain, -1, str(error))])
    if expected is None:
        if report.records:
            report.findings.append(
                Finding("head", chain, -1, f"{chain}.head, which notes the end of the chain, was taken away")
            )
    elif expected.sequence > report.head.sequence:
        report.findings.append(
            Finding(
                "shortened",
                chain,
                -1,
                f"the chain ends at record {report.head.sequence}; record {expected.sequence} was there before",
            )
        )
    elif expected.sequence >= 0 and report.watched_hash != expected.hash:
        report.findings.append(
            Finding("head", chain, expected.sequence, f"{chain}.head knows another record in this place")
        )
    return report


def verify_chain(
    chain: str,
    records: Iterable[StoredRecord],
    progress: Callable[[int], None] | None = None,
    watched: int = -1,
) -> ChainReport:
    """Verify one chain from its first record. `watched`: a place whose hash is to be reported."""
    report = ChainReport(chain)
    seen: set[str] = set()
    open_intents: dict[str, None] = {}
    previous_time = 0
    for row in records:
        document = _check_row(report, row)
        if row.sequence == watched:
            report.watched_hash = row.hash
        if document is None:
            report.head = Head(row.sequence, row.hash)
            report.records += 1
            continue
        event_id = document["event_id"]
        if event_id in seen:
            _note(report, "duplicate-id", row, f"the event id {event_id} occurs twice")
        seen.add(event_id)
        time_ns = int(document["time"])
        if document["type"] == "clock.stepped":
            previous_time = time_ns
        if time_ns < previous_time - SKEW_NS:
            _note(report, "time", row, "the record is earlier than the one before it by more than the allowed skew")
        previous_time = time_ns
        if document["type"] == "access.intent":
            open_intents[event_id] = None
        elif document["type"] == "access.outcome":
            if document.get("intent") in open_intents:
                del open_intents[document["intent"]]
            else:
                _note(report, "outcome-without-intent", row, f"no open intent {document.get('intent')} precedes it")
        report.records += 1
        if progress is not None and report.records % 1000 == 0:
            progress(1000)
    if progress is not None:
        progress(report.records % 1000)
    report.open_intents = list(open_intents)
    return report


def _check_row(report: ChainReport, row: StoredRecord) -> dict[str, str] | None:
    """Check one record against its hash, its place and its columns; move the head."""
    head = report.head
    if type(row.record) is not bytes:
        _note(report, "form", row, "the record is not stored as bytes")
        return None
    if row.sequence != head.sequence + 1:
        _note(report, "sequence", row, f"after record {head.sequence} comes record {row.sequence}")
    if record_hash(row.record) != row.hash:
        _note(report, "hash", row, "the record is not the one that was hashed")
    try:
        document = orjson.loads(row.record)
        same = canonical(document) == row.record
    except (orjson.JSONDecodeError, CanonicalError):
        document, same = None, False
    if not isinstance(document, dict) or not same or not _complete(document):
        _note(report, "form", row, "the record is not in canonical form, or lacks a field of the chain")
        return None
    if document["prev"] != (head.hash if head.sequence >= 0 else GENESIS):
        _note(report, "link", row, "the record does not name the hash of the one before it")
    columns = (document["seq"], document["event_id"], document["time"], document["type"], document["chain"])
    if columns != (row.sequence, row.event_id, str(row.time_ns), row.type, row.chain):
        _note(report, "column", row, "a column of the table says something else than the record")
    report.head = Head(row.sequence, row.hash)
    return document


def _complete(document: dict[str, object]) -> bool:
    return (
        document.get("v") == VERSION
        and type(document.get("seq")) is int
        and all(type(document.get(name)) is str for name in ("log", "chain", "prev", "event_id", "time", "type"))
        and str(document["time"]).isdigit()
    )


def _note(report: ChainReport, rule: str, row: StoredRecord, message: str) -> None:
    report.findings.append(Finding(rule, report.chain, row.sequence, message))
