"""What is seen of every record in passing, whatever it is: types, days, signs that a gateway ran, what was deleted."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from audit.export.source import Leaf
from audit.store.base import StoredRecord
from compliance.period import Period, day_of
from compliance.populations.collectors.base import DAY_NS, SECOND

SILENCE_NS = 2 * 3600 * SECOND
"""Longest time without a record that a running gateway has: it writes one each hour, and one may fail."""

_SLOT_NS = 600 * SECOND
_AROUND_NS = DAY_NS
_OPERATORS = "govctl"


class Signs:
    """Records of a gateway's own, as signs that it ran: the first and last of every ten minutes around the period.

    The order of the records does not matter, so that a clock which was set back does not either.

    Attributes:
        last_ns: time of the latest one so far, UNIX nanoseconds.
    """

    def __init__(self, period: Period) -> None:
        self._begin = period.start_ns - _AROUND_NS
        self._end = period.end_ns + _AROUND_NS
        slots = (self._end - self._begin) // _SLOT_NS
        self._first = array("q", bytes(8 * slots))
        self._last = array("q", bytes(8 * slots))
        self.last_ns = 0

    def note(self, time_ns: int) -> None:
        """Take a record's time."""
        self.last_ns = max(self.last_ns, time_ns)
        if self._begin <= time_ns < self._end:
            slot = (time_ns - self._begin) // _SLOT_NS
            self._last[slot] = max(self._last[slot], time_ns)
            if not self._first[slot] or time_ns < self._first[slot]:
                self._first[slot] = time_ns

    def before(self, time_ns: int) -> int:
        """Return the time of the last sign that is known before a time; 0 for none."""
        found = self.last_ns if self.last_ns < time_ns else 0
        slot = min((time_ns - self._begin) // _SLOT_NS, len(self._last) - 1)
        while slot >= 0:
            for each in (self._last[slot], self._first[slot]):
                if 0 < each < time_ns:
                    return max(found, each)
            slot -= 1
        return found

    def silences(self, known: tuple[int, int], span: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Yield the stretches without a sign that are longer than a running gateway has.

        Args:
            known: from when to when signs would be known, UNIX nanoseconds.
            span: what the stretches are cut to.
        """
        before = max(self._begin, known[0])
        for first, last in zip(self._first, self._last, strict=True):
            if first:
                yield from _cut(before, first, span)
                before = last
        yield from _cut(before, min(self._end, known[1]), span)


def _cut(since: int, until: int, span: tuple[int, int]) -> Iterator[tuple[int, int]]:
    begin, end = max(since, span[0]), min(until, span[1])
    if until - since > SILENCE_NS and begin < end:
        yield begin, end


@dataclass(slots=True)
class Seen:
    """Records of a type in the period."""

    records: int
    unwritable: int
    first_leaf: int
    last_leaf: int


class Passed:
    """What was seen in passing.

    Attributes:
        deleted: leaves whose records retention deleted.
        oldest_ns: time of the oldest record that is there; 0 for none.
        cut_ns: the latest time at which a chain that lacks records goes on; 0 where none lacks any.
        types: records of the period by type.
        days: by number of the day since 1970: records, first and last time.
        window: index of the period's first leaf, and that after its last.
    """

    def __init__(self, period: Period) -> None:
        self.signs = Signs(period)
        self.deleted = 0
        self.oldest_ns = 0
        self.cut_ns = 0
        self.types: dict[str, Seen] = {}
        self.days: dict[int, list[int]] = {}
        self.window = (0, 0)
        self._start_ns, self._end_ns = period.start_ns, period.end_ns
        self._lacking: set[str] = set()

    def lack(self, leaf: Leaf) -> None:
        """Take a leaf whose record was deleted."""
        self.deleted += 1
        self._lacking.add(leaf.chain)

    def sign(self, leaf: Leaf, stored: StoredRecord) -> None:
        """Take a record as a sign that a gateway ran, unless govctl wrote it."""
        if leaf.chain != _OPERATORS:
            self.signs.note(stored.time_ns)

    def note(self, leaf: Leaf, stored: StoredRecord) -> bool:
        """Take a record; return whether it lies in the period."""
        time_ns, chain = stored.time_ns, leaf.chain
        if not self.oldest_ns or time_ns < self.oldest_ns:
            self.oldest_ns = time_ns
        if chain in self._lacking:
            self._lacking.discard(chain)
            self.cut_ns = max(self.cut_ns, time_ns)
        if not self._start_ns <= time_ns < self._end_ns:
            return False
        index = leaf.index
        self.window = (self.window[0] if self.types else index, index + 1)
        seen = self.types.get(stored.type)
        if seen is None:
            seen = self.types[stored.type] = Seen(0, 0, index, index)
        seen.records += 1
        seen.last_leaf = index
        day = self.days.get(time_ns // DAY_NS)
        if day is None:
            self.days[time_ns // DAY_NS] = [1, time_ns, time_ns]
        else:
            day[0] += 1
            if time_ns < day[1]:
                day[1] = time_ns
            elif time_ns > day[2]:
                day[2] = time_ns
        return True

    def complete_since(self, now_ns: int) -> int:
        """Return since when no chain lacks a record, UNIX nanoseconds."""
        return self.cut_ns or self.oldest_ns or now_ns

    def day_rows(self) -> list[tuple[str, int, int, int]]:
        """Return days as text with their number of records, first and last time."""
        return [(day_of(number * DAY_NS), *each) for number, each in sorted(self.days.items())]  # type: ignore[misc]
