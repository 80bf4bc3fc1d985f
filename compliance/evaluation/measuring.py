"""Measures a test over the period and on each of its days.

Names in its SQL are the registry's, and `conditions` quotes every literal: that is why S608 is passed over here.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal, Protocol

from compliance.catalogue.model import ControlTest
from compliance.evaluation.conditions import where
from compliance.evaluation.result import ControlTestResult, DayResult, DayStatus
from compliance.period import Period
from compliance.populations.base import Population

Outcome = Literal["pass", "fail", "partial"]


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
    population = data.populations[test.population]
    about = where(population, test.of, system=system)
    good = where(population, test.good or {})
    table = f'"{test.population}"'
    found = {
        str(day): (_whole(rows), _whole(fine))
        for day, rows, fine in data.query(
            f"SELECT day, count(*), coalesce(sum({good}), 0) FROM {table} WHERE {about} GROUP BY day"  # noqa: S608
        )
    }
    exceptions = tuple(
        (_whole(leaf), str(event))
        for leaf, event in data.query(
            f"SELECT leaf, event_id FROM {table} WHERE {about} AND NOT ({good}) ORDER BY leaf, rowid"  # noqa: S608
        )
    )
    rows = sum(each for each, _ in found.values())
    fine = sum(each for _, each in found.values())
    days = []
    for day in period.days():
        of_day, good_of_day = found.get(day.isoformat(), (0, 0))
        status: DayStatus = _judge(test, good_of_day, of_day) if of_day else "pass"
        if day.isoformat() in uncovered or (population.daily and not of_day):
            status = "no-data"
        days.append(DayResult(day.isoformat(), status, of_day, of_day - good_of_day))
    query = f"SELECT count(*), sum({good}) FROM {table} WHERE {about}"  # noqa: S608 - shown to people
    measured = f"{_percent(fine, rows)} ({rows - fine} exceptions of {rows})" if rows else "no such row"
    outcome, reason = _with_days(_judge(test, fine, rows) if rows else _when_empty(test), days, uncovered)
    return ControlTestResult(
        test, outcome, measured, fine if rows else None, rows, exceptions, query, reason, tuple(days)
    )


def _figure(
    data: Asked, test: ControlTest, period: Period, uncovered: Mapping[str, str], system: str
) -> ControlTestResult:
    population = data.populations[test.population]
    about = where(population, test.of, system=system)
    table = f'"{test.population}"'
    column = f'"{test.highest or test.lowest}"'
    figure = "count(*)" if test.count else f"{'max' if test.highest else 'min'}({column})"
    query = f"SELECT {figure} FROM {table} WHERE {about}"  # noqa: S608 - names are the registry's
    ((value, rows),) = data.query(f"SELECT {figure}, count(*) FROM {table} WHERE {about}")  # noqa: S608 - our names
    number, count = None if value is None else _whole(value), _whole(rows)
    exceptions = _beyond(data, test, table, about, column)
    beyond = dict.fromkeys(exceptions, True)
    of_day = {
        str(day): _whole(each)
        for day, each in data.query(f"SELECT day, count(*) FROM {table} WHERE {about} GROUP BY day")  # noqa: S608
    }
    bad_days: dict[str, int] = {}
    for day, leaf, event in data.query(f"SELECT day, leaf, event_id FROM {table} WHERE {about}") if beyond else ():  # noqa: S608
        if (_whole(leaf), str(event)) in beyond:
            bad_days[str(day)] = bad_days.get(str(day), 0) + 1
    days = []
    for day in period.days():
        name = day.isoformat()
        status: DayStatus = "no-data" if name in uncovered else "fail" if name in bad_days else "pass"
        days.append(DayResult(name, status, of_day.get(name, 0), bad_days.get(name, 0)))
    unit = f" {test.unit}" if test.unit else ""
    measured = f"{number}{unit}" if number is not None else "no such row"
    decided: Literal["pass", "fail", "partial", "not-applicable"]
    if test.count:
        decided = "pass" if _within(test, count) else "fail"
    else:
        decided = ("pass" if _within(test, number) else "fail") if number is not None else _when_empty(test)
    outcome, reason = _with_days(decided, days, uncovered)
    return ControlTestResult(test, outcome, measured, number, count, exceptions, query, reason, tuple(days))


def _beyond(data: Asked, test: ControlTest, table: str, about: str, column: str) -> tuple[tuple[int, str], ...]:
    """Return the rows that are beyond the bound; of a number of rows that is too high, all of them."""
    if test.count:
        ((rows,),) = data.query(f"SELECT count(*) FROM {table} WHERE {about}")  # noqa: S608 - names are the registry's
        if test.at_most is None or _whole(rows) <= test.at_most:
            return ()
        bound = "1"
    else:
        parts = [f"{column} < {test.at_least}"] if test.at_least is not None else []
        parts += [f"{column} > {test.at_most}"] if test.at_most is not None else []
        bound = f"({' OR '.join(parts)})"
    found = data.query(f"SELECT leaf, event_id FROM {table} WHERE {about} AND {bound} ORDER BY leaf, rowid")  # noqa: S608
    return tuple((_whole(leaf), str(event)) for leaf, event in found)


def _within(test: ControlTest, number: int) -> bool:
    return (test.at_least is None or number >= test.at_least) and (test.at_most is None or number <= test.at_most)


def _judge(test: ControlTest, fine: int, rows: int) -> Outcome:
    share = Fraction(fine, rows)
    if share >= Fraction(test.share_at_least):
        return "pass"
    if test.partial_at_least is not None and share >= Fraction(test.partial_at_least):
        return "partial"
    return "fail"


def _when_empty(test: ControlTest) -> Literal["pass", "fail", "not-applicable"]:
    return test.when_empty


def _with_days(
    outcome: Literal["pass", "fail", "partial", "not-applicable"], days: list[DayResult], uncovered: Mapping[str, str]
) -> tuple[Literal["pass", "fail", "partial", "not-applicable"], str]:
    """A day without data fails the test, whatever the other days say."""
    missing = [each.day for each in days if each.status == "no-data"]
    if not missing:
        return outcome, ""
    why = uncovered.get(missing[0], "no data")
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return "fail", f"no data for {missing[0]}{more}: {why}"


def _percent(fine: int, rows: int) -> str:
    """Return a share in per cent with two digits, never rounded up to 100."""
    hundredths = fine * 10_000 // rows
    return f"{hundredths // 100}.{hundredths % 100:02} %"


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"a population gave {value!r} where a whole number belongs")
    return value
