"""The time that evidence is of: whole days of UTC, the first and the last included."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from compliance.errors import ComplianceError

_DAY_NS = 86_400_000_000_000


@dataclass(frozen=True, slots=True)
class Period:
    """Days of UTC.

    Attributes:
        first: first day.
        last: last day, included.

    Raises:
        ComplianceError: it ends before it begins.
    """

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ComplianceError(f"the period ends on {self.last}, before it begins on {self.first}")

    @property
    def start_ns(self) -> int:
        """Its beginning, UNIX nanoseconds."""
        return int(datetime(self.first.year, self.first.month, self.first.day, tzinfo=UTC).timestamp()) * 1_000_000_000

    @property
    def end_ns(self) -> int:
        """Its end, UNIX nanoseconds, not included."""
        return self.start_ns + ((self.last - self.first).days + 1) * _DAY_NS

    def days(self) -> Iterator[date]:
        """Yield each day."""
        for offset in range((self.last - self.first).days + 1):
            yield self.first + timedelta(days=offset)

    def contains(self, time_ns: int) -> bool:
        """Return whether a UNIX time in nanoseconds lies in it."""
        return self.start_ns <= time_ns < self.end_ns

    def __str__(self) -> str:
        return f"{self.first} to {self.last} (UTC)"


def day_of(time_ns: int) -> str:
    """Return the day of UTC, as in 2026-11-24, of a UNIX time in nanoseconds."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).date().isoformat()
