"""What collectors share: how a row is given out, and what of a record every row begins with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from compliance.period import Period, day_of
from compliance.populations.base import Entry, Value
from compliance.populations.context import Context, Registers

SECOND = 1_000_000_000
DAY_NS = 86_400 * SECOND

Emit = Callable[[str, dict[str, Value]], None]
"""Gives out a row of the population that is named."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a collector is made with.

    Attributes:
        now_ns: time of the tree's last record, UNIX nanoseconds: later than it nothing is known.
        sign_before: returns when, of what was read so far, a gateway last wrote a record before a time, UNIX
            nanoseconds; 0 where that is not known.
        oldest: returns the time of the oldest record read so far, UNIX nanoseconds.
    """

    period: Period
    context: Context
    registers: Registers
    now_ns: int
    emit: Emit
    sign_before: Callable[[int], int]
    oldest: Callable[[], int]

    @property
    def end_ns(self) -> int:
        """The end of what is judged: of the period, or of what is known."""
        return min(self.period.end_ns, self.now_ns + 1)


class Collector(Protocol):
    """Makes rows of records in one pass over the log in the order of its tree."""

    def take(self, entry: Entry) -> None:
        """Take a record of a type it reads."""

    def finish(self) -> None:
        """Give out what is left."""


def base_of(entry: Entry, system: str = "") -> dict[str, Value]:
    """Return the columns that a row of a record begins with."""
    return {
        "leaf": entry.leaf,
        "event_id": entry.event_id,
        "time": entry.time_ns,
        "day": day_of(entry.time_ns),
        "system": system,
    }


def made(time_ns: int, system: str = "") -> dict[str, Value]:
    """Return the columns that a row begins with which no single record made."""
    return {"leaf": -1, "event_id": "", "time": time_ns, "day": day_of(time_ns), "system": system}


def texts(value: Any) -> list[str]:
    """Return a list of a record as texts."""
    return [str(each) for each in value] if isinstance(value, list) else []


def part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object of a record; an empty one where it has none."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}
