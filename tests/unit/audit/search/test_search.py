"""The index finds what records say, follows the chains, and is never believed."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from audit.canonical import canonical
from audit.errors import AuditBrokenError
from audit.search import Query, SearchError, search, stats, with_index
from audit.search.index import DIRECTORY, FILE_NAME
from audit.store import StoredRecord
from tests.support.audit_log import START_NS, STEP_NS, LogWorld, call


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogWorld]:
    with LogWorld(tmp_path / "audit") as world:
        world.write("control", ("gateway.started", {"version": "1"}))
        world.calls("worker-0", 6)
        denied = {**call(1), "decision": "deny", "reasons": ["system-retired", "budget-used"], "problem": "policy"}
        world.write("worker-0", ("access.denied", denied))
        world.write("govctl", ("revocation.set", {"principal": "operator:alex", "cause": "Schlüssel verloren (Zoë)"}))
        yield world


def find(world: LogWorld, **query: object) -> list[StoredRecord]:
    return search(world.directory, world.store, Query(**query))  # type: ignore[arg-type]


def named(**fields: str) -> tuple[tuple[str, str], ...]:
    return tuple(fields.items())


def places(found: list[StoredRecord]) -> list[tuple[str, int]]:
    return [(record.chain, record.sequence) for record in found]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"types": ("access.denied",)}, [("worker-0", 12)]),
        ({"types": ("access.d*", "gateway.*")}, [("control", 0), ("worker-0", 12)]),
        ({"named": named(decision="deny")}, [("worker-0", 12)]),
        ({"named": named(decision="deny", system="elsewhere")}, []),
        ({"named": named(principal="operator:*")}, [("govctl", 0)]),
        ({"named": named(trace_id=f"{5:032x}")}, [("worker-0", 10), ("worker-0", 11)]),
        ({"reason": "budget-used"}, [("worker-0", 12)]),
        ({"reason": "budget*"}, [("worker-0", 12)]),
        ({"reason": "budget"}, []),
        ({"text": "verloren zoe"}, [("govctl", 0)]),
        ({"text": "SCHLÜSSEL"}, [("govctl", 0)]),
        ({"text": "verloren nowhere"}, []),
        ({"text": 'a" OR "b'}, []),
        ({"since": START_NS + 14 * STEP_NS}, [("worker-0", 12), ("govctl", 0)]),
        ({"until": START_NS + 3 * STEP_NS}, [("control", 0), ("worker-0", 0)]),
        ({"since": START_NS + 2 * STEP_NS, "until": START_NS + 3 * STEP_NS}, [("worker-0", 0)]),
        ({"limit": 1}, [("govctl", 0)]),
        ({"named": named(principal="spiffe://example.org/agent/[a]1")}, []),
    ],
)
def test_records_are_found_by_what_they_say(
    log: LogWorld, query: dict[str, object], expected: list[tuple[str, int]]
) -> None:
    assert places(find(log, **query)) == expected


def test_without_conditions_the_newest_come_oldest_first(log: LogWorld) -> None:
    assert places(find(log)) == [("control", 0), *(("worker-0", n) for n in range(13)), ("govctl", 0)]


def test_what_is_new_is_found(log: LogWorld) -> None:
    assert len(find(log, types=("access.intent",))) == 6
    log.calls("worker-1", 2)
    taken: list[int] = []
    found = search(log.directory, log.store, Query(types=("access.intent",)), taken.append)
    assert (len(found), sum(taken)) == (8, 4)


@pytest.mark.parametrize("what", ["not a database", "a table gone", "names exchanged", "rows gone", "another log"])
def test_a_damaged_index_is_made_anew(log: LogWorld, what: str) -> None:
    find(log)
    path = log.directory / DIRECTORY / FILE_NAME
    if what == "not a database":
        path.write_bytes(b"not a database" * 1000)
    else:
        statements = {
            "a table gone": "DROP TABLE hits",
            "names exchanged": "UPDATE names SET text = CASE text WHEN 'deny' THEN 'allow' ELSE 'deny' END "
            "WHERE text IN ('allow', 'deny')",
            "rows gone": "UPDATE hits SET seq = seq + 100",
            "another log": "UPDATE about SET log = 'example.com/other'",
        }
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = 1")
            if what == "names exchanged":
                connection.execute("UPDATE names SET text = 'aside' WHERE text = 'deny'")
                connection.execute("UPDATE names SET text = 'deny' WHERE text = 'allow'")
                connection.execute("UPDATE names SET text = 'allow' WHERE text = 'aside'")
            else:
                connection.execute(statements[what])
            connection.commit()
    assert places(find(log, named=named(decision="deny"))) == [("worker-0", 12)]


def test_the_index_of_a_log_that_was_put_in_its_place_is_made_anew(log: LogWorld, tmp_path: Path) -> None:
    find(log)
    with LogWorld(tmp_path / "other") as other:
        other.calls("control", 3)
        (other.directory / DIRECTORY).mkdir()
        (log.directory / DIRECTORY / FILE_NAME).rename(other.directory / DIRECTORY / FILE_NAME)
        assert len(find(other)) == 6


def test_records_that_retention_deleted_are_not_found(log: LogWorld) -> None:
    find(log)
    log.change("worker-0", "DELETE FROM records WHERE seq < 10")
    assert places(find(log, types=("access.*",))) == [("worker-0", 10), ("worker-0", 11), ("worker-0", 12)]


def test_a_record_that_was_changed_is_not_shown_as_one(log: LogWorld) -> None:
    with log.store.reader("worker-0") as reader:
        record = next(reader.records(12)).record
    changed = canonical(orjson.loads(record) | {"decision": "allow"})
    log.change("worker-0", "UPDATE records SET record = ? WHERE seq = 12", changed)
    with pytest.raises(AuditBrokenError, match="govctl audit verify"):
        find(log, types=("access.denied",))


@pytest.mark.parametrize("query", [Query(limit=0), Query(text="!?"), Query(named=(("seq", "1"),))])
def test_a_query_that_is_none_is_refused(log: LogWorld, query: Query) -> None:
    with pytest.raises(SearchError):
        search(log.directory, log.store, query)


def test_the_index_is_readable_by_its_owner_only(log: LogWorld) -> None:
    find(log)
    assert (log.directory / DIRECTORY / FILE_NAME).stat().st_mode & 0o077 == 0
    assert log.store.chains() == ["control", "govctl", "worker-0"]


def test_the_records_are_counted(log: LogWorld) -> None:
    counted = with_index(log.directory, log.store, stats)
    assert counted.records == 15
    assert counted.types["access.intent"] == 6
    assert counted.decisions == {"allow": 6, "deny": 1}
    assert counted.days == {"2027-01-15": 15}
    assert counted.chains == {"worker-0": 13, "control": 1, "govctl": 1}
    assert sum(counted.principals.values()) == 14
    with log.store.reader("worker-0") as reader:
        assert counted.bytes > sum(len(each.record) for each in reader.records())
