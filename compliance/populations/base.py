"""What a population is.

A population is a table of everything of its sort in the period, never a selection: every grant, every revocation,
every call. A test of a control asks one population; the auditor's samples are drawn from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "integer", "boolean", "time", "list"]
"""Kind of a column. `time` is UNIX nanoseconds; `boolean` is stored as 0 or 1; `list` as JSON text."""

Value = str | int | bool | list[str] | None
"""A value of a column; None where it does not apply."""

Row = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a population, as the data dictionary says it.

    Attributes:
        name: name in tables, CSV and JSON Lines.
        kind: what its values are.
        says: what it means, with its unit, for a person.
        personal: it may name a person; written as a pseudonym unless real names were asked for.
    """

    name: str
    kind: Kind
    says: str
    personal: bool = False


BASE_COLUMNS = (
    Column("leaf", "integer", "Index of the row's first record in the tree of the log."),
    Column("event_id", "text", "Event id of that record."),
    Column("time", "time", "When it was written: UNIX time in nanoseconds."),
    Column("day", "text", "Day of UTC of that time."),
    Column("system", "text", "AI system of the register; empty where none is concerned."),
)
"""What every population begins with. A row that no single record made has leaf -1 and no event id."""


@dataclass(frozen=True, slots=True)
class Population:
    """A population.

    Attributes:
        name: name of the table and of the files: lower case, underscores.
        title: its name for a person.
        says: what a row is, and when the population is complete.
        columns: its columns beyond `BASE_COLUMNS`.
        reads: types of the records that it is made from; empty where it is made from something else.
        per_system: rows belong to an AI system, so that evidence of one system holds only its rows.
        daily: a day without rows lacks data; otherwise it only lacks data where the log does not cover the day.
    """

    name: str
    title: str
    says: str
    columns: tuple[Column, ...]
    reads: frozenset[str]
    per_system: bool = False
    daily: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of the log, in the order of its tree.

    Attributes:
        leaf: index in the tree.
        time_ns: when it was written, UNIX nanoseconds.
        document: the parsed record.
    """

    leaf: int
    time_ns: int
    type: str
    event_id: str
    document: Mapping[str, Any]
