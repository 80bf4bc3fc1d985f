"""Decides which segments may go, and says of each what holds it back. Reads; changes nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from audit.chain import GENESIS, Head, record_hash
from audit.errors import AuditError
from audit.retention.facts import Facts, facts_of
from audit.retention.holds import Hold, holding
from audit.retention.journal import Book
from audit.retention.rules import RetentionRules
from audit.retention.segments import Segment, heads_of
from audit.store.base import AuditStore, StoredRecord
from audit.tlog.checkpoint import Checkpoint

OpenNote = Callable[[bytes], Checkpoint]
"""Verifies a signed note and returns its checkpoint; raises an AuditError."""

Cursors = Mapping[str, Mapping[str, int]]
"""For each sink, the sequence number of the next record of each chain that it has not taken yet."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """Something that holds a segment back.

    Attributes:
        kind: `young`, `hold`, `sink`, `order`, `checkpoint` or `damaged`.
        detail: in words.
        records: how many records of the segment it concerns; 0 for the segment as a whole.
    """

    kind: str
    detail: str
    records: int = 0


@dataclass(slots=True)
class SegmentPlan:
    """What would become of a segment.

    Attributes:
        records: how many were read.
        bytes: their size.
        oldest_ns, newest_ns: times of the oldest and newest record; 0 if there is none.
        free_ns: when the last of them is past its retention.
        blockers: what holds it back; empty: it may be deleted.
    """

    segment: Segment
    records: int = 0
    bytes: int = 0
    oldest_ns: int = 0
    newest_ns: int = 0
    free_ns: int = 0
    blockers: list[Blocker] = field(default_factory=list)

    @property
    def deletable(self) -> bool:
        """Whether nothing holds it back."""
        return not self.blockers


class Planner:
    """Looks at segments against rules, holds and cursors.

    Args:
        store: the chains.
        rules: how long records are kept.
        open_note: verifies checkpoints.
        cursors: how far each sink came; read once for each plan.
        clock: UNIX time in nanoseconds.
    """

    def __init__(
        self,
        store: AuditStore,
        rules: RetentionRules,
        open_note: OpenNote,
        cursors: Callable[[], Cursors],
        clock: Callable[[], int],
    ) -> None:
        self.store = store
        self.rules = rules
        self.open_note = open_note
        self.clock = clock
        self._cursors = cursors

    def plan(self, book: Book, progress: Callable[[int], None] | None = None) -> Iterator[SegmentPlan]:
        """Yield what would become of each segment that is not deleted yet, oldest first."""
        before: SegmentPlan | None = None
        for segment in book.segments[book.deleted :]:
            plan = self.look(segment, book.holds.values(), progress, rest=segment.number == book.begun)
            if before is not None and not before.deletable:
                plan.blockers.append(Blocker("order", f"segment {before.segment.number}, which is older, stays"))
            yield plan
            before = plan

    def look(
        self,
        segment: Segment,
        holds: Iterable[Hold],
        progress: Callable[[int], None] | None = None,
        *,
        rest: bool = False,
    ) -> SegmentPlan:
        """Return what would become of one segment, but for its order.

        Args:
            rest: its deletion was begun, so that of each chain only the last records may be left.
        """
        plan, standing = SegmentPlan(segment), list(holds)
        self._check_checkpoint(plan)
        self._check_cursors(plan)
        now, young, held = self.clock(), 0, dict[str, int]()
        try:
            for record, facts in self._records(segment, rest=rest):
                plan.records += 1
                plan.bytes += len(record.record)
                plan.oldest_ns = min(plan.oldest_ns or facts.time_ns, facts.time_ns)
                plan.newest_ns = max(plan.newest_ns, facts.time_ns)
                until = self.rules.keep_until(facts)
                plan.free_ns = max(plan.free_ns, until)
                young += until > now
                hold = holding(standing, facts) if standing else None
                if hold is not None:
                    held[hold.hold_id] = held.get(hold.hold_id, 0) + 1
                if progress is not None and plan.records % 1000 == 0:
                    progress(1000)
        except AuditError as error:
            plan.blockers.append(Blocker("damaged", f"{error}; run: govctl audit verify"))
        if progress is not None:
            progress(plan.records % 1000)
        if young:
            plan.blockers.append(Blocker("young", f"kept until {_date(plan.free_ns)}", young))
        for hold_id, count in held.items():
            plan.blockers.append(Blocker("hold", f"legal hold {hold_id}", count))
        return plan

    def _check_checkpoint(self, plan: SegmentPlan) -> None:
        segment = plan.segment
        try:
            checkpoint = self.open_note(segment.note)
            same = (checkpoint.origin, checkpoint.size, checkpoint.root.hex()) == (
                self.store.log,
                segment.end,
                segment.root,
            )
            if not same or heads_of(checkpoint) != dict(segment.heads):
                plan.blockers.append(Blocker("checkpoint", "its checkpoint says something else than the segment"))
        except AuditError as error:
            plan.blockers.append(Blocker("checkpoint", f"its checkpoint does not verify: {error}"))

    def _check_cursors(self, plan: SegmentPlan) -> None:
        for sink, places in sorted(self._cursors().items()):
            behind = sum(
                max(0, stop - max(first, places.get(chain, 0))) for chain, first, stop in plan.segment.ranges()
            )
            if behind:
                plan.blockers.append(Blocker("sink", f"the sink {sink} has not taken them yet", behind))

    def _records(self, segment: Segment, *, rest: bool) -> Iterator[tuple[StoredRecord, Facts]]:
        """Yield the records of a segment, each checked to continue its chain up to what the checkpoint binds."""
        for chain, first, stop in segment.ranges():
            head = segment.before.get(chain, Head())
            found: Head | None = None
            with self.store.reader(chain) as reader:
                for record in reader.records(first, stop=stop):
                    yield record, _checked(record, None if rest and found is None else found or head)
                    found = Head(record.sequence, record.hash)
            if found != segment.heads[chain] and not (rest and found is None):
                raise DamagedError(f"the chain {chain} is not the one that the checkpoint binds, or lacks records")


class DamagedError(AuditError):
    """Records are not those that were written: what may be evidence is not deleted."""


def _checked(record: StoredRecord, head: Head | None) -> Facts:
    """Check a record against the one before it, where that is known, and return its facts."""
    place = f"record {record.sequence} of the chain {record.chain}"
    if type(record.record) is not bytes or record_hash(record.record) != record.hash:
        raise DamagedError(f"{place} is not the one that was written")
    try:
        document = orjson.loads(record.record)
        facts, before = facts_of(document), document["prev"]
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{place} is no record") from error
    if head is not None and (
        record.sequence != head.sequence + 1 or before != (head.hash if head.sequence >= 0 else GENESIS)
    ):
        raise DamagedError(f"{place} does not follow the one before it")
    return facts


def _date(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
