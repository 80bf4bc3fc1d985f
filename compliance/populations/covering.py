"""Which days the log covers: those in which it shows that a gateway ran, or that it had ended in order."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

from compliance.populations.base import Value
from compliance.populations.collectors.base import DAY_NS, SECOND, Surroundings, made
from compliance.populations.collectors.running import Running
from compliance.populations.passing import Passed
from compliance.populations.spans import Span, less, merged, overlap


def cover(connection: sqlite3.Connection, around: Surroundings, passed: Passed, running: Running) -> None:
    """Fill the days, and the gaps of hours in which nothing shows that a gateway ran.

    Args:
        connection: the database, the tables of calls and gaps filled.
        around: what is known.
        passed: what was seen of every record.
        running: starts and ends.
    """
    period = around.period
    known = 0 if passed.deleted else passed.oldest_ns
    silences = passed.signs.silences((known, around.now_ns), (max(period.start_ns, known), around.end_ns))
    silent = less(list(silences), merged(running.down))
    ran = less(merged(running.intervals), silent)
    untold = less(silent, merged(running.dead))
    for since, until in untold:
        around.emit("gaps", {**made(since), **_gap(since, until)})
    found = connection.execute("SELECT day, count(*) FROM gaps WHERE kind <> 'open-call' GROUP BY day").fetchall()
    gaps: dict[str, int] = dict(found)
    for since, _ in untold:
        day = str(made(since)["day"])
        gaps[day] = gaps.get(day, 0) + 1
    calls = dict(connection.execute("SELECT day, count(*) FROM calls GROUP BY day").fetchall())
    days = {day: (records, first, last) for day, records, first, last in passed.day_rows()}
    for number, name in enumerate(period.days()):
        start = period.start_ns + number * DAY_NS
        records, first, last = days.get(name.isoformat(), (0, None, None))
        seconds, silence = (
            overlap(ran, (start, start + DAY_NS)) // SECOND,
            overlap(silent, (start, start + DAY_NS)) // SECOND,
        )
        why = _why(around, passed, start, records, seconds, silent)
        row: dict[str, Value] = {
            "records": records,
            "calls": calls.get(name.isoformat(), 0),
            "first": first,
            "last": last,
            "running_seconds": seconds,
            "silent_seconds": silence,
            "gaps": gaps.get(name.isoformat(), 0),
            "covered": not why,
            "whole": around.now_ns >= start + DAY_NS,
            "why": why,
        }
        around.emit("coverage", {**made(start), **row})


def _why(around: Surroundings, passed: Passed, start: int, records: int, running: int, silent: Sequence[Span]) -> str:
    """Return why a day is not covered; empty where it is."""
    if start > around.now_ns:
        return "the log ends before this day"
    if not records:
        return "the log has no record of this day"
    if passed.deleted and passed.complete_since(around.now_ns) > start:
        return "records of this day may have been deleted: the log is complete from a later time on"
    here = [(max(since, start), min(until, start + DAY_NS)) for since, until in silent]
    shown = [f"{_clock(since)} to {_clock(until)}" for since, until in here if since < until]
    if shown:
        return f"nothing shows that a gateway ran, or had ended in order, from {', '.join(shown)} UTC"
    return "" if running else "no gateway ran on this day"


def _gap(since: int, until: int) -> dict[str, Value]:
    cause = "the log has no record of a gateway, and it had not ended in order"
    return {"kind": "silence", "since": since, "until": until, "explained": False, "cause": cause}


def _clock(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // SECOND, UTC).strftime("%H:%M")
