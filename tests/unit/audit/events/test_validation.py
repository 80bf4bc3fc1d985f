"""A record is as its type's definition says, or what is wrong is said in words."""

from typing import Any

import orjson
import pytest

from audit.chain import Head, link
from audit.event_id import uuid7
from audit.events import validate_record

NOW = 1_800_000_000_000_000_000


def written(record_type: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return a record as it is stored."""
    document: dict[str, Any] = orjson.loads(
        link(Head(), "log.test/audit", "worker-0", uuid7(), NOW, record_type, fields).record
    )
    return document


@pytest.fixture
def stopped() -> dict[str, Any]:
    return written("gateway.stopped", {"status": 0})


def test_a_record_as_defined_has_no_problem(stopped: dict[str, Any]) -> None:
    assert validate_record(stopped) == []


def test_a_late_record_says_when_it_happened(stopped: dict[str, Any]) -> None:
    assert validate_record({**stopped, "delayed_from": str(NOW)}) == []
    assert validate_record({**stopped, "delayed_from": NOW})


@pytest.mark.parametrize("field", ["v", "log", "chain", "seq", "prev", "event_id", "time", "status"])
def test_a_missing_field_is_named(stopped: dict[str, Any], field: str) -> None:
    del stopped[field]
    assert validate_record(stopped) == [f"{field}: Field required"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 2),
        ("v", True),
        ("log", "https://log.test/audit"),
        ("log", "a" * 256),
        ("chain", "Worker"),
        ("seq", -1),
        ("seq", 1.0),
        ("prev", "0" * 63),
        ("event_id", "01890000-0000-4000-8000-000000000000"),
        ("time", NOW),
        ("time", "01"),
        ("status", "0"),
        ("status", 0.0),
        ("status", 2**53),
        ("status", None),
        ("delayed_from", None),
        ("unknown", 1),
    ],
)
def test_a_wrong_field_is_named(stopped: dict[str, Any], field: str, value: Any) -> None:
    (problem,) = validate_record({**stopped, field: value})
    assert problem.startswith(f"{field}: ")


@pytest.mark.parametrize("name", ["gateway.unknown", "", None, 1, ["x"]])
def test_an_unknown_type_is_refused(stopped: dict[str, Any], name: Any) -> None:
    (problem,) = validate_record({**stopped, "type": name})
    assert "is not a record type" in problem


def test_a_problem_deep_inside_names_its_place() -> None:
    record = written(
        "opa.status", {"principal": "x", "partition": "", "labels": {}, "bundles": {}, "plugins": {"a": 1}}
    )
    assert validate_record(record) == []
    record["plugins"]["a"] = {"b": [1.5]}
    problems = validate_record(record)
    assert problems
    assert all(problem.startswith("plugins.a") for problem in problems)


def test_what_stands_for_an_unwritable_record_needs_nothing_else() -> None:
    record = written("access.intent", {"unwritable": "float has no canonical form", "delayed_from": str(NOW)})
    assert validate_record(record) == []
    assert validate_record({**record, "other": 1})
