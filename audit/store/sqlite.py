"""Chains in SQLite: one file a chain, one writer a chain, any number of readers.

`synchronous=FULL` with a write-ahead log: a commit that returned is on disk.

Beside each chain lies `<chain>.head`, sequence and hash of a recent end of the chain, noted about once a second. A
chain that comes back shorter than its head, or with another record in that place, is an older or a changed copy and is
refused for writing. This notices a restored or shortened database file; somebody who can write the directory can change
both, which only a witness outside would notice.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from audit.chain import Head, is_chain_name
from audit.errors import AuditStoreError
from audit.store.base import StoredRecord
from audit.store.heads import head_path, read_head
from audit.store.sqlite_file import check_version, file_engine, reason, wal_kept
from audit.store.sqlite_writer import SqliteChainWriter

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

    def open_writer(self, chain: str) -> SqliteChainWriter:
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
        engine = file_engine(self.directory / f"{chain}.sqlite")
        try:
            while at < stop:
                at = min(at + _DELETE_ROWS, stop)
                with wal_kept(self.directory, chain), engine.begin() as connection:
                    deleted += connection.exec_driver_sql("DELETE FROM records WHERE seq < ?", (at,)).rowcount
                time.sleep(_DELETE_PAUSE)
        except (SQLAlchemyError, OSError) as error:
            raise AuditStoreError(f"the log {chain} cannot be written: {reason(error)}") from error
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
            check_version(self._connection, self._path)
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
