"""Chains in PostgreSQL: many logs and chains in two tables, one writer a chain, any number of readers.

`synchronous_commit` is on in every session: a commit that returned is on the server's disk, and on those of its
synchronous standbys.

The end of each chain is noted about once a second in the chain's row and in `<chain>.head` in a directory beside the
gateway: the row tells of records deleted behind the gateway's back, the file of a database that is an older copy.
"""

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from audit.chain import Head, is_chain_name
from audit.errors import AuditStoreError
from audit.store.base import StoredRecord
from audit.store.database import Database
from audit.store.heads import head_path, read_head
from audit.store.migrations import CURRENT, check_known, migrate, version
from audit.store.postgres_url import parse_url
from audit.store.postgres_writer import PostgresChainWriter

_COLUMNS = "seq, event_id, time_ns, type, hash, record"

_DELETE = "DELETE FROM audit_records WHERE chain_id = %s AND seq < %s"

_DELETE_ROWS = 2000
"""Most records deleted in one transaction."""

_DELETE_PAUSE = 0.01
"""Rest between two of these, so that writers are not held up (seconds)."""


class PostgresStore:
    """The chains of one log in a database: an `AuditStore`.

    Attributes:
        log: name of the log.
        shown: the database, without its password.
    """

    def __init__(self, url: str, log: str, *, heads: Path | None = None) -> None:
        """Name a database; it is reached when it is first used.

        Args:
            url: libpq's URL, `postgresql://user@host/database`.
            log: name of the log.
            heads: directory for the noted ends of the chains that this machine writes; without one an older copy of
                the database is noticed only by a writer that runs.

        Raises:
            AuditStoreError: the URL cannot be used.
        """
        self.log = log
        self._url = url
        self._heads = heads
        self._database = Database(parse_url(url))
        self.shown = self._database.address.shown
        self._current = False
        self._migrating = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        """Let another process of ours open the same store; nothing of it is shared."""
        return (partial(PostgresStore, heads=self._heads), (self._url, self.log))

    def chains(self) -> list[str]:
        """Return the names of the chains, sorted."""
        if not self._has_tables():
            return []
        rows = self._database.rows("SELECT chain FROM audit_chains WHERE log = %s", (self.log,))
        return sorted(row[0] for row in rows)

    def expected_chains(self) -> list[str]:
        """Return the names of the chains that are or were there: a head outlives a chain taken away."""
        noted = [] if self._heads is None else [path.stem for path in self._heads.glob("*.head")]
        return sorted({*self.chains(), *noted})

    def open_writer(self, chain: str) -> PostgresChainWriter:
        """Open a chain for writing; make it, and the tables, if they are new.

        Raises:
            AuditStoreError: another process writes it, it is an older copy, or it cannot be used.
        """
        if not is_chain_name(chain):
            raise AuditStoreError(f"{chain!r} is not a name of a chain")
        if self._heads is not None:
            try:
                self._heads.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise AuditStoreError(f"{self._heads} cannot be made: {error}") from error
        self.migrate()
        return PostgresChainWriter(self._database, self.log, chain, self._heads)

    def reader(self, chain: str) -> "PostgresChainReader":
        """Open a chain for reading; its writer may go on.

        Raises:
            AuditStoreError: there is no such chain.
        """
        return PostgresChainReader(
            self._database, chain, self._chain_id(chain), None if self._heads is None else head_path(self._heads, chain)
        )

    def find(self, event_id: str) -> StoredRecord | None:
        """Return the record with this event id, or None."""
        if not self._has_tables():
            return None
        rows = self._database.rows(
            "SELECT chain, seq, event_id, time_ns, type, hash, record FROM audit_records "
            "JOIN audit_chains ON id = chain_id WHERE event_id = %s AND log = %s ORDER BY chain LIMIT 1",
            (event_id, self.log),
        )
        return StoredRecord(*rows[0]) if rows else None

    def delete_before(self, chain: str, sequence: int) -> int:
        """Delete the records of a chain before a sequence number, beside its writer; return how many.

        The last record, and whatever the noted end names, stays.

        Raises:
            AuditStoreError: there is no such chain, or it cannot be changed; what was deleted is.
        """
        with self.reader(chain) as reader:
            first, last, noted = reader.first(), reader.last(1), reader.noted()
            stop = min([sequence, *(head.sequence for head in noted), *(record.sequence for record in last)])
        at, deleted = first.sequence if first else stop, 0
        try:
            with self._database.writers.connect() as connection:
                while at < stop:
                    at = min(at + _DELETE_ROWS, stop)
                    deleted += connection.exec_driver_sql(_DELETE, (reader.chain_id, at)).rowcount
                    time.sleep(_DELETE_PAUSE)
        except (SQLAlchemyError, psycopg.Error) as error:
            raise self._database.failure(f"does not delete records of the log {chain}", error) from error
        return deleted

    def migrate(self) -> tuple[str | None, str]:
        """Bring the tables to this code's version; return the version before and after.

        Raises:
            AuditStoreError: they are newer than this code, or the role may not change them.
        """
        with self._migrating:
            if self._current:
                return CURRENT, CURRENT
            versions = migrate(self._database)
            self._current = True
        return versions

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._database.close()

    def _has_tables(self) -> bool:
        """Whether there are tables to read; those of a newer gateway are refused."""
        if not self._current:
            found = version(self._database)
            check_known(self._database, found)
            self._current = found == CURRENT
            if found is not None and not self._current:
                raise AuditStoreError(f"the tables of {self.shown} are an older gateway's: run govctl audit migrate")
        return self._current

    def _chain_id(self, chain: str) -> int:
        rows = []
        if self._has_tables():
            rows = self._database.rows("SELECT id FROM audit_chains WHERE log = %s AND chain = %s", (self.log, chain))
        if not rows:
            raise AuditStoreError(f"{self.shown} has no log {chain!r}; it has: {', '.join(self.chains()) or 'none'}")
        return int(rows[0][0])


class PostgresChainReader:
    """Reads one chain. A context manager."""

    def __init__(self, database: Database, chain: str, chain_id: int, head_file: Path | None) -> None:
        self.chain = chain
        self._database = database
        self.chain_id = chain_id
        self._head_file = head_file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held between two statements."""

    def count(self) -> int:
        """Return the number of records."""
        rows = self._database.rows("SELECT count(*) FROM audit_records WHERE chain_id = %s", (self.chain_id,))
        return int(rows[0][0])

    def first(self) -> StoredRecord | None:
        """Return the first record that is kept; None for an empty chain."""
        return next(iter(self._records("", "ORDER BY seq LIMIT 1")), None)

    def records(self, start: int = 0, *, stop: int | None = None, batch: int = 2000) -> Iterator[StoredRecord]:
        """Yield the records from sequence `start` up to, without, `stop`, in order."""
        end = 2**62 if stop is None else stop
        while start < end:
            # A range bounded on both sides is read through the index whatever the planner knows of the table.
            until = min(start + batch, end)
            rows = self._records("AND seq >= %s AND seq < %s", "ORDER BY seq", start, until)
            yield from rows
            start = until
            if len(rows) < batch:
                following = self._records("AND seq >= %s AND seq < %s", "ORDER BY seq LIMIT 1", start, end)
                if not following:
                    return
                start = following[0].sequence

    def last(self, count: int) -> list[StoredRecord]:
        """Return the last `count` records, oldest first."""
        return self._records("", "ORDER BY seq DESC LIMIT %s", count)[::-1]

    def find(self, event_id: str) -> StoredRecord | None:
        """Return the record with this event id, or None."""
        return next(iter(self._records("AND event_id = %s", "ORDER BY seq LIMIT 1", event_id)), None)

    def expected_head(self) -> Head | None:
        """Return the furthest end that is noted, in the chain's row or in the local file; None if there is none."""
        return max(self.noted(), key=lambda head: head.sequence, default=None)

    def noted(self) -> list[Head]:
        """Return the noted ends of the chain."""
        rows = self._database.rows("SELECT noted_seq, noted_hash FROM audit_chains WHERE id = %s", (self.chain_id,))
        heads = [Head(*row) for row in rows if row[1]]
        local = None if self._head_file is None else read_head(self._head_file)
        return heads if local is None else [*heads, local]

    def _records(self, condition: str, order: str, *parameters: object) -> list[StoredRecord]:
        query = f"SELECT {_COLUMNS} FROM audit_records WHERE chain_id = %s {condition} {order}"  # noqa: S608 - constants
        return [StoredRecord(self.chain, *row) for row in self._database.rows(query, (self.chain_id, *parameters))]
