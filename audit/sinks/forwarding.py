"""Moves records from the chains to a sink and the cursor after them. No threads, no waiting.

A record counts as sent when the sink has it; then the cursor is put on disk. What cannot be sent never passes in
silence: records that retention deleted first, records that the receiver refuses, a cursor that was lost. Each is
reported, and only when the report is durable does the cursor go on.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import orjson

from audit.sinks.base import RecordsDiverted, RecordsMissed, Report, Sink, SinkEvent, SinkRestarted
from audit.sinks.cursor import CursorFile, Place
from audit.sinks.dead_letters import DeadLetters
from audit.sinks.delivery import RefusedRecordError, deliver
from audit.sinks.errors import SinkError, SinkUnavailableError
from audit.store.base import AuditStore, ChainReader, StoredRecord

REPORTED_AT_ONCE = 1000
"""Most diverted records that one report names: it is a record too, and has to fit."""


@dataclass(frozen=True, slots=True)
class Following:
    """How a sink is fed.

    Attributes:
        batch_records: most records in one batch.
        batch_bytes: most bytes of records in one batch; a single record may be larger.
        poll_seconds: how often new records are looked for.
        retry_seconds: first and longest wait after a failure.
        patience_seconds: how long it may fail before that is reported.
        from_now: a new sink gets only what is written from then on.
    """

    batch_records: int = 500
    batch_bytes: int = 1_000_000
    poll_seconds: float = 1.0
    retry_seconds: tuple[float, float] = (0.5, 60.0)
    patience_seconds: float = 10.0
    from_now: bool = False

    def back_off(self, tries: int) -> float:
        """Return how long to wait after so many failures in a row (seconds, with jitter)."""
        first, longest = self.retry_seconds
        return min(longest, first * 2.0 ** min(tries - 1, 30)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A chain that waits at a record that the receiver refuses."""

    cause: str
    tries: int
    until: float


class Forwarding:
    """Moves the records of one log to one sink.

    Args:
        name: name of the sink.
        store: the chains.
        sink: where to.
        cursor: how far it came.
        report: puts events on record.
        following: how.
        dead_letters: keeps what the receiver refuses; None: a refused record stops its chain.
        monotonic: seconds, for waits.

    Attributes:
        sent_records: records sent, repetitions included.
        diverted_records: records that went to the dead letters.
        missed_records: records that were gone before they could be sent.
        waiting: by chain, how many records wait, and when the oldest of them was written (UNIX, nanoseconds).
    """

    def __init__(
        self,
        name: str,
        store: AuditStore,
        sink: Sink,
        cursor: CursorFile,
        report: Report,
        following: Following,
        dead_letters: DeadLetters | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sent_records = self.diverted_records = self.missed_records = 0
        self.waiting: dict[str, tuple[int, int]] = {}
        self._name, self._store, self._sink, self._cursor, self._report = name, store, sink, cursor, report
        self._following = following
        self._dead_letters = dead_letters
        self._monotonic = monotonic
        self._places = dict(cursor.places)
        self._lost = cursor.damaged
        self._new = cursor.fresh
        self._refusals: dict[str, _Refusal] = {}

    @property
    def refusals(self) -> list[str]:
        """Why chains wait at records that the receiver refuses."""
        return [refusal.cause for refusal in self._refusals.values()]

    def forward(self, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Send one batch of each chain; return whether there is more.

        Args:
            stopping: whether to leave the remaining chains for another time.

        Raises:
            SinkError: the sink takes nothing now, the cursor or a report cannot be written.
            AuditStoreError: the chains cannot be read.
        """
        chains = self._store.chains()
        self._begin(chains)
        more = False
        for chain in chains:
            if stopping():
                return False
            with self._store.reader(chain) as reader:
                try:
                    more |= self._try(reader)
                finally:
                    self._look(reader)
        gone = sorted(chain for chain, place in self._places.items() if chain not in chains and place.next)
        if gone:
            raise SinkError(f"chains that were being sent are gone from the store: {', '.join(gone)}")
        return more

    def _begin(self, chains: Sequence[str]) -> None:
        """Make the cursor of a sink that has none, or whose cursor was lost; the latter is reported.

        It begins with the first record that is kept: what was deleted before the sink was there is none of its matter.
        """
        if self._lost:
            self._tell(SinkRestarted(self._name, "", self._lost))
        if self._lost or self._new:
            from_now = self._following.from_now and not self._lost
            for chain in chains:
                with self._store.reader(chain) as reader:
                    for last in reader.last(1) if from_now else ():
                        self._places[chain] = Place(last.sequence + 1, last.hash)
                    first = None if from_now else reader.first()
                    if first is not None:
                        self._places[chain] = Place(first.sequence)
            self._cursor.save(self._places)
            self._lost, self._new = "", False

    def _try(self, reader: ChainReader) -> bool:
        """Send one batch of a chain, unless it waits at a refused record; return whether there is more of it."""
        refusal = self._refusals.get(reader.chain)
        if refusal is not None and self._monotonic() < refusal.until:
            return False
        try:
            more = self._send(reader)
        except RefusedRecordError as error:
            tries = 1 if refusal is None else refusal.tries + 1
            until = self._monotonic() + self._following.back_off(tries)
            self._refusals[reader.chain] = _Refusal(str(error), tries, until)
            return False
        self._refusals.pop(reader.chain, None)
        return more

    def _send(self, reader: ChainReader) -> bool:
        """Send one batch of a chain; return whether there is more of it."""
        place = self._checked_place(reader)
        batch, more = self._take(reader, place)
        if not batch:
            return False
        first = batch[0].sequence
        if first > place.next:
            cause = "they were deleted, or are missing, before the sink had taken them"
            self._tell(RecordsMissed(self._name, reader.chain, place.next, first, cause))
            self.missed_records += first - place.next
            self._save(reader.chain, Place(first))
        for done in deliver(self._sink, batch, None if self._dead_letters is None else self._divert):
            self.sent_records += done.sequence + 1 - self._places[reader.chain].next
            self._save(reader.chain, Place(done.sequence + 1, done.hash))
        return more

    def _checked_place(self, reader: ChainReader) -> Place:
        """Return where to go on in a chain; from its beginning if the record sent last is no longer in it."""
        place = self._places.setdefault(reader.chain, Place())
        if not place.hash:
            return place
        found = next(reader.records(place.next - 1, stop=place.next, batch=1), None)
        if found is None:
            # Retention may have deleted it: what is kept then follows it, or begins later.
            following = next(reader.records(place.next, batch=1), None)
            same = following is not None and (following.sequence > place.next or _previous(following) == place.hash)
        else:
            same = found.hash == place.hash
        if same:
            return place
        cause = f"the record {place.next - 1} that was sent last is not in the chain: it is an older or a changed copy"
        self._tell(SinkRestarted(self._name, reader.chain, f"{cause}; run: govctl audit verify"))
        first = reader.first()
        place = Place(0 if first is None else first.sequence)
        self._save(reader.chain, place)
        return place

    def _take(self, reader: ChainReader, place: Place) -> tuple[list[StoredRecord], bool]:
        """Return the next records of a chain that follow one another, and whether there are more."""
        most, room = self._following.batch_records, self._following.batch_bytes
        batch: list[StoredRecord] = []
        for record in islice(reader.records(place.next, batch=most + 1), most + 1):
            room -= len(record.record)
            if batch and (len(batch) == most or room < 0 or record.sequence != batch[-1].sequence + 1):
                return batch, True
            batch.append(record)
        return batch, False

    def _divert(self, batch: Sequence[StoredRecord], refused: dict[int, str]) -> None:
        assert self._dead_letters is not None  # noqa: S101 - handed over only then
        self._dead_letters.add(batch, refused)
        # A report is a record too: were those reported in turn, a receiver that refuses all would make the log grow.
        worth = [index for index in sorted(refused) if not batch[index].type.startswith("sink.")]
        for first in range(0, len(worth), REPORTED_AT_ONCE):
            portion = worth[first : first + REPORTED_AT_ONCE]
            sequences = tuple(batch[index].sequence for index in portion)
            self._tell(RecordsDiverted(self._name, batch[0].chain, sequences, refused[portion[0]][:2000]))
        self.diverted_records += len(refused)
        self.sent_records -= len(refused)

    def _tell(self, event: SinkEvent) -> None:
        """Report an event without which the cursor may not go on."""
        try:
            self._report(event)
        except Exception as error:
            raise SinkUnavailableError(f"{event.type} cannot be put on record: {error}") from error

    def _save(self, chain: str, place: Place) -> None:
        places = {**self._places, chain: place}
        self._cursor.save(places)
        self._places = places

    def _look(self, reader: ChainReader) -> None:
        """Take note of how much of a chain waits."""
        place = self._places.get(reader.chain, Place())
        last = reader.last(1)
        behind = last[0].sequence + 1 - place.next if last else 0
        if behind > 0:
            oldest = next(reader.records(place.next, batch=1), last[0])
            self.waiting[reader.chain] = (behind, oldest.time_ns)
        else:
            self.waiting.pop(reader.chain, None)


def _previous(record: StoredRecord) -> str:
    try:
        return str(orjson.loads(record.record)["prev"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
