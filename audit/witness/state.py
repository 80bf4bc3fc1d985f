"""What a witness remembers: of each log the latest checkpoint that it cosigned. Checked and changed in one step.

A process also remembers what it saw in the file: one that is put in its place and knows less is not used.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from audit.errors import AuditError
from audit.store.settling import settle
from audit.tlog.merkle import HASH_BYTES

_TABLE = """
CREATE TABLE IF NOT EXISTS checkpoints (
    origin TEXT PRIMARY KEY,
    size   INTEGER NOT NULL,
    root   BLOB    NOT NULL,
    note   BLOB    NOT NULL
)
"""


class WitnessStateError(AuditError):
    """The state of the witness cannot be read or written; nothing may be cosigned."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The latest checkpoint of a log that was cosigned; `note` has the signatures of the log and of the witness."""

    origin: str
    size: int
    root: bytes
    note: bytes


class WitnessState:
    """A SQLite file; any number of processes may use it."""

    def __init__(self, path: Path) -> None:
        """Open the state; it is made if it is new.

        Raises:
            WitnessStateError: it cannot be opened.
        """
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._settled = False
        self._lock = threading.Lock()
        self._high: dict[str, Seen] = {}
        self._engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 10})

        @event.listens_for(self._engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # transactions are begun here, and by name
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            with self._writing() as connection:
                connection.exec_driver_sql(_TABLE)
        except (SQLAlchemyError, OSError) as error:
            raise WitnessStateError(f"{path} cannot be opened: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that no other process writes beside.

        What a failed commit, of this process or one before, left in the write-ahead log is settled here, under the
        lock: without it, the bytes of another process's newer commit could be written over.
        """
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                if not self._settled:
                    settle(self._log)
                self._settled = False
                yield connection
                connection.exec_driver_sql("COMMIT")
                self._settled = True
            except BaseException:
                connection.invalidate()
                raise

    def all(self) -> list[Seen]:
        """Return the latest checkpoint of every log."""
        try:
            with self._engine.connect() as connection:
                rows = connection.exec_driver_sql("SELECT origin, size, root, note FROM checkpoints ORDER BY origin")
                return [self._seen(row) for row in rows]
        except SQLAlchemyError as error:
            raise WitnessStateError(f"{self._path} cannot be read: {error}") from error

    def replace(self, old_size: int, new: Seen) -> int | None:
        """Put a checkpoint in the place of one of `old_size` (0: of none); on disk when this returns.

        Returns the size that is there if it is another one; then nothing is changed.

        Raises:
            WitnessStateError: it is not known to be written.
        """
        try:
            with self._writing() as connection:
                found = self._read(connection, new.origin)
                size = found.size if found else 0
                if size != old_size or (found and size == new.size and found.root != new.root):
                    return size
                connection.exec_driver_sql(
                    "INSERT INTO checkpoints VALUES (?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET "
                    "size = excluded.size, root = excluded.root, note = excluded.note",
                    (new.origin, new.size, new.root, new.note),
                )
        except (SQLAlchemyError, OSError) as error:
            raise WitnessStateError(f"{self._path} cannot be written: {error}") from error
        self._remember(new)
        return None

    def latest(self, origin: str) -> Seen | None:
        """Return the latest checkpoint of a log; None if none was cosigned.

        Raises:
            WitnessStateError: the state cannot be read, or knows less than before.
        """
        try:
            with self._engine.connect() as connection:
                return self._read(connection, origin)
        except SQLAlchemyError as error:
            raise WitnessStateError(f"{self._path} cannot be read: {error}") from error

    def _read(self, connection: Connection, origin: str) -> Seen | None:
        before = self._high.get(origin)  # taken before the file is read, which may have grown since, but not shrunk
        row = connection.exec_driver_sql(
            "SELECT origin, size, root, note FROM checkpoints WHERE origin = ?", (origin,)
        ).one_or_none()
        seen = self._seen(row) if row else None
        if before and (
            seen is None or seen.size < before.size or (seen.size == before.size != 0 and seen.root != before.root)
        ):
            raise WitnessStateError(
                f"{self._path} forgot what this process saw in it: {before.size} records of {origin} were cosigned, "
                f"now it says {seen.size if seen else 'none'}. It is an older copy: bring the newest back."
            )
        if seen:
            self._remember(seen)
        return seen

    def _remember(self, seen: Seen) -> None:
        with self._lock:
            before = self._high.get(seen.origin)
            if before is None or seen.size >= before.size:
                self._high[seen.origin] = seen

    def _seen(self, row: Row[Any]) -> Seen:
        """SQLite keeps in a column whatever was written there."""
        origin, size, root, note = tuple(row)
        kinds = (isinstance(origin, str), isinstance(size, int), isinstance(root, bytes), isinstance(note, bytes))
        if not all(kinds) or not 0 <= size < 2**63 or len(root) != HASH_BYTES:
            raise WitnessStateError(f"{self._path} is damaged: the row of {origin!r:.300} is no checkpoint")
        return Seen(origin, size, root, note)
