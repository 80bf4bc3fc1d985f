"""A chain has one writer, and goes on only where it ended: second writers and old copies are refused before they append."""

import shutil
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from audit.chain import link
from audit.errors import AuditStoreError
from audit.event_id import uuid7
from audit.store import SqliteStore
from audit.verification import verify_store
from tests.support.fault_injection import Nursery, Said, assert_kept, ids_of
from tests.support.fault_injection_writer import CHAIN, LOG


def rules(directory: Path) -> set[str]:
    return {each.rule for report in verify_store(SqliteStore(directory, LOG), processes=1) for each in report.findings}


def keep(directory: Path, to: Path) -> None:
    """Copy the database of the chain, as a backup or a snapshot of the disk does."""
    to.mkdir()
    for path in directory.glob("chain.sqlite*"):
        shutil.copy2(path, to)


def put_back(backup: Path, directory: Path) -> None:
    for path in directory.glob("chain.sqlite*"):
        path.unlink()
    for path in backup.iterdir():
        shutil.copy2(path, directory)


def content(directory: Path) -> dict[str, bytes]:
    """Return the bytes of the database and what SQLite keeps beside it, but its shared memory."""
    return {path.name: path.read_bytes() for path in directory.glob("chain.sqlite*") if not path.name.endswith("-shm")}


def test_of_processes_that_open_one_chain_at_once_one_writes_and_the_others_are_refused(tmp_path: Path) -> None:
    said: list[Said] = []
    barrier = threading.Barrier(4)

    def write(nursery: Nursery, number: int) -> None:
        directory = tmp_path / f"of-{number}" / "log"
        barrier.wait()
        said.append(nursery.run(directory, calls=10**9, seconds=1.5))

    shared = tmp_path / "shared"
    shared.mkdir()
    with ExitStack() as stack:
        threads = []
        for number in range(4):
            # Each says what it does in a place of its own; the log is the same.
            (tmp_path / f"of-{number}").mkdir()
            (tmp_path / f"of-{number}" / "log").symlink_to(shared)
            nursery = stack.enter_context(Nursery())
            threads.append(threading.Thread(target=write, args=(nursery, number)))
            threads[-1].start()
        for thread in threads:
            thread.join(60)
    writers = [each for each in said if each.opened]
    assert len(said) == 4
    assert len(writers) == 1
    assert all("written by another process" in each.failed and not each.durable for each in said if not each.opened)
    assert len(writers[0].durable) > 10
    assert_kept(shared, writers[0].durable)


def test_the_chain_is_given_back_by_a_writer_that_is_killed(tmp_path: Path) -> None:
    with Nursery() as nursery:
        nursery.run(tmp_path / "log", calls=10**9, kill_after=0.1)
        assert nursery.run(tmp_path / "log", calls=5).opened


@pytest.mark.parametrize("later", [1, 40])
def test_an_older_copy_of_the_database_is_refused_before_anything_is_appended(tmp_path: Path, later: int) -> None:
    log, backup = tmp_path / "log", tmp_path / "backup"
    with Nursery() as nursery:
        nursery.run(log, calls=30)
        keep(log, backup)
        nursery.run(log, calls=later, callers=1)
        put_back(backup, log)
        before = content(log)
        back = nursery.run(log, calls=5)
    assert not back.opened
    assert "an older or a changed copy" in back.failed
    assert "keep them as evidence" in back.failed
    assert (back.durable, content(log)) == ([], before)
    assert rules(log) == {"shortened"}


def test_a_copy_taken_while_the_writer_ran_is_refused_once_the_chain_went_on(tmp_path: Path) -> None:
    log, backup = tmp_path / "log", tmp_path / "backup"
    with Nursery() as nursery:
        nursery.run(log, calls=10**9, kill_after=0.3)
        keep(log, backup)
        told = nursery.run(log, calls=30).durable
        put_back(backup, log)
        assert "an older or a changed copy" in nursery.run(log, calls=5).failed
        assert not set(told) & set(ids_of(log))


def test_a_write_ahead_log_that_was_taken_away_is_missed(tmp_path: Path) -> None:
    """Recent records are in it alone; the end of the chain, which a running writer notes each second, knows of them."""
    running, left = tmp_path / "running", tmp_path / "left"
    writer = SqliteStore(running, LOG).open_writer(CHAIN)
    for number in range(5):
        writer.append([link(writer.head, LOG, CHAIN, uuid7(), time.time_ns(), "test.event", {"number": number})])
    writer.record_head()
    shutil.copytree(running, left, ignore=shutil.ignore_patterns("*-wal", "*-shm"))
    writer.close()
    with pytest.raises(AuditStoreError, match="an older or a changed copy"):
        SqliteStore(left, LOG).open_writer(CHAIN)
    assert rules(left) == {"shortened"}


def test_another_chain_under_the_name_is_refused(tmp_path: Path) -> None:
    log, other, backup = tmp_path / "log", tmp_path / "other", tmp_path / "backup"
    with Nursery() as nursery:
        nursery.run(log, calls=20)
        nursery.run(other, calls=60)
        keep(other, backup)
        put_back(backup, log)
        before = content(log)
        back = nursery.run(log, calls=5)
    assert "an older or a changed copy" in back.failed
    assert content(log) == before
    assert rules(log) == {"head"}


def test_the_newest_copy_goes_on(tmp_path: Path) -> None:
    log, backup = tmp_path / "log", tmp_path / "backup"
    with Nursery() as nursery:
        first = nursery.run(log, calls=20)
        keep(log, backup)
        put_back(backup, log)
        second = nursery.run(log, calls=20)
    assert_kept(log, [*first.durable, *second.durable])


def test_a_second_writer_in_the_same_process_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, LOG)
    writer = store.open_writer(CHAIN)
    for _ in range(2):
        with pytest.raises(AuditStoreError, match="another process"):
            store.open_writer(CHAIN)
    writer.close()
    store.open_writer(CHAIN).close()


def test_a_chain_that_could_not_be_opened_is_free_for_the_next_try(tmp_path: Path) -> None:
    (tmp_path / "chain.sqlite").write_bytes(b"no database" * 500)
    store = SqliteStore(tmp_path, LOG)
    for _ in range(2):
        with pytest.raises(AuditStoreError, match="not a database"):
            store.open_writer(CHAIN)
    (tmp_path / "chain.sqlite").unlink()
    store.open_writer(CHAIN).close()
