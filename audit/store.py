"""Where chains are kept: one SQLite file a chain, one writer a chain, any number of readers.

The table has the columns that a server database would hold all chains in. `synchronous=FULL` with a write-ahead log: a
commit that returned is on disk.

Beside each chain lies `<log>.head`, sequence and hash of a recent end of the chain, noted about once a second. A chain
that comes back shorter than its head, or with another record in that place, is an older or a changed copy and is
refused for writing. This notices a restored or shortened database file; somebody who can write the directory can change
both, which only a witness outside would notice.
"""

import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from audit.chain import GENESIS, Head, Linked
from audit.errors import AuditStoreError

_LOG_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

_TABLE = """
CREATE TABLE IF NOT EXISTS records (
    log_id   TEXT    NOT NULL,
    seq      INTEGER PRIMARY KEY,
    event_id TEXT    NOT NULL,
    time_ns  INTEGER NOT NULL,
    type     TEXT    NOT NULL,
    hash     TEXT    NOT NULL,
    record   BLOB    NOT NULL
)
"""
_INDEX = "CREATE INDEX IF NOT EXISTS records_event_id ON records (event_id)"
_INSERT = "INSERT INTO records (log_id, seq, event_id, time_ns, type, hash, record) VALUES "
_ROW = "(?, ?, ?, ?, ?, ?, ?)"

_ROWS_AT_ONCE = (256, 64, 16, 4, 1)
"""Rows in one statement. The driver gives the interpreter away at every statement, and while the event loop is busy it
waits to get it back, so few large statements beat many small ones."""
_STATEMENTS = {size: _INSERT + ", ".join([_ROW] * size) for size in _ROWS_AT_ONCE}
_COLUMNS = "seq, event_id, time_ns, type, hash, record"


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A row as it is stored; nothing of it is verified."""

    log_id: str
    sequence: int
    event_id: str
    time_ns: int
    type: str
    hash: str
    record: bytes


class AuditStore:
    """A directory of chains."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def logs(self) -> list[str]:
        """Return the names of the chains, sorted."""
        return sorted(path.stem for path in self.directory.glob("*.sqlite"))

    def expected_logs(self) -> list[str]:
        """Return the names of the chains that are or were there: a head or a lock outlives a chain taken away."""
        kinds = ("*.sqlite", "*.head", "*.lock")
        return sorted({path.stem for kind in kinds for path in self.directory.glob(kind)})

    def open_writer(self, log_id: str) -> "ChainWriter":
        """Open a chain for writing; make it if it is new.

        Raises:
            AuditStoreError: another process writes it, or it cannot be used.
        """
        if not _LOG_ID.fullmatch(log_id):
            raise AuditStoreError(f"{log_id!r} is not a name of a log")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return ChainWriter(self.directory, log_id)

    def reader(self, log_id: str) -> "ChainReader":
        """Open a chain for reading; its writer may go on.

        Raises:
            AuditStoreError: there is no such chain.
        """
        path = self.directory / f"{log_id}.sqlite"
        if not path.exists():
            raise AuditStoreError(f"{self.directory} has no log {log_id!r}; it has: {', '.join(self.logs()) or 'none'}")
        return ChainReader(path, log_id, self.directory / f"{log_id}.head")

    def find(self, event_id: str) -> StoredRecord | None:
        """Return the record with this event id, or None."""
        for log_id in self.logs():
            with self.reader(log_id) as reader:
                found = reader.find(event_id)
            if found is not None:
                return found
        return None


class ChainReader:
    """Reads one chain. A context manager."""

    def __init__(self, path: Path, log_id: str, head_path: Path) -> None:
        self.log_id = log_id
        self._head_path = head_path
        self._engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true", poolclass=NullPool)
        self._connection: Connection | None = None

    def __enter__(self) -> "ChainReader":
        try:
            self._connection = self._engine.connect()
        except SQLAlchemyError as error:
            raise AuditStoreError(f"the log {self.log_id} cannot be read: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()

    def count(self) -> int:
        """Return the number of records."""
        return int(self._rows("SELECT count(*) FROM records WHERE log_id = ?", (self.log_id,))[0][0])

    def records(self, start: int = 0, *, batch: int = 2000) -> Iterator[StoredRecord]:
        """Yield the records from sequence `start`, in order."""
        after = start - 1
        while True:
            rows = self._rows(
                f"SELECT {_COLUMNS} FROM records WHERE log_id = ? AND seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
                (self.log_id, after, batch),
            )
            for row in rows:
                yield StoredRecord(self.log_id, *row)
            if len(rows) < batch:
                return
            after = rows[-1][0]

    def last(self, count: int) -> list[StoredRecord]:
        """Return the last `count` records, oldest first."""
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM records WHERE log_id = ? ORDER BY seq DESC LIMIT ?",  # noqa: S608
            (self.log_id, count),
        )
        return [StoredRecord(self.log_id, *row) for row in reversed(rows)]

    def find(self, event_id: str) -> StoredRecord | None:
        """Return the record with this event id, or None."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM records WHERE event_id = ?", (event_id,))  # noqa: S608
        return StoredRecord(self.log_id, *rows[0]) if rows else None

    def expected_head(self) -> Head | None:
        """Return the recorded head beside the chain, or None if there is none."""
        return read_head(self._head_path)

    def _rows(self, query: str, parameters: tuple[object, ...]) -> Sequence[Any]:
        assert self._connection is not None  # noqa: S101 - a context manager
        try:
            rows = self._connection.exec_driver_sql(query, parameters).all()
            self._connection.rollback()
        except SQLAlchemyError as error:
            raise AuditStoreError(f"the log {self.log_id} cannot be read: {error}") from error
        return rows


class ChainWriter:
    """Appends to one chain, exclusively.

    Attributes:
        log_id: name of the chain.
        head: its end.
    """

    def __init__(self, directory: Path, log_id: str) -> None:
        self.log_id = log_id
        self._head_path = directory / f"{log_id}.head"
        self._lock = _lock(directory / f"{log_id}.lock", log_id)
        self._engine = _writable(directory / f"{log_id}.sqlite")
        self._connection: Connection | None = None
        try:
            self.head = self.read_head()
            self._check_against_recorded_head()
            if not self._head_path.exists():
                self.record_head()  # from the first record on, a missing head means that somebody took it away
        except BaseException:
            self.close(record_head=False)
            raise

    def append(self, batch: Sequence[Linked]) -> None:
        """Append records in one transaction; they are on disk when this returns.

        Raises:
            AuditStoreError: nothing is known to be written; ask `read_head` what was.
        """
        log_id = self.log_id
        done = 0
        try:
            connection = self._open()
            for size in _ROWS_AT_ONCE:
                while len(batch) - done >= size:
                    values: list[object] = []
                    for r in batch[done : done + size]:
                        values += (log_id, r.sequence, r.event_id, r.time_ns, r.type, r.hash, r.record)
                    connection.exec_driver_sql(_STATEMENTS[size], tuple(values))
                    done += size
            connection.commit()
        except (SQLAlchemyError, OSError) as error:
            self._drop()
            raise AuditStoreError(f"the log {log_id} cannot be written: {_reason(error)}") from error
        self.head = Head(batch[-1].sequence, batch[-1].hash)

    def read_head(self) -> Head:
        """Read the end of the chain from disk.

        Raises:
            AuditStoreError: it cannot be read.
        """
        try:
            connection = self._open()
            row = connection.exec_driver_sql(
                "SELECT seq, hash FROM records WHERE log_id = ? ORDER BY seq DESC LIMIT 1", (self.log_id,)
            ).one_or_none()
            connection.rollback()
        except (SQLAlchemyError, OSError) as error:
            self._drop()
            raise AuditStoreError(f"the log {self.log_id} cannot be read: {_reason(error)}") from error
        return Head(row[0], row[1]) if row else Head()

    def record_head(self) -> None:
        """Write `<log>.head`. Best effort: a failure shows at the next commit."""
        temporary = self._head_path.with_suffix(".head.new")
        try:
            temporary.write_text(f"{self.head.sequence} {self.head.hash}\n")
            temporary.replace(self._head_path)
        except OSError:
            return

    def close(self, *, record_head: bool = True) -> None:
        """Give the chain back."""
        if record_head:
            self.record_head()
        self._drop()
        self._engine.dispose()
        os.close(self._lock)

    def _check_against_recorded_head(self) -> None:
        recorded = read_head(self._head_path)
        if recorded is None or recorded.sequence < 0:
            return
        row = None
        if self.head.sequence >= recorded.sequence:
            connection = self._open()
            row = connection.exec_driver_sql(
                "SELECT hash FROM records WHERE log_id = ? AND seq = ?", (self.log_id, recorded.sequence)
            ).one_or_none()
            connection.rollback()
        if row is None or row[0] != recorded.hash:
            raise AuditStoreError(
                f"the log {self.log_id} is an older or a changed copy: it ends at record {self.head.sequence}, while "
                f"{self._head_path} knows record {recorded.sequence}. Restore the newest copy; to go on with this one, "
                f"move both files away, keep them as evidence, and let a new chain begin."
            )

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            try:
                self._connection.invalidate()
                self._connection.close()
            except (SQLAlchemyError, OSError):
                pass
            self._connection = None


def read_head(path: Path) -> Head | None:
    """Read a recorded head; None if there is none. One that cannot be read counts as a changed one."""
    try:
        sequence, digest = path.read_text().split()
        return Head(int(sequence), digest)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return Head(0, GENESIS)


def _lock(path: Path, log_id: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise AuditStoreError(
            f"the log {log_id} is being written by another process; a chain has one writer. Stop the other gateway."
        ) from None
    return descriptor


def _writable(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 5, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=4000")

    try:
        path.touch(mode=0o600)
        with engine.begin() as connection:
            connection.exec_driver_sql(_TABLE)
            connection.exec_driver_sql(_INDEX)
    except (SQLAlchemyError, OSError) as error:
        raise AuditStoreError(f"the log {path} cannot be opened: {_reason(error)}") from error
    return engine


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error)
