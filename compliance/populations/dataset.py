"""The populations of a period in a SQLite database: one strict table each, which anybody can query.

Names in its SQL are the registry's, and values are bound: that is why S608 is passed over here.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson

from compliance.populations.base import BASE_COLUMNS, Column, Population, Row, Value
from compliance.populations.registry import POPULATIONS

BATCH = 2000

_KINDS = {"text": "TEXT", "integer": "INTEGER", "time": "INTEGER", "boolean": "INTEGER", "list": "TEXT"}


def columns_of(population: Population) -> tuple[Column, ...]:
    """Return all columns of a population."""
    return (*BASE_COLUMNS, *population.columns)


class Dataset:
    """Populations that were extracted (`compliance.package.facts.Data`)."""

    populations: Mapping[str, Population] = POPULATIONS

    def __init__(self, database: Path) -> None:
        self._connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)

    def rows(self, population: str, system: str = "") -> Iterator[Row]:
        """Yield rows by leaf, then as they were given out; of one AI system, where the population has systems."""
        table = self.populations[population]
        columns = columns_of(table)
        names = ", ".join(f'"{column.name}"' for column in columns)
        filtered = bool(system) and table.per_system
        sql = f'SELECT {names} FROM "{population}"{" WHERE system = ?" if filtered else ""} ORDER BY leaf, rowid'  # noqa: S608 - see above
        for row in self._connection.execute(sql, (system,) if filtered else ()):
            yield {column.name: _read(column, value) for column, value in zip(columns, row, strict=True)}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the tables."""
        return self._connection.execute(sql).fetchall()

    def leaves_by_type(self) -> Mapping[str, int]:
        """Return how many records of each type the log has in the period."""
        return dict(self._connection.execute("SELECT type, records FROM record_types ORDER BY type"))

    def window(self) -> tuple[int, int]:
        """Return the index of the period's first leaf, and that after its last."""
        first, after = self._connection.execute("SELECT first, after FROM _passed").fetchone()
        return first, after

    def counts(self) -> Mapping[str, int]:
        """Return how many rows each population has."""
        return {name: int(self.query(f'SELECT count(*) FROM "{name}"')[0][0]) for name in self.populations}  # noqa: S608 - see above

    def deleted(self) -> int:
        """Return how many leaves of the tree, of whatever time, have no record any more: retention deleted it."""
        ((deleted,),) = self._connection.execute("SELECT deleted FROM _passed").fetchall()
        return int(deleted)

    def unknown_types(self) -> Mapping[str, int]:
        """Return how many records of the period are of types that this version does not know, by type."""
        return dict(self._connection.execute("SELECT type, records FROM record_types WHERE known = 0 ORDER BY type"))

    def uncovered(self) -> list[tuple[str, str]]:
        """Return the days that the log does not cover, and why."""
        return self._connection.execute("SELECT day, why FROM coverage WHERE covered = 0 ORDER BY day").fetchall()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


class Tables:
    """The tables while they are filled.

    Attributes:
        muted: rows are not taken: they are in the tables already.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.muted = False
        self._connection = connection
        self._waiting: dict[str, list[tuple[Value, ...]]] = {name: [] for name in POPULATIONS}
        self._names: dict[str, frozenset[str]] = {}
        self._cells: dict[str, Callable[[Mapping[str, Value]], tuple[Value, ...]]] = {}
        self._lists: dict[str, tuple[str, ...]] = {}
        self._sql: dict[str, str] = {}
        for name, population in POPULATIONS.items():
            columns = columns_of(population)
            names = [column.name for column in columns]
            self._names[name] = frozenset(names)
            self._cells[name] = itemgetter(*names)
            self._lists[name] = tuple(column.name for column in columns if column.kind == "list")
            defined = ", ".join(f'"{column.name}" {_KINDS[column.kind]}' for column in columns)
            connection.execute(f'CREATE TABLE IF NOT EXISTS "{name}" ({defined}) STRICT')
            self._sql[name] = f'INSERT INTO "{name}" VALUES ({", ".join("?" * len(columns))})'  # noqa: S608 - ours

    def add(self, population: str, row: Mapping[str, Value]) -> None:
        """Add a row; it has exactly the population's columns."""
        if self.muted:
            return
        if len(row) != len(self._names[population]):
            wrong = self._names[population] ^ set(row)
            raise ValueError(f"a row of {population} has other columns than the registry says: {sorted(wrong)}")
        lists = {each: _json(row[each]) for each in self._lists[population]}
        waiting = self._waiting[population]
        waiting.append(self._cells[population]({**row, **lists} if lists else row))
        if len(waiting) >= BATCH:
            self._flush(population)

    def flush(self) -> None:
        """Write what waits."""
        for name in self._waiting:
            self._flush(name)

    def _flush(self, name: str) -> None:
        if self._waiting[name]:
            self._connection.executemany(self._sql[name], self._waiting[name])
            self._waiting[name].clear()


def _json(value: Value) -> str | None:
    return None if value is None else orjson.dumps(value).decode() if value else "[]"


def _read(column: Column, value: Any) -> Value:
    if value is None:
        return None
    if column.kind == "boolean":
        return bool(value)
    read: Value = json.loads(value) if column.kind == "list" else value
    return read
