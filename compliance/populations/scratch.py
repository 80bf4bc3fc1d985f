"""The database while it is filled: it goes on after a kill from a mark that is written with the rows."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from compliance.populations.dataset import Tables
from compliance.populations.passing import Passed

_BESIDE = ("-wal", "-journal", "-shm")

_SETTINGS = ("journal_mode = DELETE", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -65536")
"""A kill of the process loses what was not committed, and no more: the journal takes it back. Rows are only added, so
that there is little in it. After a failure of the machine the file may be damaged; `quick_check` finds that before it
is gone on with."""


class Scratch:
    """Opens the database: as it is whole, as it was interrupted, or anew.

    Attributes:
        whole: it holds everything already; there is no connection then.
        mark: leaves before this one are in the tables.
        kept: what was kept of the calls at the mark.
        connection: the database.
        tables: takes rows.

    Raises:
        sqlite3.Error: it cannot be made.
    """

    def __init__(self, database: Path, key: str) -> None:
        self._database = database
        self.mark = 0
        self.kept: dict[str, Any] = {}
        found = _found(database, key)
        self.whole = found is None
        if self.whole:
            return
        if not found:
            for path in (database, *(database.with_name(database.name + end) for end in _BESIDE)):
                path.unlink(missing_ok=True)
        self.connection = sqlite3.connect(database, isolation_level=None)
        for each in _SETTINGS:
            self.connection.execute(f"PRAGMA {each}")
        self.connection.execute("BEGIN")
        if found:
            self.mark, self.kept = found
        else:
            self._create(key)
        self.tables = Tables(self.connection)

    def _create(self, key: str) -> None:
        for columns in (
            "_state (key TEXT, mark INTEGER, kept TEXT, whole INTEGER)",
            "_passed (deleted INTEGER, first INTEGER, after INTEGER)",
            "_credentials (credential TEXT PRIMARY KEY, lifetime INTEGER, entry TEXT, authority TEXT, parent TEXT)",
        ):
            self.connection.execute(f"CREATE TABLE {columns} STRICT")
        self.connection.execute("INSERT INTO _state VALUES (?, 0, '{}', 0)", (key,))

    def keep(self, mark: int, state: Mapping[str, Any]) -> None:
        """Commit what was taken, with the mark to go on from."""
        self.tables.flush()
        self.connection.execute("UPDATE _state SET mark = ?, kept = ?", (mark, orjson.dumps(state).decode()))
        self.connection.execute("COMMIT")
        self.connection.execute("BEGIN")

    def finish(self, passed: Passed) -> None:
        """Commit everything as whole, in one file."""
        self.tables.flush()
        self.connection.execute("INSERT INTO _passed VALUES (?, ?, ?)", (passed.deleted, *passed.window))
        self.connection.execute("UPDATE _state SET kept = '{}', whole = 1")
        self.connection.execute("COMMIT")

    def close(self) -> None:
        """Close the database; what was not committed is lost."""
        self.connection.close()


def _found(database: Path, key: str) -> tuple[int, dict[str, Any]] | tuple[()] | None:
    """Return the mark of an interrupted extraction and what it kept; nothing to go on from; None for a whole one."""
    if not database.exists():
        return ()
    try:
        connection = sqlite3.connect(database, isolation_level=None)
        try:
            rows = connection.execute("SELECT mark, kept, whole FROM _state WHERE key = ?", (key,)).fetchall()
            if len(rows) != 1:
                return ()
            mark, kept, whole = rows[0]
            if whole:
                return None
            if not mark or connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                return ()
            return int(mark), orjson.loads(kept)
        finally:
            connection.close()
    except (sqlite3.Error, ValueError):
        return ()
