"""Conditions mean in SQL what they say: an evaluation of our own, row by row, agrees on whatever rows there are."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.catalogue.model import Condition
from compliance.evaluation.conditions import quoted, where
from compliance.populations.base import BASE_COLUMNS, Column, Population

TABLE = Population(
    "things",
    "Things",
    "Each thing.",
    (
        Column("word", "text", "A word."),
        Column("other", "text", "Another."),
        Column("number", "integer", "A number."),
        Column("flag", "boolean", "A flag."),
        Column("members", "list", "Members."),
    ),
    frozenset(),
    per_system=True,
)
WORDS = ["", "a", "b", "it's", "--", "a'; DROP TABLE things; --", "é", "%"]
words = st.sampled_from(WORDS)
numbers = st.integers(-3, 3)

rows_of = st.fixed_dictionaries(
    {
        "word": st.none() | words,
        "other": st.none() | words,
        "number": st.none() | numbers,
        "flag": st.none() | st.booleans(),
        "members": st.none() | st.lists(words, max_size=3),
    }
)
text_conditions = st.one_of(
    words,
    st.builds(Condition, equals=words),
    st.builds(Condition, differs=words),
    st.builds(Condition, any_of=st.lists(words, min_size=1, max_size=3)),
    st.builds(Condition, none_of=st.lists(words, min_size=1, max_size=3)),
    st.builds(Condition, empty=st.booleans()),
    st.builds(Condition, absent=st.booleans()),
    st.just(Condition(column="other")),
)
number_conditions = st.one_of(
    numbers,
    st.builds(Condition, at_least=numbers),
    st.builds(Condition, at_most=numbers),
    st.builds(Condition, at_least=numbers, at_most=numbers),
    st.builds(Condition, absent=st.booleans()),
)
list_conditions = st.one_of(
    st.builds(Condition, contains=words), st.builds(Condition, lacks=words), st.builds(Condition, empty=st.booleans())
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "word": text_conditions,
        "number": number_conditions,
        "flag": st.booleans(),
        "members": list_conditions,
    },
)


def holds(row: Mapping[str, Any], name: str, condition: Any) -> bool:
    """Say what a condition means, in the plainest way."""
    value = row[name]
    if not isinstance(condition, Condition):
        return value is not None and value == condition
    if condition.absent is not None:
        return (value is None) is condition.absent
    if value is None:
        return False
    said = condition.model_dump(exclude_none=True)
    checks = {
        "equals": lambda wanted: value == wanted,
        "differs": lambda wanted: value != wanted,
        "any_of": lambda wanted: value in wanted,
        "none_of": lambda wanted: value not in wanted,
        "at_least": lambda wanted: value >= wanted,
        "at_most": lambda wanted: value <= wanted,
        "contains": lambda wanted: wanted in value,
        "lacks": lambda wanted: wanted not in value,
        "empty": lambda wanted: (len(value) == 0) is wanted,
        "column": lambda wanted: value == row[wanted],
    }
    return all(checks[key](wanted) for key, wanted in said.items())


def database(rows: list[dict[str, Any]]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    names = [column.name for column in (*BASE_COLUMNS, *TABLE.columns)]
    connection.execute(f"CREATE TABLE things ({', '.join(names)})")
    for leaf, row in enumerate(rows):
        members = None if row["members"] is None else json.dumps(row["members"])
        values = (leaf, "", 0, "", "s", row["word"], row["other"], row["number"], row["flag"], members)
        connection.execute(f"INSERT INTO things VALUES ({', '.join('?' * len(names))})", values)  # noqa: S608 - ours
    return connection


@settings(max_examples=400, deadline=None)
@given(st.lists(rows_of, max_size=8), conditions)
def test_sql_and_plain_reading_agree(rows, asked):
    found = database(rows).execute(f"SELECT leaf FROM things WHERE {where(TABLE, asked)}").fetchall()  # noqa: S608
    expected = [leaf for leaf, row in enumerate(rows) if all(holds(row, name, each) for name, each in asked.items())]
    assert [leaf for (leaf,) in found] == expected


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_text_is_quoted_whatever_is_in_it(text):
    assert sqlite3.connect(":memory:").execute(f"SELECT {quoted(text)}").fetchone() == (text,)


def test_a_number_that_the_database_would_make_a_fraction_of_is_refused():
    assert quoted(2**63 - 1) == str(2**63 - 1)
    with pytest.raises(ValueError, match="larger than"):
        quoted(2**63)


def test_a_text_with_a_nul_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        quoted("a\0b")


def test_a_system_narrows_a_population_that_has_systems():
    connection = database([{"word": "a", "other": "", "number": 1, "flag": True, "members": []}])
    for system, count in (("s", 1), ("it's", 0), ("", 1)):
        sql = f"SELECT count(*) FROM things WHERE {where(TABLE, {}, system=system)}"  # noqa: S608 - our names
        assert connection.execute(sql).fetchone() == (count,)
