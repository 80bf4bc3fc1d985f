"""SQLite files as a store of chains."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from audit.store import SqliteStore, open_store
from tests.support.store_behaviour import LOG, StoreBehaviour, World, stored, write


class SqliteWorld(World):
    def __init__(self, directory: Path) -> None:
        self.where = str(directory / "audit")
        self.heads = directory / "audit"

    def open(self, log: str = LOG) -> SqliteStore:
        store = open_store(self.where, log)
        assert isinstance(store, SqliteStore)
        return store

    def execute(self, chain: str, statement: str) -> None:
        with closing(sqlite3.connect(self.heads / f"{chain}.sqlite")) as connection, connection:
            connection.execute(statement.format(records="records", where="true"))

    def make_newer(self, chain: str) -> None:
        self.execute(chain, "PRAGMA user_version = 2")


@pytest.fixture
def world(tmp_path: Path) -> SqliteWorld:
    return SqliteWorld(tmp_path)


class TestSqliteStore(StoreBehaviour):
    pass


def test_a_file_from_before_its_version_was_counted_is_taken_as_it_is(world: SqliteWorld):
    writer = world.open().open_writer("chain")
    records = write(writer, 2)
    writer.close()
    world.execute("chain", "PRAGMA user_version = 0")
    assert stored(world.open()) == records
    writer = world.open().open_writer("chain")
    records += write(writer, 1)
    writer.close()
    assert stored(world.open()) == records
    with closing(sqlite3.connect(world.heads / "chain.sqlite")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
