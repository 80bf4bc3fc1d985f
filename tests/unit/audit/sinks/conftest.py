"""A log to copy, and a receiver that does as a test says."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from audit.chain import link
from audit.event_id import uuid7
from audit.sinks import CursorFile, Follower, Following, SinkEvent
from audit.sinks.dead_letters import DeadLetters
from audit.store import SqliteStore, StoredRecord

START_NS = 1_800_000_000_000_000_000

Behaviour = Callable[[Sequence[StoredRecord]], None]


@dataclass
class Receiver:
    """A sink in memory.

    Attributes:
        taken: what it took, in order, repetitions included.
        behave: called before a batch is taken; raises what the receiver would.
        batches: sizes of the batches offered.
    """

    taken: list[StoredRecord] = field(default_factory=list)
    behave: Behaviour = lambda _batch: None
    batches: list[int] = field(default_factory=list)
    closed: int = 0

    def send(self, batch: Sequence[StoredRecord]) -> None:
        self.batches.append(len(batch))
        self.behave(batch)
        self.taken += batch

    def close(self) -> None:
        self.closed += 1

    def sequences(self, chain: str = "worker-0") -> list[int]:
        return [record.sequence for record in self.taken if record.chain == chain]


@dataclass
class Desk:
    """Everything around one sink.

    Attributes:
        events: what was reported.
        now: seconds of the clock that waits are measured by.
    """

    store: SqliteStore
    directory: Path
    receiver: Receiver = field(default_factory=Receiver)
    events: list[SinkEvent] = field(default_factory=list)
    report_error: Exception | None = None
    now: float = 0.0
    open: list[CursorFile] = field(default_factory=list)

    def report(self, event: SinkEvent) -> None:
        if self.report_error is not None:
            raise self.report_error
        self.events.append(event)

    def follower(self, following: Following | None = None, *, divert: bool = False) -> Follower:
        """Return what feeds the receiver, as after a start of the process."""
        while self.open:
            self.open.pop().close()
        cursor = CursorFile(self.directory, "siem")
        self.open.append(cursor)
        return Follower(
            "siem", self.store, self.receiver, cursor, self.report,
            clock=lambda: START_NS + 60_000_000_000, following=following or Following(batch_records=10),
            dead_letters=DeadLetters(self.directory, "siem", lambda: START_NS) if divert else None,
            monotonic=lambda: self.now,
        )  # fmt: skip

    def write(self, count: int, chain: str = "worker-0", record_type: str = "test.event") -> None:
        """Add records to a chain."""
        writer = self.store.open_writer(chain)
        for _ in range(count):
            head = writer.head
            time_ns = START_NS + head.sequence + 1
            writer.append([link(head, self.store.log, chain, uuid7(), time_ns, record_type, {"principal": "somebody"})])
        writer.close()


@pytest.fixture
def desk(store: SqliteStore, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(store, tmp_path / "sinks")
    yield made
    for cursor in made.open:
        cursor.close()


def drain(follower: Follower, attempts: int = 100) -> None:
    """Let it work until nothing is left, or it fails."""
    for _ in range(attempts):
        if follower.attempt() > 0:
            return
