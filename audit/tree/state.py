"""What the tree remembers: which record of which chain is which leaf, and how far each chain was taken.

A *run* is a stretch of leaves that are consecutive records of one chain. Runs are only ever added. The state commits
before a checkpoint of its size is signed, so that a size is never signed over two different orders, and it outlives
the chains: a chain that comes back shorter than what was taken from it is an older copy.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool, StaticPool

from audit.chain import Head
from audit.errors import AuditStoreError
from audit.store.settling import settle

FILE_NAME = "state.sqlite"

_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS runs (
        first_index INTEGER PRIMARY KEY,
        chain       TEXT    NOT NULL,
        first_seq   INTEGER NOT NULL,
        count       INTEGER NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS runs_chain ON runs (chain, first_seq)",
    "CREATE TABLE IF NOT EXISTS heads (chain TEXT PRIMARY KEY, seq INTEGER NOT NULL, hash TEXT NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive leaves that are consecutive records of one chain.

    Attributes:
        first_index: index of the first leaf.
        chain: name of the chain.
        first_seq: sequence number of the first record.
        count: how many.
    """

    first_index: int
    chain: str
    first_seq: int
    count: int


class TreeState:
    """The state in `<directory>/state.sqlite`; one process writes it, any number read. A context manager."""

    def __init__(self, directory: Path, *, readonly: bool = False) -> None:
        """Open the state; it is made if it is new.

        Raises:
            AuditStoreError: it cannot be opened; or `readonly`, and there is none yet.
        """
        path = directory / FILE_NAME
        self._name = str(path)
        if readonly and not path.exists():
            raise AuditStoreError(f"{path} is not there: the gateway makes it when it runs for the first time")
        try:
            if not readonly:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(mode=0o600)
            self._engine = _engine(path, readonly=readonly)
            if not readonly:
                with self._engine.begin() as connection:
                    for statement in _TABLES:
                        connection.exec_driver_sql(statement)
        except (SQLAlchemyError, OSError) as error:
            raise AuditStoreError(f"{path} cannot be opened: {_reason(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Number of leaves taken."""
        row = self._rows("SELECT first_index + count FROM runs ORDER BY first_index DESC LIMIT 1")
        return int(row[0][0]) if row else 0

    def heads(self) -> dict[str, Head]:
        """Return how far each chain was taken."""
        return {chain: Head(seq, digest) for chain, seq, digest in self._rows("SELECT chain, seq, hash FROM heads")}

    def head(self, chain: str) -> Head | None:
        """Return how far a chain was taken; None if nothing of it was."""
        rows = self._rows("SELECT seq, hash FROM heads WHERE chain = ?", (chain,))
        return Head(*rows[0]) if rows else None

    def add(self, runs: Sequence[Run], heads: Mapping[str, Head]) -> None:
        """Add runs at the end, and how far their chains are taken then; on disk when this returns.

        Raises:
            AuditStoreError: they do not continue what is there, or cannot be written.
        """
        size, known = self.size, self.heads()
        try:
            with self._engine.begin() as connection:
                for run in runs:
                    taken = known.get(run.chain, Head()).sequence + 1
                    if run.first_index != size or run.first_seq != taken or run.count < 1:
                        raise AuditStoreError(f"{run} does not continue a tree of {size} leaves: another writes it")
                    size += run.count
                    known[run.chain] = Head(run.first_seq + run.count - 1)
                    _add_run(connection, run)
                for chain, head in heads.items():
                    connection.exec_driver_sql(
                        "INSERT INTO heads VALUES (?, ?, ?) "
                        "ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
                        (chain, head.sequence, head.hash),
                    )
        except (SQLAlchemyError, OSError) as error:
            self._engine.dispose()  # the next connection settles what this one left
            raise AuditStoreError(f"{self._name} cannot be written: {_reason(error)}") from error

    def index_of(self, chain: str, sequence: int) -> int | None:
        """Return the leaf of a record; None if it was not taken yet."""
        rows = self._rows(
            "SELECT first_index, first_seq, count FROM runs WHERE chain = ? AND first_seq <= ? "
            "ORDER BY first_seq DESC LIMIT 1",
            (chain, sequence),
        )
        if not rows or sequence >= rows[0][1] + rows[0][2]:
            return None
        return int(rows[0][0] + sequence - rows[0][1])

    def at(self, index: int) -> tuple[str, int]:
        """Return the record (chain, sequence) of a leaf.

        Raises:
            IndexError: the tree has no such leaf.
        """
        for run in self.runs(index, index + 1):
            return run.chain, run.first_seq
        raise IndexError(f"the tree has no leaf {index}")

    def runs(self, start: int = 0, stop: int | None = None) -> Iterator[Run]:
        """Yield the runs of the leaves `start` to `stop`, without `stop`; the first and last are cut to that."""
        end = self.size if stop is None else min(stop, self.size)
        before = self._rows("SELECT max(first_index) FROM runs WHERE first_index <= ?", (start,))[0][0]
        after = -1 if before is None else before - 1
        while start < end:
            rows = self._rows(
                "SELECT first_index, chain, first_seq, count FROM runs WHERE first_index > ? AND first_index < ? "
                "ORDER BY first_index LIMIT 1000",
                (after, end),
            )
            if not rows:
                return
            for first_index, chain, first_seq, count in rows:
                skip = max(start - first_index, 0)
                keep = min(first_index + count, end) - first_index - skip
                if keep > 0:
                    yield Run(first_index + skip, chain, first_seq + skip, keep)
            after = rows[-1][0]

    def heads_at(self, size: int) -> dict[str, int]:
        """Return the last sequence number of each chain among the first `size` leaves."""
        rows = self._rows(
            "SELECT chain, max(first_seq + min(count, ? - first_index) - 1) FROM runs WHERE first_index < ? "
            "GROUP BY chain",
            (size, size),
        )
        return {chain: int(last) for chain, last in rows}

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    def _rows(self, query: str, parameters: tuple[object, ...] = ()) -> Sequence[Any]:
        try:
            with self._engine.connect() as connection:
                return connection.exec_driver_sql(query, parameters).all()
        except SQLAlchemyError as error:
            raise AuditStoreError(f"{self._name} cannot be read: {_reason(error)}") from error


def _add_run(connection: Any, run: Run) -> None:
    """Add a run, or make the last one longer where it continues it."""
    last = connection.exec_driver_sql(
        "SELECT first_index, chain FROM runs ORDER BY first_index DESC LIMIT 1"
    ).one_or_none()
    if last is not None and last[1] == run.chain:
        connection.exec_driver_sql("UPDATE runs SET count = count + ? WHERE first_index = ?", (run.count, last[0]))
    else:
        row = (run.first_index, run.chain, run.first_seq, run.count)
        connection.exec_driver_sql("INSERT INTO runs VALUES (?, ?, ?, ?)", row)


def _engine(path: Path, *, readonly: bool) -> Engine:
    url = f"sqlite:///file:{path}?mode=ro&uri=true" if readonly else f"sqlite:///{path}"
    engine = create_engine(
        url, poolclass=NullPool if readonly else StaticPool, connect_args={"timeout": 5, "check_same_thread": False}
    )

    @event.listens_for(engine, "do_connect")
    def _settle(*_: Any) -> None:
        if not readonly:
            settle(path.with_name(f"{path.name}-wal"))

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        if not readonly:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

    return engine


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error)
