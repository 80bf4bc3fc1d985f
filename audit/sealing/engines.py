"""Opens the databases of sealed content, so that what is deleted is gone from their files."""

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from audit.sealing.errors import SealingUnavailableError
from audit.sealing.tables import metadata

DIRECTORY = "content"
"""Directory of sealed content below that of the log, whose own `*.sqlite` files are chains."""

FILE_NAME = "content.sqlite"

_BUSY_SECONDS = 5.0
_SCRUB_SECONDS = 10.0


def open_sqlite(directory: Path) -> Engine:
    """Open `<directory>/content.sqlite`; it is made if it is new, readable by its owner alone.

    Raises:
        SealingUnavailableError: it cannot be opened.
    """
    path = directory / FILE_NAME
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise SealingUnavailableError(f"{path} cannot be opened: {error.strerror}") from error
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin below, not where the driver thinks best
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return prepare(engine)


def prepare(engine: Engine) -> Engine:
    """Make the tables that are not there yet, on any engine, and return it.

    Raises:
        SealingUnavailableError: the database is away, or refuses.
    """
    try:
        metadata.create_all(engine)
    except SQLAlchemyError as error:
        raise SealingUnavailableError(f"the store of sealed content cannot be opened: {reason(error)}") from error
    return engine


def scrub(engine: Engine) -> None:
    """Remove what was deleted from the database's own files: free pages, and the write-ahead log of SQLite.

    Raises:
        SealingUnavailableError: another process reads at this moment, or the database fails; nothing is lost by
            calling again.
    """
    try:
        if engine.dialect.name == "sqlite":
            _scrub_sqlite(engine)
        else:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for table in ("content_keys", "content_items"):
                    connection.exec_driver_sql(f"VACUUM (FULL) {table}")
    except SQLAlchemyError as error:
        raise SealingUnavailableError(f"the store of sealed content cannot be scrubbed: {reason(error)}") from error


def _scrub_sqlite(engine: Engine) -> None:
    deadline = time.monotonic() + _SCRUB_SECONDS
    raw = engine.raw_connection()  # neither statement may stand in a transaction
    try:
        cursor = raw.cursor()
        while True:
            try:
                cursor.execute("VACUUM")
                (busy, _, _) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                cause = "another process reads it"
            except sqlite3.OperationalError as error:
                busy, cause = 1, str(error)
            if not busy:
                return
            if time.monotonic() > deadline:
                raise SealingUnavailableError(
                    f"the keys are destroyed, but old pages of the store of sealed content are still on disk: {cause}; "
                    f"run the command again"
                )
            time.sleep(0.05)
    finally:
        raw.close()


def reason(error: Exception) -> str:
    """Return what a database said, without the statement and its values."""
    return str(getattr(error, "orig", None) or type(error).__name__)
