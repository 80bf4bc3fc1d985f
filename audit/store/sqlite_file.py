"""The file of one chain in SQLite: its tables, their version, and how it is opened for writing."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from audit.errors import AuditStoreError
from audit.store.settling import settle

VERSION = 1
"""Version of the tables, as `PRAGMA user_version`; a file of before it was counted has 0 and the same tables."""

_TABLE = """
CREATE TABLE IF NOT EXISTS records (
    seq      INTEGER PRIMARY KEY,
    event_id TEXT    NOT NULL,
    time_ns  INTEGER NOT NULL,
    type     TEXT    NOT NULL,
    hash     TEXT    NOT NULL,
    record   BLOB    NOT NULL
)
"""
_INDEX = "CREATE INDEX IF NOT EXISTS records_event_id ON records (event_id)"


@contextmanager
def wal_kept(directory: Path, chain: str) -> Iterator[None]:
    """Keep who deletes from writing to the log that the writer settles: it writes back what it has just read."""
    descriptor = os.open(directory / f"{chain}.maintenance", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def file_engine(path: Path) -> Engine:
    """Return an engine that writes: what it has committed is on disk."""
    engine = create_engine(
        f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 5, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=4000")

    return engine


def writable_engine(path: Path, wal: Path) -> Engine:
    """Make the file and its tables if they are new, and return an engine that writes.

    Raises:
        AuditStoreError: it cannot be opened, or a newer gateway made it.
    """
    engine = file_engine(path)
    try:
        with wal_kept(path.parent, path.stem):
            settle(wal)
        path.touch(mode=0o600)
        with engine.begin() as connection:
            if check_version(connection, path) < VERSION:
                connection.exec_driver_sql(_TABLE)
                connection.exec_driver_sql(_INDEX)
                connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
    except (SQLAlchemyError, OSError) as error:
        raise AuditStoreError(f"the log {path} cannot be opened: {reason(error)}") from error
    return engine


def check_version(connection: Connection, path: Path) -> int:
    """Return the version of a file's tables; those of a newer gateway are refused.

    Raises:
        AuditStoreError: they are a newer gateway's.
    """
    found = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if found > VERSION:
        raise AuditStoreError(
            f"the tables of {path} have version {found}, this gateway knows {VERSION}: they are a newer gateway's. "
            f"Upgrade this one."
        )
    return found


def reason(error: Exception) -> str:
    """Return what the driver says, without what SQLAlchemy puts around it."""
    return str(getattr(error, "orig", None) or error)
