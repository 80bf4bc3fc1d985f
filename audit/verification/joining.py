"""Joins the ranges of a chain: what each could not decide by itself is decided here."""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import chain

from audit.chain import SKEW_NS, Head
from audit.store.base import ChainReader
from audit.verification.findings import ChainReport, Explained, OpenIntent
from audit.verification.ranges import Explainer, RangeResult

GRACE_NS = 3600 * 10**9
"""A call without an outcome is under way for so long at most, measured by its own chain; then something is wrong."""


def join(report: ChainReport, result: RangeResult, reader: ChainReader | None = None) -> None:
    """Put the result of the next range of a chain to what was found before.

    Args:
        report: what was found so far; `head` is the end that the range has to continue.
        result: the range.
        reader: the chain, for event ids that do not rise; without it only those within one range are compared.
    """
    if result.first < 0:
        return
    before = report.head
    if result.first != before.sequence + 1:
        report.note("sequence", result.first, f"after record {before.sequence} comes record {result.first}")
    if result.first_prev is not None and result.first_prev != before.hash:
        report.note("link", result.first, "the record does not name the hash of the one before it")
    if result.first_time is not None and result.first_time < report.time_ns - SKEW_NS:
        report.note("time", result.first, "the record is earlier than the one before it by more than the allowed skew")
    report.findings += result.findings
    if reader is not None:
        _join_ids(report, result, reader)
    for sequence, intent in result.closed:
        if report.open_calls.pop(intent, None) is None:
            if report.kept_from:
                report.before_start += 1
            else:
                report.note("outcome-without-intent", sequence, f"no open intent {intent} precedes it")
    report.open_calls |= result.opened
    report.head = Head(result.last, result.last_hash)
    report.time_ns = result.last_time or report.time_ns
    report.greatest_id = max(report.greatest_id, result.greatest_id)
    report.records += result.records


def explain(reports: Iterable[ChainReport], explainers: Iterable[Explainer]) -> None:
    """Find for each intent without an outcome why it has none; what stays open for too long is a finding.

    A gateway that was killed starts again later: `gateway.started` in any chain of the log. A store that failed leaves
    `log.recovered` in the same chain. A gateway that ends in order, and cuts what is still under way, leaves
    `gateway.stopped`. A worker that was killed alone leaves `worker.exited`, which speaks of its chain only.
    """
    known = list(explainers)
    general = sorted((e for e in known if e.type != "log.recovered"), key=lambda e: e.time_ns)
    for report in reports:
        own = sorted((e for e in known if e.chain == report.chain and not e.about), key=lambda e: e.sequence)
        others = [e for e in general if e.about in {"", report.chain}]
        still: dict[str, OpenIntent] = {}
        for intent, place in report.open_calls.items():
            after = bisect_right(own, place.sequence, key=lambda e: e.sequence)
            later = bisect_right(others, place.time_ns, key=lambda e: e.time_ns)
            found = next(chain(own[after : after + 1], others[later : later + 1]), None)
            if found is not None:
                report.explained.append(Explained(intent, place.sequence, found.type, found.event_id))
                continue
            still[intent] = place
            if report.time_ns - place.time_ns > GRACE_NS:
                hours = (report.time_ns - place.time_ns) // GRACE_NS
                report.note(
                    "intent-without-outcome",
                    place.sequence,
                    f"the call {intent} has no outcome after {hours} hours, and no record says why",
                )
        report.open_calls = still


def _join_ids(report: ChainReport, result: RangeResult, reader: ChainReader) -> None:
    """Compare the ids that do not rise with those of the ranges before, which the store's index finds."""
    late = result.late_ids
    if result.least_id and result.least_id <= report.greatest_id:
        rows = reader.records(result.first, stop=result.last + 1)
        late = [(row.sequence, row.event_id) for row in rows if row.event_id <= report.greatest_id]
    for sequence, event_id in late:
        found = reader.find(event_id)
        if found is not None and found.sequence < result.first:
            report.note("duplicate-id", sequence, f"the event id {event_id} occurs twice")
