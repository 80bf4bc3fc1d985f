"""The SQLite file of oversight in the state directory: opened by every process, private, durable at each commit."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import UnavailableError

FILE_NAME = "oversight.sqlite"
VERSION = 1

_BUSY_SECONDS = 10
_TABLES = """
CREATE TABLE approvals (
    approval_id   TEXT PRIMARY KEY,
    principal     TEXT NOT NULL,
    delegation    TEXT NOT NULL,
    action        TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource      TEXT NOT NULL,
    operation     TEXT NOT NULL,
    system        TEXT NOT NULL,
    digest        TEXT NOT NULL,
    own           TEXT NOT NULL,
    owner         TEXT NOT NULL,
    bytes         INTEGER NOT NULL,
    four_eyes     INTEGER NOT NULL,
    requested_ns  INTEGER NOT NULL,
    expires_ns    INTEGER NOT NULL,
    recorded      INTEGER NOT NULL DEFAULT 0,
    state         TEXT NOT NULL DEFAULT 'pending',
    verdicts      TEXT NOT NULL DEFAULT '[]',
    used_ns       INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX approvals_call ON approvals (principal, digest);
CREATE INDEX approvals_expiry ON approvals (expires_ns);
CREATE TABLE stops (
    system TEXT PRIMARY KEY,
    by     TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ns  INTEGER NOT NULL,
    drill  INTEGER NOT NULL
);
CREATE TABLE generation (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL);
INSERT INTO generation VALUES (1, 0);
"""


class OversightDatabase:
    """One file, shared by several processes and threads. Reading waits for no writer."""

    def __init__(self, state_dir: Path) -> None:
        """Open the file, and make it if there is none.

        Raises:
            UnavailableError: it cannot be opened, or is one of another version.
        """
        self._path = path = state_dir / FILE_NAME
        try:
            # SQLite gives its journal the mode of the database, so the database is private before SQLite opens it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._reader, self._writer = _open(path), _open(path)
        except (OSError, sqlite3.Error) as error:
            raise self._unavailable(error) from error
        self._reading, self._writing = threading.Lock(), threading.Lock()
        with self.write() as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                for statement in filter(str.strip, _TABLES.split(";")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise UnavailableError(
                    f"{path} has version {version}, this gateway knows {VERSION}; use the gateway that wrote it.",
                    code="oversight_unavailable",
                )

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection for a query."""
        with self._reading, self._translated():
            yield self._reader

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection in a transaction that no other writer is in; it is on disk when this returns."""
        with self._writing, self._translated():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        self._writer.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> UnavailableError:
        return UnavailableError(
            f"{self._path}, which holds approvals and stopped systems, cannot be used: {error}.",
            remedy="Check the file, its owner and the free space.",
            code="oversight_unavailable",
        )


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection
