"""Closes segments, sets and lifts holds, and deletes what may go: each step kept, recorded, and resumed after a kill.

A deletion of a segment goes: the journal says that it is begun; the record `log.segment_deleted` is durable in the log;
copies and rows go; the journal says that it is done. Between any two of these a kill does no harm: the next run
finishes what was begun, unless a legal hold or a longer rule came in between, which keeps whatever is still there. A
kill just after the record puts the same deletion on record twice.
"""

from collections.abc import Callable, Sequence
from typing import Any

from audit.event_id import uuid7
from audit.retention.errors import RetentionError
from audit.retention.holds import Covers, Hold
from audit.retention.journal import Book, Journal, Writer
from audit.retention.planning import Planner, SegmentPlan
from audit.retention.rows import Rows
from audit.retention.segments import Segment, next_segment

Record = Callable[[str, dict[str, Any]], object]
"""Writes a record of a type with these fields; returns once it is durable, and raises if it will not be."""


Copy = Callable[[Segment], None]
"""Removes what else is kept of the records of a segment; called before their rows go, again after a kill."""


class Keeper:
    """Does what govctl asks, one process at a time.

    Args:
        journal: the book.
        planner: decides what may go.
        rows: deletes it.
        record: writes to the audit log.
        marks: what the log knows of the journal: number of lines, and hash of the last.
        copies: what goes with the rows.
    """

    def __init__(
        self,
        journal: Journal,
        planner: Planner,
        rows: Rows,
        record: Record,
        marks: Callable[[], Sequence[tuple[int, str]]],
        copies: Sequence[Copy] = (),
    ) -> None:
        self._journal = journal
        self._planner = planner
        self._rows = rows
        self._record = record
        self._marks = marks
        self._copies = copies

    def book(self) -> Book:
        """Return what the journal says.

        Raises:
            RetentionError: it was changed, or shortened.
        """
        return self._journal.check(self._marks())

    def seal(self, note: bytes, by: str) -> Segment:
        """Close the segment that ends with a signed checkpoint.

        Raises:
            RetentionError: nothing new is in it, or it does not continue the last one.
            AuditError: it does not verify, or cannot be recorded.
        """
        self.book()
        with self._journal.locked() as writer:
            last = writer.book.segments[-1] if writer.book.segments else None
            checkpoint = self._planner.open_note(note)
            segment = next_segment(last, checkpoint, note, self._planner.store.log, self._planner.clock())
            heads = {chain: [head.sequence, head.hash] for chain, head in segment.heads.items()}
            book = writer.append(
                "segment.sealed",
                {"segment": segment.number, "end": segment.end, "root": segment.root, "heads": heads, "by": by}
                | {"note": note.decode()},
            )
            self._record("log.sealed", {"principal": by, **_named(segment), "journal": book.mark()})
        return segment

    def set_hold(self, covers: Covers, by: str, cause: str) -> Hold:
        """Set a legal hold; it stands when this returns.

        Raises:
            RetentionError: there is no reason.
        """
        _check_cause(cause)
        self.book()
        hold_id = uuid7()
        with self._journal.locked() as writer:
            document = covers.to_document()
            book = writer.append("hold.set", {"hold": hold_id, "covers": document, "by": by, "cause": cause})
            fields = {"principal": by, "hold": hold_id, "covers": document, "cause": cause, "journal": book.mark()}
            self._record("log.legal_hold_set", fields)
        return book.holds[hold_id]

    def lift_hold(self, hold_id: str, by: str, cause: str) -> Hold:
        """Lift a legal hold.

        Raises:
            RetentionError: there is no such hold, or no reason.
        """
        _check_cause(cause)
        self.book()
        with self._journal.locked() as writer:
            hold = writer.book.holds.get(hold_id)
            if hold is None:
                raise RetentionError(f"no legal hold {hold_id} stands; see: govctl audit hold list")
            # On record first: a hold that nobody is on record to have lifted still stands.
            fields = {"principal": by, "hold": hold_id, "cause": cause, "journal": writer.book.mark()}
            self._record("log.legal_hold_lifted", fields)
            writer.append("hold.lifted", {"hold": hold_id, "by": by, "cause": cause})
        return hold

    def apply(
        self,
        by: str,
        progress: Callable[[int], None] | None = None,
        deleted: Callable[[SegmentPlan], None] | None = None,
    ) -> SegmentPlan | None:
        """Delete every segment that may go, oldest first; return the plan of the one that stays, None if none is left.

        Args:
            progress: called with the number of records looked at since the last call.
            deleted: called with each segment that is gone.

        Raises:
            RetentionError: the journal was changed, so nothing is deleted.
            AuditError: the log or the store fails; the next call goes on.
        """
        self.book()
        while True:
            with self._journal.locked() as writer:
                book = writer.book
                if book.deleted == len(book.segments):
                    return None
                segment = book.segments[book.deleted]
                plan = self._planner.look(segment, book.holds.values(), progress, rest=book.recorded)
                if not plan.deletable:
                    if book.begun and not book.recorded:
                        writer.append("deletion.withdrawn", {"segment": segment.number})
                    return plan
                self._delete(writer, plan, by)
            if deleted is not None:
                deleted(plan)

    def _delete(self, writer: Writer, plan: SegmentPlan, by: str) -> None:
        segment = plan.segment
        if not writer.book.begun:
            writer.append("deletion.begun", {"segment": segment.number, "by": by})
        if not writer.book.recorded:
            fields = {
                "principal": by,
                **_named(segment),
                "records": segment.records,
                "cause": self._planner.rules.words(),
                "journal": writer.book.mark(),
            }
            self._record("log.segment_deleted", fields)
            writer.append("deletion.recorded", {"segment": segment.number})
        for copy in self._copies:
            copy(segment)
        for chain, _, stop in segment.ranges():
            self._rows.delete_before(chain, stop)
        writer.append("deletion.done", {"segment": segment.number})


def _named(segment: Segment) -> dict[str, Any]:
    return {"segment": str(segment.number), "start": segment.start, "end": segment.end, "root": segment.root}


def _check_cause(cause: str) -> None:
    if not cause.strip():
        raise RetentionError("a legal hold is set and lifted with a reason")
