"""Measures a test over the period and on each of its days.

Names in its SQL are the registry's, and `conditions` quotes every literal: that is why S608 is passed over here.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal, Protocol

from compliance.catalogue.model import ControlTest
from compliance.evaluation.conditions import quoted, where
from compliance.evaluation.result import ControlTestResult, DayResult, DayStatus
from compliance.period import Period
from compliance.populations.base import Population

Outcome = Literal["pass", "fail", "partial"]
Decided = Literal["pass", "fail", "partial", "not-applicable"]


class Asked(Protocol):
    """What can be asked: `compliance.populations.dataset.Dataset`."""

    @property
    def populations(self) -> Mapping[str, Population]: ...

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of a query."""


def measure(
    data: Asked, test: ControlTest, period: Period, uncovered: Mapping[str, str], system: str = ""
) -> ControlTestResult:
    """Decide a test.

    Args:
        data: the populations.
        test: what is asked.
        period: the days.
        uncovered: days that the log does not cover, with the reason.
        system: only rows of this AI system, where the population has systems.
    """
    if test.good is not None:
        return _share(data, test, period, uncovered, system)
    return _figure(data, test, period, uncovered, system)


def _share(
    data: Asked, test: ControlTest, period: Period, uncovered: Mapping[str, str], system: str
) -> ControlTestResult:
    about = where(data.populations[test.population], test.of, system=system)
    good = where(data.populations[test.population], test.good or {})
    table = f'"{test.population}"'
    found = {
        str(day): (_whole(rows), _whole(fine))
        for day, rows, fine in data.query(
            f"SELECT {_day(period)}, count(*), coalesce(sum({good}), 0) FROM {table} WHERE {about} GROUP BY 1"  # noqa: S608 - see above
        )
    }
    rows = sum(each for each, _ in found.values())
    fine = sum(each for _, each in found.values())
    exceptions = _records(data, table, f"{about} AND NOT ({good})") if fine < rows else ()
    lacking = _lacking(data, test, period, uncovered)
    days = []
    for day in period.days():
        of_day, good_of_day = found.get(day.isoformat(), (0, 0))
        status: DayStatus = _judge(test, good_of_day, of_day) if of_day else "pass"
        status = "no-data" if day.isoformat() in lacking else status
        days.append(DayResult(day.isoformat(), status, of_day, of_day - good_of_day))
    query = f"SELECT count(*), sum({good}) FROM {table} WHERE {about}"  # noqa: S608 - shown to people
    measured = f"{_percent(fine, rows)} ({rows - fine} exceptions of {rows})" if rows else "no such row"
    outcome, reason = _with_days(_judge(test, fine, rows) if rows else test.when_empty, days, uncovered)
    return ControlTestResult(
        test, outcome, measured, fine if rows else None, rows, exceptions, query, reason, tuple(days)
    )


def _figure(
    data: Asked, test: ControlTest, period: Period, uncovered: Mapping[str, str], system: str
) -> ControlTestResult:
    about = where(data.populations[test.population], test.of, system=system)
    table = f'"{test.population}"'
    column = f'"{test.highest or test.lowest}"'
    figure = "count(*)" if test.count else f"{'max' if test.highest else 'min'}({column})"
    query = f"SELECT {figure} FROM {table} WHERE {about}"  # noqa: S608 - names are the registry's
    ((value, rows),) = data.query(f"SELECT {figure}, count(*) FROM {table} WHERE {about}")  # noqa: S608 - see above
    number, count = None if value is None else _whole(value), _whole(rows)
    beyond = _beyond(test, count, column)
    exceptions = _records(data, table, f"{about} AND {beyond}") if beyond else ()
    found = {
        str(day): (_whole(each), _whole(bad))
        for day, each, bad in data.query(
            f"SELECT {_day(period)}, count(*), coalesce(sum({beyond or 0}), 0) FROM {table} WHERE {about} GROUP BY 1"  # noqa: S608 - see above
        )
    }
    lacking = _lacking(data, test, period, uncovered)
    days = []
    for day in period.days():
        of_day, bad_of_day = found.get(day.isoformat(), (0, 0))
        status: DayStatus = "no-data" if day.isoformat() in lacking else "fail" if bad_of_day else "pass"
        days.append(DayResult(day.isoformat(), status, of_day, bad_of_day))
    unit = f" {test.unit}" if test.unit else ""
    measured = f"{number}{unit}" if number is not None else "no such row"
    decided: Decided = test.when_empty
    if number is not None:
        decided = "pass" if _within(test, number) else "fail"
    outcome, reason = _with_days(decided, days, uncovered)
    return ControlTestResult(test, outcome, measured, number, count, exceptions, query, reason, tuple(days))


def _day(period: Period) -> str:
    """Return, in SQL, the day that a row counts on: of what began before the period, its first one."""
    return f"min(max(day, {quoted(period.first.isoformat())}), {quoted(period.last.isoformat())})"


def _records(data: Asked, table: str, condition: str) -> tuple[tuple[int, str], ...]:
    """Return leaves and event ids of rows."""
    found = data.query(f"SELECT leaf, event_id FROM {table} WHERE {condition} ORDER BY leaf, rowid")  # noqa: S608 - see above
    return tuple((_whole(leaf), str(event)) for leaf, event in found)


def _lacking(data: Asked, test: ControlTest, period: Period, uncovered: Mapping[str, str]) -> set[str]:
    """Return the days without data: not covered, or without a row where the population has some every day."""
    lacking = set(uncovered)
    if data.populations[test.population].daily:
        there = {str(day) for (day,) in data.query(f'SELECT DISTINCT day FROM "{test.population}"')}  # noqa: S608 - see above
        lacking |= {day.isoformat() for day in period.days()} - there
    return lacking


def _beyond(test: ControlTest, count: int, column: str) -> str:
    """Return, in SQL, which rows are beyond the bound; of a number of rows that is too high, all. Empty for none."""
    if test.count:
        return "1" if test.at_most is not None and count > test.at_most else ""
    parts = [f"{column} < {quoted(test.at_least)}"] if test.at_least is not None else []
    parts += [f"{column} > {quoted(test.at_most)}"] if test.at_most is not None else []
    return f"coalesce({' OR '.join(parts)}, 0)" if parts else ""


def _within(test: ControlTest, number: int) -> bool:
    return (test.at_least is None or number >= test.at_least) and (test.at_most is None or number <= test.at_most)


def _judge(test: ControlTest, fine: int, rows: int) -> Outcome:
    share = Fraction(fine, rows)
    if share >= Fraction(test.share_at_least):
        return "pass"
    if test.partial_at_least is not None and share >= Fraction(test.partial_at_least):
        return "partial"
    return "fail"


def _with_days(decided: Decided, days: list[DayResult], uncovered: Mapping[str, str]) -> tuple[Decided, str]:
    """A day without data fails a test, whatever the other days say; a day on which it did not hold leaves no pass."""
    missing = [each.day for each in days if each.status == "no-data"]
    if missing:
        return "fail", f"no data for {_several(missing)}: {uncovered.get(missing[0], 'no row of the day')}"
    bad = [each.day for each in days if each.status != "pass"]
    if decided == "pass" and bad:
        return "partial", f"it held over the period as a whole, but not on {_several(bad)}"
    return decided, ""


def _several(days: list[str]) -> str:
    return days[0] if len(days) == 1 else f"{days[0]} and {len(days) - 1} more"


def _percent(fine: int, rows: int) -> str:
    """Return a share in per cent with two digits, never rounded up to 100."""
    hundredths = fine * 10_000 // rows
    return f"{hundredths // 100}.{hundredths % 100:02} %"


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"a population gave {value!r} where a whole number belongs")
    return value
