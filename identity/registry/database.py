"""The SQLite file of the inventory: opening it, reading without waiting, and changing it under one generation."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from identity.clock import NANOSECONDS, Clock
from identity.errors import RegistryError
from identity.registry import schema

_BUSY_SECONDS = 10
"""How long a change waits for another process's change."""


class Database:
    """One file, shared by several processes. Reading waits for no writer."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the file, and make it if there is none.

        Raises:
            RegistryError: it cannot be made or opened, is no inventory, or is one of another version.
        """
        self.path = path
        self._clock = clock
        self.engine = _engine(path)
        self._reader = self.engine.execution_options(govgateway_reads_only=True)
        self._file = self._present()
        with self.read() as connection:
            version = self._version(connection)
        if version == 0:
            self._create()
        elif version != schema.SCHEMA_VERSION:
            raise RegistryError(self._other_version(version))

    def now(self) -> int:
        """Return the time in UNIX seconds."""
        return self._clock() // NANOSECONDS

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one moment and changes nothing."""
        with self._transaction(self._reader) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction whose change no snapshot shows: the generation stays."""
        with self._transaction(self.engine) as connection:
            yield connection

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """Open a transaction that raises the generation by one, or changes nothing if it fails."""
        with self._transaction(self.engine) as connection:
            connection.execute(update(schema.generation).values(value=schema.generation.c.value + 1))
            yield connection

    def reopened(self) -> bool:
        """Go on with the file that now has the name; True if it is another than before, a restored backup say.

        Raises:
            RegistryError: there is none.
        """
        present = self._present()
        if present == self._file:
            return False
        self.engine.dispose()
        self._file = present
        return True

    def _present(self) -> tuple[int, int]:
        try:
            status = self.path.stat()
        except OSError as error:
            raise RegistryError(
                f"the inventory {self.path} cannot be used: {error.strerror}; restore it from a backup"
            ) from error
        return status.st_dev, status.st_ino

    def close(self) -> None:
        """Close the file."""
        self.engine.dispose()

    def _create(self) -> None:
        with self.write() as connection:
            if self._version(connection) == schema.SCHEMA_VERSION:
                return  # another process was first
            if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one():
                raise RegistryError(self._other_version(0))
            schema.metadata.create_all(connection, checkfirst=False)
            connection.execute(insert(schema.generation).values(one=1, value=0))
            connection.exec_driver_sql(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")

    @staticmethod
    def _version(connection: Connection) -> int:
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())

    def _other_version(self, version: int) -> str:
        return (
            f"the inventory {self.path} has the schema version {version}, this gateway has {schema.SCHEMA_VERSION} and "
            "does not convert it; use the gateway that wrote it, or move the file away and register the identities "
            "again with: govctl identity apply -f FILE"
        )

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, sqlite3.Error) as error:
            cause = getattr(error, "orig", None) or error
            raise RegistryError(
                f"the inventory {self.path} cannot be used: {cause}; check the file, its owner and the free space"
            ) from error


def current_generation(connection: Connection) -> int:
    """Return the number of changes so far."""
    return int(connection.execute(select(schema.generation.c.value)).scalar_one())


def _engine(path: Path) -> Engine:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its journal the mode of the database, so the database is private before SQLite opens it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise RegistryError(f"the inventory {path} cannot be opened: {error.strerror}") from error
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once: a transaction that reads first and then writes cannot wait for it.
        reads_only = connection.get_execution_options().get("govgateway_reads_only", False)
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine
