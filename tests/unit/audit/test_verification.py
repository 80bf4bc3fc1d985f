"""Every way to change a chain from outside is found, by the rule that names it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

import orjson
import pytest

from audit.canonical import canonical
from audit.chain import Head, Linked, link, record_hash
from audit.errors import AuditStoreError
from audit.store import SqliteStore
from audit.verification import ChainReport, verify_store

Write = Callable[[int], list[Linked]]


def change(store: SqliteStore, *statements: tuple[str, tuple[object, ...]]) -> None:
    with closing(sqlite3.connect(store.directory / "chain.sqlite")) as connection, connection:
        for query, parameters in statements:
            connection.execute(query, parameters)


def verify(store: SqliteStore) -> ChainReport:
    (report,) = verify_store(store)
    return report


def rules(store: SqliteStore) -> set[tuple[str, int]]:
    return {(finding.rule, finding.sequence) for finding in verify(store).findings}


def test_an_untouched_chain_is_good(store: SqliteStore, write: Write) -> None:
    written = write(10)
    report = verify(store)
    assert report.ok
    assert (report.records, report.head.sequence, report.head.hash) == (10, 9, written[-1].hash)


def test_a_changed_record_breaks_its_hash(store: SqliteStore, write: Write) -> None:
    record = write(10)[4].record.replace(b'"number":4', b'"number":5')
    change(store, ("UPDATE records SET record = ? WHERE seq = 4", (record,)))
    assert ("hash", 4) in rules(store)


def test_a_changed_record_with_its_hash_made_anew_breaks_the_next_link(store: SqliteStore, write: Write) -> None:
    record = write(10)[4].record.replace(b'"number":4', b'"number":5')
    change(store, ("UPDATE records SET record = ?, hash = ? WHERE seq = 4", (record, record_hash(record))))
    assert rules(store) == {("link", 5)}


@pytest.mark.parametrize("field", ["prev", "event_id", "time", "type", "log", "chain", "seq", "v", "number"])
def test_no_field_of_a_record_can_be_changed(store: SqliteStore, write: Write, field: str) -> None:
    document = orjson.loads(write(10)[4].record)
    old = document[field]
    document[field] = old + 1 if isinstance(old, int) else old[:-1] + ("1" if old[-1] != "1" else "2")
    record = canonical(document)
    change(store, ("UPDATE records SET record = ?, hash = ? WHERE seq = 4", (record, record_hash(record))))
    assert not verify(store).ok


@pytest.mark.parametrize("column", ["event_id", "time_ns", "type", "hash"])
def test_no_column_of_a_row_can_be_changed(store: SqliteStore, write: Write, column: str) -> None:
    write(10)
    change(store, (f"UPDATE records SET {column} = '7' WHERE seq = 4", ()))  # noqa: S608 - names of this test
    assert {rule for rule, _ in rules(store)} & {"column", "hash"}


def test_a_removed_record_leaves_a_gap(store: SqliteStore, write: Write) -> None:
    write(10)
    change(store, ("DELETE FROM records WHERE seq = 4", ()))
    assert rules(store) >= {("sequence", 5), ("link", 5)}


def test_a_removed_record_with_the_rest_moved_up_is_found(store: SqliteStore, write: Write) -> None:
    write(10)
    moved = [("UPDATE records SET seq = ? WHERE seq = ?", (n - 1, n)) for n in range(5, 10)]
    change(store, ("DELETE FROM records WHERE seq = 4", ()), *moved)
    assert rules(store) >= {("link", 4), ("column", 4)}


def test_a_repeated_record_is_found(store: SqliteStore, write: Write) -> None:
    write(10)
    copy = "INSERT INTO records SELECT 10, event_id, time_ns, type, hash, record FROM records WHERE seq = 9"
    change(store, (copy, ()))
    assert rules(store) >= {("duplicate-id", 10), ("link", 10), ("column", 10)}


def test_two_records_that_changed_places_are_found(store: SqliteStore, write: Write) -> None:
    write(10)
    swap = [("UPDATE records SET seq = ? WHERE seq = ?", pair) for pair in ((99, 4), (4, 5), (5, 99))]
    change(store, *swap)
    assert rules(store) >= {("link", 4), ("link", 5)}


def test_the_same_content_in_another_form_is_found(store: SqliteStore, write: Write) -> None:
    record = write(10)[9].record.replace(b'":', b'": ', 1)
    change(store, ("UPDATE records SET record = ?, hash = ? WHERE seq = 9", (record, record_hash(record))))
    assert rules(store) == {("form", 9), ("head", 9)}


def test_a_rewritten_chain_is_found_by_the_head_that_was_noted(store: SqliteStore, write: Write) -> None:
    """Every link and hash fits, and the last record is still not the one that was written."""
    latest = write(10)[-1].time_ns
    changed = link(
        Head(8, hash_of(store, 8)),
        store.log,
        "chain",
        "01a20901-940a-7000-947e-55f897f36847",
        latest,
        "access.denied",
        {},
    )
    change(
        store,
        (
            "UPDATE records SET record = ?, hash = ?, event_id = ?, time_ns = ?, type = ? WHERE seq = 9",
            (changed.record, changed.hash, changed.event_id, changed.time_ns, changed.type),
        ),
    )
    assert rules(store) == {("head", 9)}


def hash_of(store: SqliteStore, sequence: int) -> str:
    with store.reader("chain") as reader:
        return next(record.hash for record in reader.records() if record.sequence == sequence)


@pytest.mark.parametrize("what", ["removed", "garbage"])
def test_a_head_that_was_taken_away_or_spoilt_is_found(store: SqliteStore, write: Write, what: str) -> None:
    write(10)
    head = store.directory / "chain.head"
    head.unlink() if what == "removed" else head.write_text("garbage")
    assert {rule for rule, _ in rules(store)} == {"head"}


def test_a_chain_that_was_taken_away_is_listed_and_found(store: SqliteStore, write: Write) -> None:
    write(10)
    for path in store.directory.glob("chain.sqlite*"):
        path.unlink()
    assert rules(store) == {("unreadable", -1)}


def test_a_record_stored_as_text_counts_by_its_bytes(store: SqliteStore, write: Write) -> None:
    write(10)
    change(store, ("UPDATE records SET record = CAST(record AS TEXT) WHERE seq = 5", ()))
    assert verify(store).ok
    change(store, ("UPDATE records SET record = 7 WHERE seq = 5", ()))
    assert ("hash", 5) in rules(store)


def test_a_chain_cut_at_its_end_is_shorter_than_its_recorded_head(store: SqliteStore, write: Write) -> None:
    write(10)
    change(store, ("DELETE FROM records WHERE seq > 6", ()))
    assert rules(store) == {("shortened", -1)}


def test_a_chain_cut_at_its_end_is_refused_for_writing(store: SqliteStore, write: Write) -> None:
    write(10)
    change(store, ("DELETE FROM records WHERE seq > 6", ()))
    with pytest.raises(AuditStoreError, match="older or a changed copy"):
        store.open_writer("chain")


def test_a_file_that_is_no_database_is_a_finding(store: SqliteStore, write: Write) -> None:
    write(1)
    for leftover in store.directory.glob("chain.sqlite-*"):
        leftover.unlink()
    (store.directory / "chain.sqlite").write_bytes(b"not a database" * 100)
    assert rules(store) == {("unreadable", -1)}
