"""The writer of one chain in PostgreSQL, and what keeps it the only one.

Two things keep a second writer away. A session advisory lock refuses whoever comes while the first one lives. As a
lock ends with its session, and a fail-over ends all of them, the chain's row also names its *holder* and counts
*epochs*: each statement that appends locks that row and writes nothing unless the epoch is still its own. Whoever takes
the chain, or takes it up again after a lost connection, begins a new epoch, and that waits for what an old session has
under way. So when a writer reads the end of its chain anew, nothing sent before can still be written after.
"""

import secrets
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from audit.chain import Head, Linked
from audit.errors import AuditBrokenError, AuditStoreError
from audit.store.database import Database
from audit.store.heads import head_path, read_head, write_head

_APPEND = """
WITH held AS MATERIALIZED (SELECT id FROM audit_chains WHERE id = %s AND epoch = %s FOR SHARE)
INSERT INTO audit_records (chain_id, seq, event_id, time_ns, type, hash, record)
SELECT held.id, new.*
FROM held, unnest(%b::int8[], %b::text[], %b::int8[], %b::text[], %b::text[], %b::bytea[]) AS new
"""
"""One statement, so one transaction and one round trip: all records of a batch, or none."""

_ENSURE = "INSERT INTO audit_chains (log, chain) VALUES (%s, %s) ON CONFLICT (log, chain) DO NOTHING"
_CHAIN = "SELECT id, epoch, holder, noted_seq, noted_hash FROM audit_chains WHERE log = %s AND chain = %s"
_TAKE = (
    "UPDATE audit_chains SET epoch = greatest(%s, %s) + 1, holder = %s WHERE id = %s AND holder = %s RETURNING epoch"
)
_LAST = "SELECT seq, hash, time_ns FROM audit_records WHERE chain_id = %s ORDER BY seq DESC LIMIT 1"
_HASH = "SELECT hash FROM audit_records WHERE chain_id = %s AND seq = %s"
_NOTE = "UPDATE audit_chains SET noted_seq = %s, noted_hash = %s WHERE id = %s AND epoch = %s"
_SESSION = "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END = "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE pid = %s AND backend_start::text = %s"

_PATIENCE_SECONDS = 2.0

_DRIVER_ERRORS = (SQLAlchemyError, psycopg.Error, OSError)


class PostgresChainWriter:
    """Appends to one chain, exclusively.

    Attributes:
        chain: name of the chain.
        head: its end.
        last_time_ns: time of its last record (UNIX, nanoseconds); 0 for an empty chain.
    """

    def __init__(self, database: Database, log: str, chain: str, heads: Path | None) -> None:
        self.chain = chain
        self.head = Head()
        self.last_time_ns = 0
        self._database = database
        self._log = log
        self._head_path = None if heads is None else head_path(heads, chain)
        self._holder = secrets.token_hex(16)
        self._opened = False
        self._durable = Head()
        self._id = self._epoch = 0
        self._session: tuple[Any, ...] | None = None
        self._connection: Connection | None = None
        try:
            self.head = self.read_head()
            self.record_head()  # from the first record on, a missing head means that somebody took it away
        except BaseException:
            self.close(record_head=False)
            raise

    def append(self, batch: Sequence[Linked]) -> None:
        """Append records in one transaction; they are on disk when this returns.

        Raises:
            AuditStoreError: nothing is known to be written; ask `read_head` what was.
        """
        if batch[0].sequence != self._durable.sequence + 1 and self._durable.sequence >= 0:
            raise AuditStoreError(
                f"record {batch[0].sequence} does not follow record {self._durable.sequence} of the log {self.chain}: "
                f"its end has to be read first"
            )
        try:
            connection = self._open()
            written = connection.exec_driver_sql(
                _APPEND,
                (
                    self._id,
                    self._epoch,
                    [r.sequence for r in batch],
                    [r.event_id for r in batch],
                    [r.time_ns for r in batch],
                    [r.type for r in batch],
                    [r.hash for r in batch],
                    [r.record for r in batch],
                ),
            ).rowcount
        except _DRIVER_ERRORS as error:
            self._drop()
            raise self._database.failure(f"does not take records of the log {self.chain}", error) from error
        if written != len(batch):
            self._drop()
            raise self._taken()
        self.head = self._durable = Head(batch[-1].sequence, batch[-1].hash)
        self.last_time_ns = batch[-1].time_ns

    def read_head(self) -> Head:
        """Read the end of the chain from the database.

        Raises:
            AuditBrokenError: what was written is not there: an older copy, as after a fail-over to a replica that had
                not everything.
            AuditStoreError: it cannot be read, or another process has taken the chain.
        """
        try:
            connection = self._open()
            head, last_time_ns = self._end(connection)
            self._check_has(connection, head, self._durable, "this gateway wrote")
        except _DRIVER_ERRORS as error:
            self._drop()
            raise self._database.failure(f"does not tell the end of the log {self.chain}", error) from error
        self.last_time_ns = last_time_ns
        self._durable = head
        return head

    def record_head(self) -> None:
        """Note the end in the chain's row and in the local file. Best effort."""
        if self._head_path is not None:
            write_head(self._head_path, self._durable)
        if self._connection is None:
            return
        try:
            self._connection.exec_driver_sql(_NOTE, (self._durable.sequence, self._durable.hash, self._id, self._epoch))
        except _DRIVER_ERRORS:
            self._drop()

    def close(self, *, record_head: bool = True) -> None:
        """Give the chain back."""
        if record_head:
            self.record_head()
        self._drop()

    def _open(self) -> Connection:
        """Return the connection that holds the chain; take the chain (again) if there is none."""
        if self._connection is None:
            connection = self._database.writers.connect()
            try:
                self._check_server(connection)
                self._take(connection)
            except BaseException:
                connection.invalidate()
                connection.close()
                raise
            self._connection = connection
            self._opened = True
        return self._connection

    def _take(self, connection: Connection) -> None:
        self._id, epoch, holder, *noted = self._row(connection)
        # An older copy of the database may know an earlier holder, while nobody came after this one.
        if self._opened and holder != self._holder and epoch >= self._epoch:
            raise self._taken()
        if not self._locked(connection, _PATIENCE_SECONDS):
            if not self._opened:
                raise AuditStoreError(
                    f"the log {self.chain} is being written by another process; a chain has one writer. "
                    f"Stop the other gateway, or give this one an audit.origin of its own."
                )
            # The session that was lost may live on in a server that did not notice.
            connection.exec_driver_sql(_END, self._session or (0, ""))
            if not self._locked(connection, _PATIENCE_SECONDS):
                raise self._taken()
        self._check_copy(connection, Head(*noted))
        # This commit waits for the synchronous standbys, so whatever is read after it is on them too.
        taken = connection.exec_driver_sql(_TAKE, (epoch, self._epoch, self._holder, self._id, holder)).one_or_none()
        if taken is None:
            raise self._taken()
        self._epoch = taken[0]
        self._session = tuple(connection.exec_driver_sql(_SESSION).one())

    def _row(self, connection: Connection) -> Any:
        row = connection.exec_driver_sql(_CHAIN, (self._log, self.chain)).one_or_none()
        if row is None:
            if self._opened:
                raise AuditBrokenError(
                    f"the log {self.chain} is gone from {self._database.address.shown}: this is an older copy of the "
                    f"database, or another one. Bring the newest one back; nothing is written until then."
                )
            connection.exec_driver_sql(_ENSURE, (self._log, self.chain))
            row = connection.exec_driver_sql(_CHAIN, (self._log, self.chain)).one()
        return row

    def _locked(self, connection: Connection, patience: float) -> bool:
        """Take the chain's lock; a session that has just ended gives it back in a moment."""
        schema = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
        name = sha256("\0".join(("govgateway audit chain", str(schema), self._log, self.chain)).encode()).digest()
        key = int.from_bytes(name[:8], "big", signed=True)
        deadline = time.monotonic() + patience
        while not connection.exec_driver_sql("SELECT pg_try_advisory_lock(%s)", (key,)).scalar_one():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _check_server(self, connection: Connection) -> None:
        """Refuse a server that acknowledges what is not on its disk."""
        if connection.exec_driver_sql("SHOW fsync").scalar_one() != "on":
            raise AuditStoreError(
                f"{self._database.address.shown} runs with fsync=off: what it acknowledges may be lost with the power. "
                f"Set fsync=on."
            )

    def _check_copy(self, connection: Connection, noted: Head) -> None:
        """Check that the chain has what was written and noted."""
        head = self._end(connection)[0]
        self._check_has(connection, head, self._durable, "this gateway wrote")
        if not self._opened:
            self._check_has(connection, head, noted, "its row in the table audit_chains knows")
            local = None if self._head_path is None else read_head(self._head_path)
            if local is not None:
                self._check_has(connection, head, local, f"{self._head_path} knows")

    def _end(self, connection: Connection) -> tuple[Head, int]:
        row = connection.exec_driver_sql(_LAST, (self._id,)).one_or_none()
        return (Head(row[0], row[1]), row[2]) if row else (Head(), 0)

    def _check_has(self, connection: Connection, head: Head, expected: Head, who: str) -> None:
        if expected.sequence < 0:
            return
        found = None
        if head.sequence == expected.sequence:
            found = head.hash
        elif head.sequence > expected.sequence:
            found = connection.exec_driver_sql(_HASH, (self._id, expected.sequence)).scalar_one_or_none()
        if found != expected.hash:
            raise AuditBrokenError(
                f"the log {self.chain} in {self._database.address.shown} is an older or a changed copy: it ends at "
                f"record {head.sequence}, and what {who} as record {expected.sequence} is not in it. Bring the newest "
                f"copy of the database back; nothing is written until then."
            )

    def _taken(self) -> AuditStoreError:
        return AuditStoreError(
            f"another process has taken the log {self.chain} in {self._database.address.shown}; a chain has one "
            f"writer. Stop the other gateway and restart this one."
        )

    def _drop(self) -> None:
        if self._connection is not None:
            try:
                self._connection.invalidate()
                self._connection.close()
            except _DRIVER_ERRORS:
                pass
            self._connection = None
