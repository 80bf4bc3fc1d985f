"""Connections to the PostgreSQL that keeps chains: how they are set up, how many, what their failures are called."""

import weakref
from collections.abc import Callable
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool, QueuePool

from audit.errors import AuditStoreError
from audit.store.postgres_url import PostgresAddress

READERS = 4
"""Most connections of one process that read. Writers have one each beside these, so no reader takes it away."""

POOL_SECONDS = 10.0
"""How long a reader waits for one of them."""

STATEMENT_SECONDS = 15
"""Longest statement; one that takes longer is a database that does not work."""

LOCK_SECONDS = 5
"""Longest wait for another session's lock."""

_DURABLE = """
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
"""
"""`remote_apply` waits for more than `on` does; every other value for less than the disks."""

_SESSION = (
    f"SET statement_timeout = '{STATEMENT_SECONDS}s'",
    f"SET lock_timeout = '{LOCK_SECONDS}s'",
    "SET idle_in_transaction_session_timeout = '60s'",
    "SET default_transaction_isolation = 'read committed'",
    "SET client_encoding = 'UTF8'",
    # A gateway that vanished without a word gives its chain back within seconds.
    "SET tcp_keepalives_idle = 5",
    "SET tcp_keepalives_interval = 2",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = '10s'",
    _DURABLE,
)


class Database:
    """One database: an engine with a bounded pool for readers, and one for writers that hold a session each."""

    def __init__(self, address: PostgresAddress) -> None:
        self.address = address
        self.readers = self._engine(
            poolclass=QueuePool, pool_size=READERS, max_overflow=0, pool_timeout=POOL_SECONDS, pool_pre_ping=True
        )
        self.writers = self._engine(poolclass=NullPool)
        # Commands open a store, read, and end.
        self.close = weakref.finalize(self, _dispose, self.readers, self.writers)

    def rows(self, query: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        """Return the rows of one statement that reads.

        Raises:
            AuditStoreError: the database cannot be read.
        """
        try:
            with self.readers.connect() as connection:
                session: Any = connection.connection.driver_connection
                # The binary form halves the time of reading a chain: records need not be read as text.
                rows: list[Any] = session.execute(query, parameters, binary=True).fetchall()
                return rows
        except (SQLAlchemyError, psycopg.Error) as error:
            raise self.failure("cannot be read", error) from error

    def run(self, what: Callable[[Connection], None]) -> None:
        """Do something in one transaction on a connection of its own.

        Raises:
            AuditStoreError: the database failed.
        """
        try:
            with (
                self.writers.connect() as connection,
                connection.execution_options(isolation_level="READ COMMITTED").begin(),
            ):
                what(connection)
        except (SQLAlchemyError, psycopg.Error) as error:
            raise self.failure("cannot be changed", error) from error

    def failure(self, what: str, error: Exception) -> AuditStoreError:
        """Return the error that says what failed, without secrets."""
        if isinstance(error, PoolTimeoutError):
            cause = f"all {READERS} connections for reading are in use for {POOL_SECONDS:g} seconds; try again"
        else:
            cause = " ".join(str(getattr(error, "orig", None) or error).split())
        return AuditStoreError(f"the audit database {self.address.shown} {what}: {self.address.hide(cause)}")

    def _engine(self, **pool: Any) -> Engine:
        parameters = self.address.parameters
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(autocommit=True, **parameters),  # type: ignore[arg-type]  # a plain dict
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            **pool,
        )

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            for statement in _SESSION:
                connection.execute(statement)

        return engine


def _dispose(*engines: Engine) -> None:
    for engine in engines:
        engine.dispose()
