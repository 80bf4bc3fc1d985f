"""What a store of chains can do, whatever keeps them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from audit.chain import Head, Linked


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A row as it is stored; nothing of it is verified."""

    chain: str
    sequence: int
    event_id: str
    time_ns: int
    type: str
    hash: str
    record: bytes


class ChainReader(Protocol):
    """Reads one chain beside its writer. A context manager."""

    chain: str

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def count(self) -> int:
        """Return the number of records."""

    def first(self) -> StoredRecord | None:
        """Return the first record that is kept; None for an empty chain."""

    def records(self, start: int = 0, *, stop: int | None = None, batch: int = 2000) -> Iterator[StoredRecord]:
        """Yield the records from sequence `start` up to, without, `stop`, in order, reading `batch` at once."""

    def last(self, count: int) -> list[StoredRecord]:
        """Return the last `count` records, oldest first."""

    def find(self, event_id: str) -> StoredRecord | None:
        """Return the record with this event id, or None."""

    def expected_head(self) -> Head | None:
        """Return the end of the chain as noted outside of it, or None if none is noted."""


class ChainWriter(Protocol):
    """Appends to one chain, exclusively.

    Attributes:
        chain: name of the chain.
        head: its end.
        last_time_ns: time of its last record (UNIX, nanoseconds); 0 for an empty chain.
    """

    chain: str
    head: Head
    last_time_ns: int

    def append(self, batch: Sequence[Linked]) -> None:
        """Append records in one transaction; they are on disk when this returns.

        Raises:
            AuditStoreError: nothing is known to be written; ask `read_head` what was.
        """

    def read_head(self) -> Head:
        """Read the end of the chain from the store.

        Raises:
            AuditStoreError: it cannot be read.
        """

    def record_head(self) -> None:
        """Note the end of the chain outside of it. Best effort: a failure shows at the next commit."""

    def close(self, *, record_head: bool = True) -> None:
        """Give the chain back."""


class AuditStore(Protocol):
    """Keeps the chains of one log.

    Attributes:
        log: name of the log.
    """

    log: str

    def chains(self) -> list[str]:
        """Return the names of the chains, sorted."""

    def expected_chains(self) -> list[str]:
        """Return the names of the chains that are or were there."""

    def open_writer(self, chain: str) -> ChainWriter:
        """Open a chain for writing; make it if it is new.

        Raises:
            AuditStoreError: another process writes it, it is an older copy, or it cannot be used.
        """

    def reader(self, chain: str) -> ChainReader:
        """Open a chain for reading; its writer may go on.

        Raises:
            AuditStoreError: there is no such chain.
        """

    def find(self, event_id: str) -> StoredRecord | None:
        """Return the record with this event id, or None."""

    def delete_before(self, chain: str, sequence: int) -> int:
        """Delete the records of a chain before a sequence number, beside its writer; return how many.

        For retention, which decides and records it. The last record, and the one that the noted end names, stay.

        Raises:
            AuditStoreError: there is no such chain, or it cannot be changed.
        """
