"""Compares populations with what others counted, and says how each was made (information produced by the entity)."""

import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from compliance.offline.verify_evidence import TRACED
from compliance.package.facts import Data, Ipe, Reconciled
from compliance.package.question import Question
from compliance.package.writing import WrittenPopulation, columns_of

_COUNTED: tuple[tuple[str, str, str, str], ...] = (
    (
        "calls on record",
        "SELECT count(*) FROM calls WHERE leaf >= 0",
        "SELECT sum(requests) FROM counts",
        "the gateway's own counter of requests (gateway.counts)",
    ),
    (
        "calls that the policies decided",
        "SELECT count(*) FROM calls WHERE policy_revision <> ''",
        "SELECT sum(decisions) FROM counts",
        "the policy engine's own counter of decisions (gateway.counts)",
    ),
    (
        "calls that were forwarded and ended",
        "SELECT count(*) FROM calls WHERE backend <> ''",
        "SELECT sum(backend_requests) FROM counts",
        "answers counted where backends are spoken to (gateway.counts)",
    ),
    (
        "connections accepted",
        "SELECT count(*) FROM calls",
        "SELECT sum(connections_accepted) FROM counts",
        "handshakes counted by the listener (gateway.counts); a connection carries several calls",
    ),
)
"""What is compared: in words, rows, the other figure, who counted it."""


def make_ipe(
    data: Data,
    question: Question,
    written: Mapping[str, WrittenPopulation],
    code_version: str,
    exporter: str,
    run_ns: int,
) -> tuple[Ipe, ...]:
    """Return the block of each population."""
    start, end = (_time(each) for each in (question.period.start_ns, question.period.end_ns))
    leaves = data.leaves_by_type()
    blocks = []
    for name, each in sorted(written.items()):
        population = data.populations[name]
        columns = ", ".join(column.name for column in columns_of(population))
        filtered = bool(question.system) and population.per_system
        where = " WHERE system = :system" if filtered else ""
        blocks.append(
            Ipe(
                population=name,
                query=f"SELECT {columns} FROM {name}{where} ORDER BY leaf, rowid",  # noqa: S608 - text for people
                parameters={"system": question.system} if filtered else {},
                code_version=code_version,
                window=(start, end),
                rows=each.rows,
                first_leaf=each.first_leaf,
                last_leaf=each.last_leaf,
                root=each.root.hex(),
                exporter=exporter,
                run_ns=run_ns,
                reconciliation=tuple(_reconciled(data, name, leaves)),
            )
        )
    return tuple(blocks)


def ipe_document(blocks: tuple[Ipe, ...]) -> dict[str, Any]:
    """Return the blocks as plain data, by population."""
    return {each.population: {**asdict(each), "run": _time(each.run_ns), "run_ns": str(each.run_ns)} for each in blocks}


def _reconciled(data: Data, name: str, leaves: Mapping[str, int]) -> list[Reconciled]:
    """Compare all rows, of whatever system, with independent figures."""
    found = []
    for column in sorted({column for population, column in TRACED.values() if population == name}):
        types = sorted(kind for kind, place in TRACED.items() if place == (name, column))
        rows = _number(data, f"SELECT count(*) FROM {name} WHERE {column} >= 0") or 0  # noqa: S608 - names are ours
        other = sum(leaves.get(kind, 0) for kind in types)
        found.append(
            Reconciled(
                f"rows whose {column} is known, of all systems",
                rows,
                other,
                f"leaves of the types {', '.join(types)} in the tree",
                rows - other,
                "" if rows == other else "see COVERAGE.md: records at the edges of the period, or of another form",
            )
        )
    for what, ours, theirs, source in _COUNTED if name == "calls" else ():
        own, counted = _number(data, ours), _number(data, theirs)
        if own is not None:
            difference = own - counted if counted is not None else 0
            why = "" if counted is not None else "nobody counted it in the period"
            found.append(Reconciled(what, own, counted, source, difference, why))
    return found


def _number(data: Data, sql: str) -> int | None:
    """Return the number that a query gives; None where the tables do not have what it asks for."""
    try:
        value = data.query(sql)[0][0]
    except sqlite3.OperationalError:  # the extraction has no such table or column: there is nothing to compare
        return None
    return int(value) if value is not None else None


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
