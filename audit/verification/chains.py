"""Verifies every chain of a store: in ranges, by several processes where there is much to do, and joined again."""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

from audit.chain import Head, record_hash
from audit.store.base import AuditStore, ChainReader, StoredRecord
from audit.verification.findings import ChainReport
from audit.verification.joining import explain, join
from audit.verification.progress import ChainState
from audit.verification.ranges import Explainer, FormCheck, RangeResult, check_range

RANGE_RECORDS = 10_000
"""Records that one process verifies at a time."""

PARALLEL_RECORDS = 50_000
"""With fewer records than this, starting other processes costs more than it saves."""

Progress = Callable[[int], None]
Sink = Callable[[RangeResult], None]


@dataclass(frozen=True, slots=True)
class _Span:
    """The part of a chain that is to be read, and what its first record has to continue."""

    report: ChainReport
    start: int
    stop: int
    expected: Head | None
    gapless: bool

    def ranges(self, store: AuditStore) -> Iterator[tuple[int, int]]:
        if self.gapless:
            yield from ((at, min(at + RANGE_RECORDS, self.stop)) for at in range(self.start, self.stop, RANGE_RECORDS))
            return
        # A forged number, such as 2^62, lies further away than ranges can be counted: they begin where records are.
        at = self.start
        with store.reader(self.report.chain) as reader:
            while (row := next(reader.records(at, stop=self.stop, batch=1), None)) is not None:
                yield row.sequence, min(row.sequence + RANGE_RECORDS, self.stop)
                at = row.sequence + RANGE_RECORDS


def verify_store(
    store: AuditStore,
    progress: Progress | None = None,
    *,
    since: Mapping[str, ChainState] | None = None,
    starts: Mapping[str, Head] | None = None,
    check: FormCheck | None = None,
    processes: int | None = None,
    sink: Sink | None = None,
) -> list[ChainReport]:
    """Verify every chain of a store.

    Args:
        store: the store.
        progress: called with the number of records done since the last call.
        since: how far chains were verified before; they are read from there on, and must still have those records.
        starts: for chains whose beginning was deleted by retention: the last record deleted, from the sealed
            checkpoint.
        check: also checks the fields of each record.
        processes: how many may work at once; default: one a processor.
        sink: called with each range, in order within a chain, once it is joined.
    """
    spans: list[_Span] = []
    reports: list[ChainReport] = []
    for chain in store.expected_chains():
        report = ChainReport(chain)
        reports.append(report)
        try:
            spans.append(_plan(store, report, (since or {}).get(chain), (starts or {}).get(chain)))
        except Exception as error:  # whatever a file holds, its chain gets a report, and so do the others
            report.note("unreadable", -1, str(error))
    for chain in sorted(set(since or {}) - {report.chain for report in reports}):
        reports.append(ChainReport(chain))
        reports[-1].note("shortened", -1, "the chain was verified before, and is gone")
    explainers: list[Explainer] = []
    with _Checker(store, check, processes or os.cpu_count() or 1, sum(s.stop - s.start for s in spans)) as checker:
        for span in spans:
            try:
                with store.reader(span.report.chain) as reader:
                    for result in checker.check(span):
                        join(span.report, result, reader)
                        explainers += result.explainers
                        if sink is not None:
                            sink(result)
                        if progress is not None:
                            progress(result.records)
                    _check_end(span, reader)
            except Exception as error:  # as above
                span.report.note("unreadable", -1, str(error))
    explain(reports, explainers)
    return reports


def verify_chain(
    chain: str,
    records: Iterable[StoredRecord],
    progress: Progress | None = None,
    *,
    log: str | None = None,
    check: FormCheck | None = None,
) -> ChainReport:
    """Verify one chain from its first record, wherever its records come from."""
    report = ChainReport(chain)
    result = check_range(chain, log, records, check)
    join(report, result)
    explain([report], result.explainers)
    if progress is not None:
        progress(result.records)
    return report


def _plan(store: AuditStore, report: ChainReport, before: ChainState | None, start: Head | None) -> _Span:
    """Decide what of a chain is read, and check that what was verified before is still there."""
    with store.reader(report.chain) as reader:
        expected = reader.expected_head()  # before the end is read, which is then at least as far
        first, last = reader.first(), reader.last(1)
        stop = last[0].sequence + 1 if last else 0
        report.kept_from = before.kept_from if before is not None else 0
        if first is not None and first.sequence != report.kept_from:
            _check_beginning(report, first, start)
        if first is None and start is not None:
            report.kept_from, report.start, report.head = start.sequence + 1, start.sequence + 1, start
        if before is not None and before.head.sequence >= report.kept_from:
            report.start, report.head = before.head.sequence + 1, before.head
            report.time_ns, report.greatest_id = before.time_ns, before.greatest_id
            report.open_calls = dict(before.open_calls)
            _check_still_there(report, before.head, reader)
        gapless = first is None or reader.count() >= stop - first.sequence
    return _Span(report, report.start, max(stop, report.start), expected, gapless)


def _check_beginning(report: ChainReport, first: StoredRecord, start: Head | None) -> None:
    """A chain begins where a sealed checkpoint says that the records before were deleted, and continues its head."""
    named = Head(first.sequence - 1, check_range(first.chain, None, [first], None).first_prev or "")
    kept = start is not None and Head(first.sequence, record_hash(first.record)) == start
    if kept:
        pass  # the last record of a chain always stays, so that the chain goes on from it
    elif start is None or start.sequence != named.sequence:
        said = "no sealed checkpoint says" if start is None else f"the sealed checkpoint ends at {start.sequence}, not"
        report.note(
            "beginning",
            first.sequence,
            f"the chain begins with record {first.sequence}, and {said} that those before it were deleted by retention",
        )
    elif named != start:
        report.note("link", first.sequence, "the record does not name the hash that the sealed checkpoint ends with")
    report.kept_from = report.start = first.sequence
    report.head = named


def _check_still_there(report: ChainReport, head: Head, reader: ChainReader) -> None:
    found = next(reader.records(head.sequence, stop=head.sequence + 1), None)
    if found is None:
        report.note("shortened", -1, f"record {head.sequence} was verified before, and is gone")
    elif type(found.record) is not bytes or record_hash(found.record) != head.hash:
        report.note("head", head.sequence, "another record was verified before in this place")


def _check_end(span: _Span, reader: ChainReader) -> None:
    """Compare the end with the head that is noted beside the chain."""
    report, expected = span.report, span.expected
    if expected is None:
        if report.head.sequence >= 0:
            report.note("head", -1, f"{report.chain}.head, which notes the end of the chain, was taken away")
    elif expected.sequence > report.head.sequence:
        report.note(
            "shortened",
            -1,
            f"the chain ends at record {report.head.sequence}; record {expected.sequence} was there before",
        )
    elif expected.sequence >= 0:
        found = next(reader.records(expected.sequence, stop=expected.sequence + 1), None)
        deleted = expected.sequence < report.kept_from
        if found is None and not deleted:
            report.note("head", expected.sequence, f"{report.chain}.head knows a record that is gone")
        elif found is not None and (type(found.record) is not bytes or record_hash(found.record) != expected.hash):
            report.note("head", expected.sequence, f"{report.chain}.head knows another record in this place")


class _Checker:
    """Checks ranges, in other processes if that pays. A context manager."""

    def __init__(self, store: AuditStore, check: FormCheck | None, processes: int, records: int) -> None:
        self._job = (store, check)
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        if processes > 1 and records >= PARALLEL_RECORDS and _can_be_sent(self._job):
            # Not forked: this process may have threads and open databases.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=self._job)

    def __enter__(self) -> "_Checker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def check(self, span: _Span) -> Iterator[RangeResult]:
        """Yield the results of the ranges of a chain, in order."""
        chain = span.report.chain
        if self._pool is None:
            for start, stop in span.ranges(self._job[0]):
                yield _check(*self._job, chain, start, stop)
            return
        waiting: list[Future[RangeResult]] = []
        for start, stop in span.ranges(self._job[0]):
            waiting.append(self._pool.submit(_check_here, chain, start, stop))
            if len(waiting) > 2 * self._processes:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


_here: list[tuple[AuditStore, FormCheck | None]] = []
"""What a process of the pool works on."""


def _begin(store: AuditStore, check: FormCheck | None) -> None:
    _here.append((store, check))


def _check_here(chain: str, start: int, stop: int) -> RangeResult:
    return _check(*_here[-1], chain, start, stop)


def _check(store: AuditStore, check: FormCheck | None, chain: str, start: int, stop: int) -> RangeResult:
    with store.reader(chain) as reader:
        return check_range(chain, store.log, reader.records(start, stop=stop), check)


def _can_be_sent(job: object) -> bool:
    try:
        pickle.dumps(job)
    except Exception:  # a store decides by itself what it holds; then one process does the work
        return False
    return True
