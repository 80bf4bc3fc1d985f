"""What a witness remembers: of each log the latest checkpoint that it cosigned. Checked and changed in one step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from audit.errors import AuditError
from audit.store.settling import settle

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
        self._engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 10})

        @event.listens_for(self._engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # transactions are begun here, and by name
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            settle(path.with_name(f"{path.name}-wal"))
            path.touch(mode=0o600)
            with self._engine.connect() as connection:
                connection.exec_driver_sql(_TABLE)
        except (SQLAlchemyError, OSError) as error:
            raise WitnessStateError(f"{path} cannot be opened: {error}") from error

    def all(self) -> list[Seen]:
        """Return the latest checkpoint of every log."""
        try:
            with self._engine.connect() as connection:
                rows = connection.exec_driver_sql("SELECT origin, size, root, note FROM checkpoints ORDER BY origin")
                return [Seen(*row) for row in rows]
        except SQLAlchemyError as error:
            raise WitnessStateError(f"{self._path} cannot be read: {error}") from error

    def replace(self, old_size: int, new: Seen) -> int | None:
        """Put a checkpoint in the place of one of `old_size` (0: of none); on disk when this returns.

        Returns the size that is there if it is another one; then nothing is changed.

        Raises:
            WitnessStateError: it is not known to be written.
        """
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                try:
                    row = connection.exec_driver_sql(
                        "SELECT size, root FROM checkpoints WHERE origin = ?", (new.origin,)
                    ).one_or_none()
                    size = row[0] if row else 0
                    if size != old_size or (row and size == new.size and row[1] != new.root):
                        connection.exec_driver_sql("ROLLBACK")
                        return int(size)
                    connection.exec_driver_sql(
                        "INSERT INTO checkpoints VALUES (?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET "
                        "size = excluded.size, root = excluded.root, note = excluded.note",
                        (new.origin, new.size, new.root, new.note),
                    )
                    connection.exec_driver_sql("COMMIT")
                except BaseException:
                    connection.invalidate()
                    raise
        except (SQLAlchemyError, OSError) as error:
            raise WitnessStateError(f"{self._path} cannot be written: {error}") from error
        return None

    def latest(self, origin: str) -> Seen | None:
        """Return the latest checkpoint of a log; None if none was cosigned.

        Raises:
            WitnessStateError: the state cannot be read.
        """
        try:
            with self._engine.connect() as connection:
                row = connection.exec_driver_sql(
                    "SELECT origin, size, root, note FROM checkpoints WHERE origin = ?", (origin,)
                ).one_or_none()
        except SQLAlchemyError as error:
            raise WitnessStateError(f"{self._path} cannot be read: {error}") from error
        return Seen(*row) if row else None
