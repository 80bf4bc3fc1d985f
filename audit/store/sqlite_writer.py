"""The writer of one chain in SQLite."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from audit.chain import Head, Linked
from audit.errors import AuditStoreError
from audit.store.heads import head_path, read_head, write_head
from audit.store.settling import settle
from audit.store.sqlite_file import reason, wal_kept, writable_engine

_INSERT = "INSERT INTO records (seq, event_id, time_ns, type, hash, record) VALUES "
_ROW = "(?, ?, ?, ?, ?, ?)"

_ROWS_AT_ONCE = (256, 64, 16, 4, 1)
"""Rows in one statement. The driver gives the interpreter away at every statement, and while the event loop is busy it
waits to get it back, so few large statements beat many small ones."""
_STATEMENTS = {size: _INSERT + ", ".join([_ROW] * size) for size in _ROWS_AT_ONCE}


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
            self._engine = writable_engine(directory / f"{chain}.sqlite", self._wal_path)
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
            raise AuditStoreError(f"the log {chain} cannot be written: {reason(error)}") from error
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
            raise AuditStoreError(f"the log {self.chain} cannot be read: {reason(error)}") from error
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
            with wal_kept(self._directory, self.chain):
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
