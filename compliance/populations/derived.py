"""Populations that are made of other ones, once the log was read: days, models, recipients, overseers."""

import sqlite3
from collections.abc import Iterator

from compliance.period import day_of
from compliance.populations.base import Value
from compliance.populations.collectors.base import DAY_NS, SECOND, Surroundings, made
from compliance.register.model import AiSystem

SLACK_NS = 10 * SECOND
"""How far from the edge of a window a call and its count may lie: counters are added up every second."""


def finish_calls(connection: sqlite3.Connection) -> None:
    """Join calls with the credentials they came with, and revocations with the calls that came after."""
    connection.execute("CREATE INDEX calls_leaf ON calls (leaf)")
    connection.execute("CREATE INDEX calls_principal ON calls (principal, time)")
    connection.execute("CREATE INDEX calls_credential ON calls (credential, time)")
    connection.execute("CREATE INDEX calls_time ON calls (time)")
    connection.execute(
        "UPDATE calls SET credential_lifetime_seconds = "
        "(SELECT lifetime FROM _credentials WHERE _credentials.credential = calls.credential) WHERE credential <> ''"
    )
    for column, kinds in (("principal", "('id', 'status')"), ("credential", "('serial')")):
        after = (
            f"FROM calls WHERE calls.{column} = revocations.subject AND calls.decision = 'allow' "
            "AND calls.time > revocations.time AND calls.time < coalesce(revocations.lifted_at, 9223372036854775807)"
        )
        connection.execute(
            f"UPDATE revocations SET accepted_after = (SELECT count(*) {after}), seconds_to_last_accepted_call = "  # noqa: S608
            f"(SELECT coalesce((max(calls.time) - revocations.time + 999999999) / 1000000000, 0) {after}) "
            f"WHERE kind IN {kinds}"
        )


def derive(connection: sqlite3.Connection, around: Surroundings, intervals: list[tuple[int, int]]) -> None:
    """Fill what is made of other populations.

    Args:
        connection: the database, every other table filled.
        around: what is known.
        intervals: when a gateway ran, UNIX nanoseconds.
    """
    for row in _coverage(connection, around, intervals):
        around.emit("coverage", row)
    last = max(around.period.start_ns, around.end_ns - SECOND)
    for row in _models(connection, around, last):
        around.emit("models", row)
    for row in _recipients(connection, around, last):
        around.emit("recipients", row)
    for system, entry in sorted(around.context.register.systems.items()):
        for row in _overseers(around, system, entry):
            around.emit("overseers", row)
        if entry.expected_calls_per_day is not None:
            around.emit("frequency", _frequency(connection, around, system, entry.expected_calls_per_day, last))
    _reconcile(connection)


def _coverage(
    connection: sqlite3.Connection, around: Surroundings, intervals: list[tuple[int, int]]
) -> Iterator[dict[str, Value]]:
    days = {day: each for day, *each in connection.execute("SELECT day, records, first, last FROM _days")}
    calls = dict(connection.execute("SELECT day, count(*) FROM calls GROUP BY day"))
    gaps = dict(connection.execute("SELECT day, count(*) FROM gaps WHERE kind <> 'open-call' GROUP BY day"))
    for number, day in enumerate(around.period.days()):
        start = around.period.start_ns + number * DAY_NS
        running = sum(max(0, min(end, start + DAY_NS) - max(begin, start)) for begin, end in intervals)
        records, first, last = days.get(day.isoformat(), (0, None, None))
        why = ""
        if start > around.now_ns:
            why = "the log ends before this day"
        elif not records:
            why = "the log has no record of this day"
        elif not running:
            why = "no gateway ran on this day"
        yield {
            **made(start),
            "records": records,
            "calls": calls.get(day.isoformat(), 0),
            "first": first,
            "last": last,
            "running_seconds": running // SECOND,
            "gaps": gaps.get(day.isoformat(), 0),
            "covered": not why,
            "why": why,
        }


def _models(connection: sqlite3.Connection, around: Surroundings, last: int) -> Iterator[dict[str, Value]]:
    found = connection.execute(
        "SELECT system, model, upstream_model, count(*) FROM calls WHERE decision = 'allow' AND model <> '' "
        "GROUP BY system, model, upstream_model ORDER BY system, model, upstream_model"
    ).fetchall()
    for system, model, upstream, count in found:
        entry = around.context.register.systems.get(system)
        listed = entry.models.get(model) if entry is not None else None
        yield {
            **made(last, system),
            "model": model,
            "upstream_model": upstream,
            "calls": count,
            "listed": listed is not None,
            "documented": listed is not None and listed.annex_xii is not None,
        }


def _recipients(connection: sqlite3.Connection, around: Surroundings, last: int) -> Iterator[dict[str, Value]]:
    found = connection.execute(
        "SELECT system, backend, count(*) FROM calls WHERE backend <> '' GROUP BY system, backend "
        "ORDER BY system, backend"
    ).fetchall()
    for system, backend, count in found:
        entry = around.context.register.systems.get(system)
        named = [each for each in entry.recipients if each.backend] if entry is not None else []
        known = around.context.backends.get(backend)
        here = [each for each in named if each.backend == backend]
        region = known.region if known is not None else ""
        yield {
            **made(last, system),
            "backend": backend,
            "region": region or (here[0].country if here else ""),
            "calls": count,
            "declared": bool(here) if named else known is not None,
            "region_declared": bool(region) or bool(here),
        }


def _overseers(around: Surroundings, system: str, entry: AiSystem) -> Iterator[dict[str, Value]]:
    for number, day in enumerate(around.period.days()):
        start = around.period.start_ns + number * DAY_NS
        for person in entry.oversight.overseers:
            trained = [
                each
                for each in entry.oversight.training
                if each.person == person and each.date <= day.isoformat() <= each.valid_until
            ]
            best = max(trained, key=lambda each: each.valid_until, default=None)
            yield {
                **made(start, system),
                "person": person,
                "training_reference": best.reference if best is not None else "",
                "valid_until": best.valid_until if best is not None else "",
                "training_valid": best is not None,
            }


def _frequency(
    connection: sqlite3.Connection, around: Surroundings, system: str, per_day: int, last: int
) -> dict[str, Value]:
    (calls,) = connection.execute(
        "SELECT count(*) FROM calls WHERE system = ? AND decision = 'allow'", (system,)
    ).fetchone()
    expected = per_day * sum(1 for _ in around.period.days())
    near = abs(calls - expected) * 5 <= expected
    return {**made(last, system), "calls": calls, "expected": expected, "within_a_fifth": near}


def _reconcile(connection: sqlite3.Connection) -> None:
    """Compare decisions counted since a start with calls on record since then.

    The sums run on from window to window until the gateway starts anew, so that a difference at the edge of one does
    not add up, and one that stays is found.
    """
    windows = connection.execute(
        "SELECT rowid, since, until, decisions, in_flight FROM counts ORDER BY since"
    ).fetchall()
    begun = before = counted = -1
    for rowid, since, until, decisions, in_flight in windows:
        if since != before:
            begun, counted = since, 0
        before = until
        counted += decisions
        least = _recorded(connection, begun + SLACK_NS, until - SLACK_NS)
        most = _recorded(connection, begun - SLACK_NS, until + SLACK_NS) + _suppressed(connection, begun, until)
        agree = least - in_flight <= counted <= most + in_flight
        recorded = _recorded(connection, begun, until)
        connection.execute(
            "UPDATE counts SET recorded = ?, counted = ?, reconciled = ? WHERE rowid = ?",
            (recorded, counted, agree, rowid),
        )


def _recorded(connection: sqlite3.Connection, begin: int, end: int) -> int:
    (found,) = connection.execute(
        "SELECT count(*) FROM calls WHERE time >= ? AND time < ? AND policy_revision <> ''", (begin, end)
    ).fetchone()
    return int(found)


def _suppressed(connection: sqlite3.Connection, begin: int, end: int) -> int:
    (found,) = connection.execute(
        'SELECT coalesce(sum("count"), 0) FROM suppressed_denials WHERE time >= ? AND time < ?',
        (begin, end + 3600 * SECOND),
    ).fetchone()
    return int(found)


def day_rows(days: dict[int, list[int]]) -> list[tuple[str, int, int, int]]:
    """Return days as text with their number of records, first and last time.

    Args:
        days: by number of the day since 1970.
    """
    return [(day_of(number * DAY_NS), *each) for number, each in sorted(days.items())]  # type: ignore[misc]
