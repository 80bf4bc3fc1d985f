"""Writes the populations as JSON Lines and as CSV, and knows their roots."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from compliance.package.facts import Data
from compliance.package.merkle import RootHasher
from compliance.package.output import Output
from compliance.populations.base import BASE_COLUMNS, Column, Population, Row, Value

FLUSH_ROWS = 5000
_FORMULA = frozenset("=+-@\t\r")
_SCALED = frozenset({"time"})


@dataclass(frozen=True, slots=True)
class WrittenPopulation:
    """A population as it was written.

    Attributes:
        rows: number of rows.
        root: Merkle root over the lines of the JSON Lines file (32 bytes).
        first_leaf: lowest leaf; -1 where no row has one.
        last_leaf: highest leaf; -1 where no row has one.
    """

    rows: int
    root: bytes
    first_leaf: int
    last_leaf: int


def columns_of(population: Population) -> tuple[Column, ...]:
    """Return all columns of a population, in their order in CSV."""
    return (*BASE_COLUMNS, *population.columns)


def json_line(row: Row, times: frozenset[str]) -> bytes:
    """Return a row as canonical JSON (RFC 8785), without an end. Times are text: they are beyond 2^53.

    Args:
        row: the row.
        times: names of its columns of the kind `time`.
    """
    line = dict(row)
    for name in times:
        if line[name] is not None:
            line[name] = str(line[name])
    return orjson.dumps(line, option=orjson.OPT_SORT_KEYS)


def csv_cell(value: Value) -> str:
    """Return a value as a cell. No cell begins a formula: such a text has an apostrophe before it."""
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, list):
        return orjson.dumps(value).decode()
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in _FORMULA else text


def _cells(columns: tuple[Column, ...]) -> Callable[[list[Value]], list[Value]]:
    """Return what turns the values of a row into cells as `csv_cell` does: what csv writes by itself stays."""
    texts = [place for place, each in enumerate(columns) if each.kind == "text"]
    others = [place for place, each in enumerate(columns) if each.kind in ("boolean", "list")]

    def cells(values: list[Value]) -> list[Value]:
        for place in texts:
            value = values[place]
            if isinstance(value, str) and value[:1] in _FORMULA:
                values[place] = f"'{value}"
        for place in others:
            values[place] = csv_cell(values[place])
        return values

    return cells


def write_population(
    data: Data, name: str, system: str, out: Output, progress: Callable[[int], None] = lambda _rows: None
) -> WrittenPopulation:
    """Write a population.

    Args:
        data: where it is.
        name: its name.
        system: the AI system that the package is of; empty for all.
        out: where to.
        progress: called with the number of rows written since the last call.

    Raises:
        ComplianceError: it cannot be written.
    """
    population = data.populations[name]
    columns = columns_of(population)
    names = [each.name for each in columns]
    times = frozenset(each.name for each in columns if each.kind in _SCALED)
    root, first, last, pending = RootHasher(), -1, -1, 0
    lines: list[bytes] = []
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(names)
    cells_of = _cells(columns)
    with (
        out.stream(f"populations/{name}.jsonl", "application/jsonl") as write_lines,
        out.stream(f"populations/{name}.csv", "text/csv") as write_table,
    ):

        def flush() -> None:
            nonlocal pending
            write_lines(b"".join(lines))
            write_table(text.getvalue().encode())
            lines.clear()
            text.seek(0)
            text.truncate()
            progress(pending)
            pending = 0

        for row in data.rows(name, system if population.per_system else ""):
            values = [row.get(each) for each in names]
            line = json_line(dict(zip(names, values, strict=True)), times)
            root.take(line)
            lines.append(line + b"\n")
            table.writerow(cells_of(values))
            leaf = row["leaf"]
            if isinstance(leaf, int) and leaf >= 0:
                first, last = (leaf if first < 0 else min(first, leaf)), max(last, leaf)
            pending += 1
            if pending == FLUSH_ROWS:
                flush()
        flush()
    return WrittenPopulation(root.count, root.root(), first, last)


def dictionary(data: Data) -> dict[str, object]:
    """Return the data dictionary: what each population and each column means."""
    return {
        name: {
            "title": population.title,
            "says": population.says,
            "reads": sorted(population.reads),
            "per_system": population.per_system,
            "daily": population.daily,
            "columns": [
                {"name": each.name, "kind": each.kind, "says": each.says, "personal": each.personal}
                for each in columns_of(population)
            ],
        }
        for name, population in sorted(data.populations.items())
    }
