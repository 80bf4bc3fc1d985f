"""Chains in SQLite: one file a chain, one writer a chain, any number of readers.

`synchronous=FULL` with a write-ahead log: a commit that returned is on disk.

Beside each chain lies `<chain>.head`, sequence and hash of a recent end of the chain, noted about once a second. A
chain that comes back shorter than its head, or with another record in that place, is an older or a changed copy and is
refused for writing. This notices a restored or shortened database file; somebody who can write the directory can change
both, which only a witness outside would notice.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from audit.chain import Head, Linked, is_chain_name
from audit.errors import AuditStoreError
from audit.store.base import StoredRecord
from audit.store.heads import head_path, read_head, write_head
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
_INSERT = "INSERT INTO records (seq, event_id, time_ns, type, hash, record) VALUES "
_ROW = "(?, ?, ?, ?, ?, ?)"

_ROWS_AT_ONCE = (256, 64, 16, 4, 1)
"""Rows in one statement. The driver gives the interpreter away at every statement, and while the event loop is busy it
waits to get it back, so few large statements beat many small ones."""
_STATEMENTS = {size: _INSERT + ", ".join([_ROW] * size) for size in _ROWS_AT_ONCE}
_DELETE_ROWS = 500
"""Most records deleted in one transaction: the writer waits that long."""

_DELETE_PAUSE = 0.02
"""Rest between two of these; a waiting writer looks again every few milliseconds (seconds)."""

_COLUMNS = (
    "seq, CAST(event_id AS TEXT), CAST(time_ns AS INTEGER), CAST(type AS TEXT), CAST(hash AS TEXT), "
    "CAST(record AS BLOB)"
)
"""SQLite keeps any kind of value in any column; whoever changed one gets no other than the column's out of it."""


class SqliteStore:
    """A directory of chains: an `AuditStore`.

    Attributes:
        log: name of the log.
        directory: where the files are.
    """

    def __init__(self, directory: Path, log: str) -> None:
        self.directory = directory
        self.log = log

    def chains(self) -> list[str]:
        """Return the names of the chains, sorted."""
        return sorted(path.stem for path in self.directory.glob("*.sqlite"))

    def expected_chains(self) -> list[str]:
        """Return the names of the chains that are or were there: a head or a lock outlives a chain taken away."""
        kinds = ("*.sqlite", "*.head", "*.lock")
        return sorted({path.stem for kind in kinds for path in self.directory.glob(kind)})

    def open_writer(self, chain: str) -> "SqliteChainWriter":
        """Open a chain for writing; make it if it is new.

        Raises:
            AuditStoreError: another process writes it, or it cannot be used.
        """
        if not is_chain_name(chain):
            raise AuditStoreError(f"{chain!r} is not a name of a chain")
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise AuditStoreError(f"{self.directory} cannot be made: {error.strerror}") from error
        return SqliteChainWriter(self.directory, chain)

    def reader(self, chain: str) -> "SqliteChainReader":
        """Open a chain for reading; its writer may go on.

        Raises:
            AuditStoreError: there is no such chain.
        """
        path = self.directory / f"{chain}.sqlite"
        if not path.exists():
            raise AuditStoreError(
                f"{self.directory} has no log {chain!r}; it has: {', '.join(self.chains()) or 'none'}"
            )
        return SqliteChainReader(path, chain, head_path(self.directory, chain))

    def find(self, event_id: str) -> StoredRecord | None:
        """Return the record with this event id, or None."""
        for chain in self.chains():
            with self.reader(chain) as reader:
                found = reader.find(event_id)
            if found is not None:
                return found
        return None

    def delete_before(self, chain: str, sequence: int) -> int:
        """Delete the records of a chain before a sequence number, beside its writer; return how many.

        The last record, and the one that the noted end names, stay.

        Raises:
            AuditStoreError: there is no such chain, or it cannot be changed.
        """
        with self.reader(chain) as reader:
            first, last, noted = reader.first(), reader.last(1), reader.expected_head()
        stop = min(sequence, last[0].sequence if last else 0, noted.sequence if noted else 0)
        at, deleted = first.sequence if first else stop, 0
        engine = _engine(self.directory / f"{chain}.sqlite")
        try:
            while at < stop:
                at = min(at + _DELETE_ROWS, stop)
                with _wal_kept(self.directory, chain), engine.begin() as connection:
                    deleted += connection.exec_driver_sql("DELETE FROM records WHERE seq < ?", (at,)).rowcount
                time.sleep(_DELETE_PAUSE)
        except (SQLAlchemyError, OSError) as error:
            raise AuditStoreError(f"the log {chain} cannot be written: {_reason(error)}") from error
        return deleted


class SqliteChainReader:
    """Reads one chain. A context manager."""

    def __init__(self, path: Path, chain: str, head_path: Path) -> None:
        self.chain = chain
        self._path = path
        self._head_path = head_path
        self._engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true", poolclass=NullPool)
        self._connection: Connection | None = None

    def __enter__(self) -> "SqliteChainReader":
        try:
            self._connection = self._engine.connect()
            _version(self._connection, self._path)
        except AuditStoreError:
            self.__exit__()
            raise
        except SQLAlchemyError as error:
            raise AuditStoreError(f"the log {self.chain} cannot be read: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()

    def count(self) -> int:
        """Return the number of records."""
        return int(self._rows("SELECT count(*) FROM records", ())[0][0])

    def first(self) -> StoredRecord | None:
        """Return the first record that is kept; None for an empty chain."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM records ORDER BY seq LIMIT 1", ())  # noqa: S608
        return StoredRecord(self.chain, *rows[0]) if rows else None

    def records(self, start: int = 0, *, stop: int | None = None, batch: int = 2000) -> Iterator[StoredRecord]:
        """Yield the records from sequence `start` up to, without, `stop`, in order."""
        after = start - 1
        while True:
            rows = self._rows(
                f"SELECT {_COLUMNS} FROM records WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?",  # noqa: S608
                (after, 2**62 if stop is None else stop, batch),
            )
            for row in rows:
                yield StoredRecord(self.chain, *row)
            if len(rows) < batch:
                return
            after = rows[-1][0]

    def last(self, count: int) -> list[StoredRecord]:
        """Return the last `count` records, oldest first."""
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM records ORDER BY seq DESC LIMIT ?",  # noqa: S608
            (count,),
        )
        return [StoredRecord(self.chain, *row) for row in reversed(rows)]

    def find(self, event_id: str) -> StoredRecord | None:
        """Return the record with this event id, or None."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM records WHERE event_id = ?", (event_id,))  # noqa: S608
        return StoredRecord(self.chain, *rows[0]) if rows else None

    def expected_head(self) -> Head | None:
        """Return the recorded head beside the chain, or None if there is none."""
        return read_head(self._head_path)

    def _rows(self, query: str, parameters: tuple[object, ...]) -> Sequence[Any]:
        assert self._connection is not None  # noqa: S101 - a context manager
        try:
            rows = self._connection.exec_driver_sql(query, parameters).all()
            self._connection.rollback()
        except SQLAlchemyError as error:
            raise AuditStoreError(f"the log {self.chain} cannot be read: {error}") from error
        return rows


class SqliteChainWriter:
    """Appends to one chain, exclusively.

    Attributes:
        chain: name of the chain.
        head: its end.
        last_time_ns: time of its last record (UNIX, nanoseconds); 0 for an empty chain.
    """

    def __init__(self, directory: Path, chain: str) -> None:
        self.chain = chain
        self._head_path = head_path(directory, chain)
        self._directory = directory
        self._lock = _lock(directory / f"{chain}.lock", chain)
        self._wal_path = directory / f"{chain}.sqlite-wal"
        try:
            self._engine = _writable(directory / f"{chain}.sqlite", self._wal_path)
        except BaseException:
            os.close(self._lock)
            raise
        self._connection: Connection | None = None
        self.last_time_ns = 0
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
        chain = self.chain
        done = 0
        try:
            connection = self._open()
            for size in _ROWS_AT_ONCE:
                while len(batch) - done >= size:
                    values: list[object] = []
                    for r in batch[done : done + size]:
                        values += (r.sequence, r.event_id, r.time_ns, r.type, r.hash, r.record)
                    connection.exec_driver_sql(_STATEMENTS[size], tuple(values))
                    done += size
            connection.commit()
        except (SQLAlchemyError, OSError) as error:
            self._drop()
            raise AuditStoreError(f"the log {chain} cannot be written: {_reason(error)}") from error
        self.head = Head(batch[-1].sequence, batch[-1].hash)
        self.last_time_ns = batch[-1].time_ns

    def read_head(self) -> Head:
        """Read the end of the chain from disk.

        Raises:
            AuditStoreError: it cannot be read.
        """
        try:
            connection = self._open()
            row = connection.exec_driver_sql(
                "SELECT seq, hash, time_ns FROM records ORDER BY seq DESC LIMIT 1"
            ).one_or_none()
            connection.rollback()
        except (SQLAlchemyError, OSError) as error:
            self._drop()
            raise AuditStoreError(f"the log {self.chain} cannot be read: {_reason(error)}") from error
        self.last_time_ns = row[2] if row else 0
        return Head(row[0], row[1]) if row else Head()

    def record_head(self) -> None:
        """Write `<chain>.head`. Best effort: a failure shows at the next commit."""
        write_head(self._head_path, self.head)

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
                "SELECT hash FROM records WHERE seq = ?", (recorded.sequence,)
            ).one_or_none()
            connection.rollback()
        if row is None or row[0] != recorded.hash:
            raise AuditStoreError(
                f"the log {self.chain} is an older or a changed copy: it ends at record {self.head.sequence}, while "
                f"{self._head_path} knows record {recorded.sequence}. Restore the newest copy; to go on with this one, "
                f"move both files away, keep them as evidence, and let a new chain begin."
            )

    def _open(self) -> Connection:
        if self._connection is None:
            with _wal_kept(self._directory, self.chain):
                settle(self._wal_path)  # whatever made the last connection fail may be in it, and not on disk
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


def _lock(path: Path, chain: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise AuditStoreError(f"the log {chain} cannot be opened: {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise AuditStoreError(
            f"the log {chain} is being written by another process; a chain has one writer. Stop the other gateway."
        ) from None
    return descriptor


@contextmanager
def _wal_kept(directory: Path, chain: str) -> Iterator[None]:
    """Keep who deletes from writing to the log that the writer settles: it writes back what it has just read."""
    descriptor = os.open(directory / f"{chain}.maintenance", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _engine(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": 5, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=4000")

    return engine


def _writable(path: Path, wal: Path) -> Engine:
    engine = _engine(path)
    try:
        with _wal_kept(path.parent, path.stem):
            settle(wal)
        path.touch(mode=0o600)
        with engine.begin() as connection:
            if _version(connection, path) < VERSION:
                connection.exec_driver_sql(_TABLE)
                connection.exec_driver_sql(_INDEX)
                connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
    except (SQLAlchemyError, OSError) as error:
        raise AuditStoreError(f"the log {path} cannot be opened: {_reason(error)}") from error
    return engine


def _version(connection: Connection, path: Path) -> int:
    """Return the version of a file's tables; those of a newer gateway are refused."""
    found = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if found > VERSION:
        raise AuditStoreError(
            f"the tables of {path} have version {found}, this gateway knows {VERSION}: they are a newer gateway's. "
            f"Upgrade this one."
        )
    return found


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error)
