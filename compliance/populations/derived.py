"""Populations that are made of other ones, once the log was read: types, models, recipients, overseers."""

import sqlite3
from collections.abc import Iterator

from audit.events import EVENTS
from compliance.populations.base import Value
from compliance.populations.collectors.base import DAY_NS, SECOND, Surroundings, made
from compliance.populations.collectors.running import Running, retention_state
from compliance.populations.covering import cover
from compliance.populations.passing import Passed
from compliance.populations.reconciling import reconcile
from compliance.populations.registry import POPULATIONS
from compliance.register.model import AiSystem


def derive(connection: sqlite3.Connection, around: Surroundings, passed: Passed, running: Running) -> None:
    """Fill what is made of other populations, and of what was seen in passing.

    Args:
        connection: the database, every other table filled.
        around: what is known.
        passed: what was seen of every record.
        running: starts and ends of gateways.
    """
    last = max(around.period.start_ns, around.end_ns - SECOND)
    around.emit("retention", retention_state(around, passed.deleted, passed.complete_since(around.now_ns)))
    for row in _types(passed, last):
        around.emit("record_types", row)
    for row in _models(connection, around, last):
        around.emit("models", row)
    for row in _recipients(connection, around, last):
        around.emit("recipients", row)
    for system, entry in sorted(around.context.register.systems.items()):
        for row in _overseers(around, system, entry):
            around.emit("overseers", row)
        if entry.expected_calls_per_day is not None:
            around.emit("frequency", _frequency(connection, around, system, entry.expected_calls_per_day, last))
    cover(connection, around, passed, running)
    reconcile(connection)


def _types(passed: Passed, last: int) -> Iterator[dict[str, Value]]:
    readers: dict[str, list[str]] = {}
    for population in POPULATIONS.values():
        for each in population.reads:
            readers.setdefault(each, []).append(population.name)
    for name, seen in sorted(passed.types.items()):
        yield {
            **made(last),
            "type": name,
            "records": seen.records,
            "unwritable": seen.unwritable,
            "first_leaf": seen.first_leaf,
            "last_leaf": seen.last_leaf,
            "known": name in EVENTS,
            "populations": sorted(readers.get(name, ())),
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
