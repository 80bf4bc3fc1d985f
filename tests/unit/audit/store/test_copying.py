"""A log copied between two stores: the same bytes, and nothing that does not belong there."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from audit.chain import Head, Linked
from audit.errors import AuditBrokenError, AuditStoreError
from audit.store import SqliteStore, copy
from tests.support.store_behaviour import LOG, linked, stored, write


@pytest.fixture
def source(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "source", LOG)


@pytest.fixture
def target(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "target", LOG)


def fill(store: SqliteStore, chain: str = "chain", count: int = 2500) -> list[Linked]:
    writer = store.open_writer(chain)
    records = write(writer, count)
    writer.close()
    return records


def change(store: SqliteStore, statement: str, *parameters: object) -> None:
    with closing(sqlite3.connect(store.directory / "chain.sqlite")) as connection, connection:
        connection.execute(statement, parameters)


def test_a_copy_has_every_chain_as_it_was(source, target):
    wrote = {chain: fill(source, chain) for chain in ("control", "worker-0")}
    told: list[tuple[str, int, int]] = []
    assert copy(source, target, lambda *step: told.append(step)) == 5000
    assert {chain: stored(target, chain) for chain in target.chains()} == wrote
    assert told[-1] == ("worker-0", 2500, 2500)
    with target.reader("control") as reader:
        assert reader.expected_head().sequence == 2499


def test_a_copy_that_was_interrupted_goes_on(source, target):
    records = fill(source)

    def interrupt(_chain: str, done: int, _total: int) -> None:
        if done == 2000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy(source, target, interrupt)
    assert len(stored(target)) == 2000
    assert copy(source, target) == 500
    assert stored(target) == records
    assert copy(source, target) == 0


def test_what_was_written_since_is_added(source, target):
    fill(source)
    copy(source, target)
    fill(source, count=10)
    assert copy(source, target) == 10


def test_what_retention_left_is_copied_under_its_numbers(source, target):
    records = fill(source)
    source.delete_before("chain", 1234)
    assert copy(source, target) == 1266
    assert stored(target) == records[1234:]
    writer = target.open_writer("chain")
    assert writer.head.sequence == 2499
    writer.close()


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE records SET record = replace(record, 'test.event', 'test.other') WHERE seq = 1700",
        "UPDATE records SET hash = lower(hex(zeroblob(32))) WHERE seq = 1700",
        "UPDATE records SET event_id = 'other' WHERE seq = 1700",
        "UPDATE records SET time_ns = time_ns + 1 WHERE seq = 1700",
        "UPDATE records SET type = 'test.other' WHERE seq = 1700",
        "DELETE FROM records WHERE seq = 1700",
        "UPDATE records SET record = x'00' WHERE seq = 1700",
    ],
)
def test_a_source_that_was_changed_is_not_copied_beyond_the_change(source, target, harm: str):
    fill(source)
    change(source, harm)
    with pytest.raises(AuditBrokenError, match=r"record 170[01] of the chain chain"):
        copy(source, target)
    assert len(stored(target)) == 1000


def test_a_record_that_was_made_again_with_its_hash_does_not_continue_its_chain(source, target):
    fill(source)
    [other] = linked(Head(1699, "0" * 64), 1)
    change(source, "UPDATE records SET hash = ?, record = ?, event_id = ?, time_ns = ? WHERE seq = 1700",
           other.hash, other.record, other.event_id, other.time_ns)  # fmt: skip
    with pytest.raises(AuditBrokenError, match="record 1700 of the chain chain does not continue"):
        copy(source, target)


@pytest.mark.parametrize("harm", [
    "UPDATE records SET record = replace(record, 'test.event', 'test.other') WHERE seq = 3",
    "UPDATE records SET event_id = 'other' WHERE seq = 3",
    "DELETE FROM records WHERE seq = 3",
])  # fmt: skip
def test_a_target_that_differs_is_refused(source, target, harm: str):
    fill(source)
    copy(source, target)
    fill(source, count=1)
    change(target, harm)
    with pytest.raises(AuditStoreError, match="in the target is not the source's"):
        copy(source, target)
    with target.reader("chain") as reader:
        assert reader.last(1)[0].sequence == 2499


def test_a_target_that_has_more_is_refused(source, target):
    fill(source, count=5)
    copy(source, target)
    fill(target, count=1)
    with pytest.raises(AuditStoreError, match="in the target is not the source's"):
        copy(source, target)


def test_a_target_with_a_chain_of_its_own_is_refused(source, target):
    fill(source)
    fill(target, "control")
    with pytest.raises(AuditStoreError, match="control"):
        copy(source, target)
    assert target.chains() == ["control"]


def test_a_log_is_not_copied_into_another(source, tmp_path):
    fill(source)
    with pytest.raises(AuditStoreError, match=r"other\.example/audit"):
        copy(source, SqliteStore(tmp_path / "target", "other.example/audit"))


def test_a_chain_that_a_gateway_writes_is_not_copied(source, target):
    fill(source)
    writer = source.open_writer("chain")
    with pytest.raises(AuditStoreError, match="another process"):
        copy(source, target)
    writer.close()
