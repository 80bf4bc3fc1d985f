"""Turns conditions on the columns of a population into SQL, which an auditor can run as it stands.

Values are written into the text, so that the query in a package is the query that was run. Names come only from the
registry of populations, and texts are quoted as SQL does it, so that no file of controls can write SQL of its own.
"""

from collections.abc import Iterator, Mapping

from compliance.catalogue.model import Condition, Rows, Scalar
from compliance.populations.base import Column, Population
from compliance.populations.dataset import columns_of


def where(population: Population, *conditions: Rows, system: str = "") -> str:
    """Return a condition in SQL that all of several conditions hold; `1` for none.

    Args:
        population: whose columns they are on.
        conditions: what has to hold.
        system: only rows of this AI system, where the population has systems.

    Raises:
        KeyError: a column is not the population's; the catalogue is checked for that when it is loaded.
    """
    columns = {column.name: column for column in columns_of(population)}
    parts = [f"system = {quoted(system)}"] if system and population.per_system else []
    for rows in conditions:
        for name, condition in rows.items():
            parts += _parts(columns, columns[name], condition)
    return " AND ".join(parts) if parts else "1"


def quoted(value: Scalar) -> str:
    """Return a value as a literal of SQL."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int):
        if not -(2**63) < value < 2**63:
            raise ValueError(f"{value} is larger than whole numbers of a population are")
        return str(value)
    if "\0" in value:
        raise ValueError("a text with a NUL cannot be compared")
    return "'" + value.replace("'", "''") + "'"


def _parts(columns: Mapping[str, Column], column: Column, condition: Condition | Scalar) -> Iterator[str]:
    name = f'"{column.name}"'
    if not isinstance(condition, Condition):
        condition = Condition(equals=condition)
    if condition.equals is not None:
        yield f"{name} IS {quoted(condition.equals)}"
    if condition.differs is not None:
        yield f"({name} IS NOT NULL AND {name} <> {quoted(condition.differs)})"
    if condition.any_of is not None:
        yield f"coalesce({name} IN ({_list(condition.any_of)}), 0)"
    if condition.none_of is not None:
        yield f"coalesce({name} NOT IN ({_list(condition.none_of)}), 0)"
    if condition.at_least is not None:
        yield f"coalesce({name} >= {quoted(condition.at_least)}, 0)"
    if condition.at_most is not None:
        yield f"coalesce({name} <= {quoted(condition.at_most)}, 0)"
    if condition.contains is not None:
        yield f"EXISTS (SELECT 1 FROM json_each({name}) WHERE value = {quoted(condition.contains)})"  # noqa: S608 - see above
    if condition.lacks is not None:
        inner = f"EXISTS (SELECT 1 FROM json_each({name}) WHERE value = {quoted(condition.lacks)})"  # noqa: S608 - see above
        yield f"({name} IS NOT NULL AND NOT {inner})"
    if condition.empty is not None:
        empty = "'[]'" if column.kind == "list" else "''"
        yield f"coalesce({name} {'=' if condition.empty else '<>'} {empty}, 0)"
    if condition.absent is not None:
        yield f"{name} IS {'' if condition.absent else 'NOT '}NULL"
    if condition.column is not None:
        other = f'"{columns[condition.column].name}"'
        yield f"coalesce({name} = {other}, 0)"


def _list(values: list[Scalar]) -> str:
    return ", ".join(quoted(value) for value in values)
