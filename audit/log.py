"""The log as the gateway uses it: append now, wait for the disk later, many records a commit.

`append` gives a record its id and its time and queues it. A writer thread links what is queued, commits it in one
transaction, and tells the event loop. Nothing is answered before `durable` returned.

When a commit fails, the records of the batch fail with it, except those marked `keep`: these close what was already
begun, so they are linked again, at their new place, once the store works; a record that they close and that was lost
is linked before them. What is written late says when it happened (`delayed_from`). Until then `append` refuses
everything that is not kept. The writer tries the store again by itself.
"""

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from audit.chain import SKEW_NS, Head, Linked, link
from audit.errors import AuditStoreError, AuditUnavailableError, CanonicalError
from audit.event_id import uuid7
from audit.store import AuditStore, ChainWriter

if TYPE_CHECKING:
    from hashlib import _Hash

_log = logging.getLogger(__name__)

MAX_BATCH = 1000
"""Most records in one transaction."""

LINGER_SECONDS = 0.002
"""Under load commits are at least this far apart, so that each carries more records (seconds)."""

LOADED_BATCH = 8
"""A commit that carried this many records shows load; below it nothing waits for company."""

HEAD_SECONDS = 1.0
"""How often the head is noted beside the chain (seconds)."""

_RETRY_SECONDS = (0.1, 5.0)


class Entry:
    """One record on its way to the disk.

    Attributes:
        event_id: its id, fixed at once.
        linked: its place in the chain, once it is durable.
        closes: the record that this one ends, and that has to precede it in the chain.
        committed: whether it is on disk, as the writer thread knows it.
    """

    __slots__ = (
        "_failure", "_log", "_waiter", "closes", "committed", "event_id", "fields", "keep", "linked", "time_ns", "type",
    )  # fmt: skip

    def __init__(
        self,
        log: "AuditLog",
        record_type: str,
        fields: dict[str, Any],
        time_ns: int,
        *,
        keep: bool,
        closes: "Entry | None",
    ) -> None:
        self.event_id = uuid7()
        self.type = record_type
        self.fields = fields
        self.time_ns = time_ns
        self.keep = keep
        self.closes = closes
        self.committed = False
        self.linked: Linked | None = None
        self._failure: str = ""
        self._waiter: asyncio.Future[None] | None = None
        self._log = log

    async def durable(self) -> Linked:
        """Wait until the record is on disk and return its place in the chain.

        Raises:
            AuditUnavailableError: it is not, and will not be.
        """
        if self.linked is None and not self._failure:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self.linked is None:
            raise AuditUnavailableError(self._failure)
        return self.linked

    def resolve(self, linked: Linked | None, failure: str) -> None:
        """Tell whoever waits. Called on the event loop."""
        self.linked = linked
        self._failure = failure
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(frozen=True, slots=True)
class _Commit:
    """One commit: the end it gives the chain, its entries, and the lost ones that it wrote before what closes them."""

    head: Head
    written: list[tuple[Entry, Linked]]
    openers: list[Entry]


def _mark_committed(openers: list[Entry], written: list[tuple[Entry, Linked]]) -> None:
    for entry in openers:
        entry.committed = True
    for entry, _ in written:
        entry.committed = True


class PayloadDigest:
    """The keyed digest of a payload that comes in pieces (HMAC-SHA256)."""

    __slots__ = ("_inner", "_outer", "update")

    def __init__(self, inner: "_Hash", outer: "_Hash") -> None:
        self._inner = inner.copy()
        self._outer = outer
        self.update = self._inner.update

    def hexdigest(self) -> str:
        """Return the digest of what came so far (hex)."""
        outer = self._outer.copy()
        outer.update(self._inner.digest())
        return outer.hexdigest()


class AuditLog:
    """One chain with its writer thread.

    Attributes:
        log: name of the log.
        chain: name of the chain in it.
        healthy: whether records can be written now.
        last_commit_seconds: duration of the last commit.
    """

    def __init__(
        self,
        store: AuditStore,
        chain: str,
        *,
        digest_key: bytes,
        clock: Callable[[], int],
        pending_records: int = 10_000,
    ) -> None:
        if len(digest_key) > 64:
            raise ValueError("the digest key has at most 64 bytes")
        self.log = store.log
        self.chain = chain
        self.healthy = True
        self.last_commit_seconds = 0.0
        self._reason = ""
        self._dead = False
        self._in_hand: list[Entry] = []
        block = digest_key.ljust(64, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))
        self._clock = clock
        self._pending_limit = pending_records
        self._pending = 0
        self._queue: SimpleQueue[Entry | None] = SimpleQueue()
        self._writer = store.open_writer(chain)
        self._loop = asyncio.get_running_loop()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._guarded_run, name=f"audit-{chain}", daemon=True)
        self._thread.start()

    @property
    def backlog(self) -> int:
        """Records that wait for the disk."""
        return self._pending

    @property
    def reason(self) -> str:
        """Why the log is not healthy; empty when it is."""
        return "" if self.healthy else self._reason

    def digest(self, payload: bytes) -> str:
        """Return the keyed digest of a payload (HMAC-SHA256, hex): short prompts cannot be guessed from it."""
        digest = self.digester()
        digest.update(payload)
        return digest.hexdigest()

    def digester(self) -> PayloadDigest:
        """Return what makes the keyed digest of a payload that comes in pieces."""
        # RFC 2104 with the key's two blocks hashed once; the library's one-shot form costs ten times as much.
        return PayloadDigest(self._inner, self._outer)

    def append(
        self, record_type: str, fields: dict[str, Any], *, keep: bool = False, closes: Entry | None = None
    ) -> Entry:
        """Queue a record; call on the event loop.

        Args:
            record_type: for instance `access.intent`.
            fields: what the record says; not to be changed afterwards.
            keep: the record closes something already begun; it is never given up.
            closes: the record that it closes; where that one was lost, it is written with this one after all.

        Raises:
            AuditUnavailableError: the store does not work, or too many records wait for it (never for `keep`).
        """
        if not keep:
            if not self.healthy:
                raise AuditUnavailableError(f"The audit log cannot be written: {self._reason}.")
            if self._pending >= self._pending_limit:
                raise AuditUnavailableError(f"{self._pending} audit records wait for the disk already.")
        entry = Entry(self, record_type, fields, self._clock(), keep=keep, closes=closes)
        self._pending += 1
        self._queue.put(entry)
        if self._dead:
            self._tell_dead()  # it ended between the check above and here
        return entry

    async def close(self) -> None:
        """Write what is queued and give the chain back. What cannot be written within five seconds is given up."""
        if self._thread.is_alive():
            self._closing.set()
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join, 10)
        await asyncio.sleep(0)

    def _guarded_run(self) -> None:
        """Run the writer; whatever ends it unexpectedly closes the log: nobody waits for ever, nothing passes."""
        try:
            self._run()
        except BaseException as error:
            self._reason = f"the writer of the log {self.chain} ended: {error!r}; restart the gateway"
            self.healthy = False
            self._dead = True
            _log.exception("the audit writer ended")
            self._tell_dead()

    def _tell_dead(self) -> None:
        lost = []
        while True:
            try:
                entry = self._queue.get_nowait()
            except Empty:
                break
            if entry is not None:
                lost.append((entry, self._reason))
        in_hand, self._in_hand = self._in_hand, []
        self._tell([], [(entry, self._reason) for entry in in_hand] + lost)

    def _run(self) -> None:
        retained: deque[Entry] = deque()
        last_end = head_noted = time.monotonic()
        loaded = False
        while True:
            entry = None if retained else self._queue.get()
            since = time.monotonic() - last_end
            if loaded and since < LINGER_SECONDS and not self._closing.is_set():
                time.sleep(LINGER_SECONDS - since)
            batch, stop = self._take(entry, retained)
            if batch:
                loaded = len(batch) >= LOADED_BATCH
                self._in_hand = batch
                retained = self._commit(batch)
                self._in_hand = []
                last_end = time.monotonic()
                if last_end - head_noted > HEAD_SECONDS:
                    self._writer.record_head()
                    head_noted = last_end
            if stop or self._closing.is_set():
                if self._queue.empty() and not retained:
                    break
                if retained and not self.healthy:
                    break
        self._writer.close()

    def _take(self, first: Entry | None, retained: deque[Entry]) -> tuple[list[Entry], bool]:
        batch: list[Entry] = list(retained)
        stop = False
        if first is not None:
            batch.append(first)
        elif not batch:
            stop = True
        while len(batch) < MAX_BATCH:
            try:
                entry = self._queue.get_nowait()
            except Empty:
                break
            if entry is None:
                stop = True
            else:
                batch.append(entry)
        return batch, stop

    def _commit(self, batch: list[Entry]) -> deque[Entry]:
        """Link and write a batch; return what has to be tried again."""
        linked: list[Linked] = []
        written: list[tuple[Entry, Linked]] = []
        refused: list[tuple[Entry, str]] = []
        openers: list[Entry] = []
        placed: set[Entry] = set()
        head, last = self._writer.head, self._writer.last_time_ns
        for entry in batch:
            if entry.time_ns < last - SKEW_NS:
                linked.append(self._link_step(head, last, entry.time_ns))
                head, last = Head(linked[-1].sequence, linked[-1].hash), entry.time_ns
            opener = entry.closes
            if opener is not None and not opener.committed and opener not in placed:
                openers.append(opener)
                linked.append(self._link_lost(head, opener))
                head = Head(linked[-1].sequence, linked[-1].hash)
            try:
                record = link(head, self.log, self.chain, entry.event_id, entry.time_ns, entry.type, entry.fields)
            except CanonicalError as error:
                refused.append((entry, f"The audit record of this call cannot be written: {error}."))
                continue
            head = Head(record.sequence, record.hash)
            last = record.time_ns
            linked.append(record)
            written.append((entry, record))
            placed.add(entry)
        begin = time.monotonic()
        try:
            if linked:
                self._writer.append(linked)
        except AuditStoreError as error:
            commit = _Commit(head, written, openers)
            found = self._find_head()
            if found != head:
                # First, so that nobody who learns of the failure finds the log healthy.
                self._reason, self.healthy = str(error), False
                self._tell([], refused + [(e, str(error)) for e, _ in written if not e.keep])
                kept = deque(e for e, _ in written if e.keep)
                return self._wait_for_store(str(error), kept, commit if found is None else None)
            self._writer.head = head
        self.last_commit_seconds = time.monotonic() - begin
        _mark_committed(openers, written)
        self._tell(written, refused)
        return deque()

    def _link_step(self, head: Head, before: int, now: int) -> Linked:
        """Link the record that the clock went back, so that the next one may be earlier than the one before."""
        fields = {"before": str(before), "seconds": (now - before) // 1_000_000_000}
        return link(head, self.log, self.chain, uuid7(), now, "clock.stepped", fields)

    def _link_lost(self, head: Head, entry: Entry) -> Linked:
        """Link a record that was given up, now that what closes it is written."""
        fields = {**entry.fields, "delayed_from": str(entry.time_ns)}
        try:
            return link(head, self.log, self.chain, entry.event_id, self._clock(), entry.type, fields)
        except CanonicalError as error:
            fields = {"unwritable": str(error), "delayed_from": str(entry.time_ns)}
            return link(head, self.log, self.chain, entry.event_id, self._clock(), entry.type, fields)

    def _find_head(self) -> Head | None:
        """Read the end of the chain after a failure, which may have reached the disk all the same; None: unreadable."""
        try:
            return self._writer.read_head()
        except AuditStoreError:
            return None

    def _written_after_all(self, commit: "_Commit", retained: deque[Entry]) -> deque[Entry]:
        """Take what a commit of unknown outcome kept as written; who was refused stays so, as `log.recovered` says."""
        _mark_committed(commit.openers, commit.written)
        self._tell([(entry, record) for entry, record in commit.written if entry.keep], [])
        return deque(entry for entry in retained if not entry.committed)

    def _wait_for_store(self, reason: str, retained: deque[Entry], unknown: "_Commit | None") -> deque[Entry]:
        """Refuse until the store takes a record again.

        Args:
            reason: why it does not.
            retained: what was kept.
            unknown: the commit that failed, if nobody could look whether it reached the disk.

        Returns: what was kept and is not written yet, to be written next.
        """
        delay, longest = _RETRY_SECONDS
        gave_up = time.monotonic() + 5
        while True:
            self._closing.wait(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            while True:
                try:
                    entry = self._queue.get_nowait()
                except Empty:
                    break
                if entry is None:
                    continue
                if entry.keep:
                    retained.append(entry)
                else:
                    self._tell([], [(entry, reason)])
            try:
                head = self._writer.read_head()
                if unknown is not None and head == unknown.head:
                    retained = self._written_after_all(unknown, retained)
                unknown = None
                probe = link(
                    head, self.log, self.chain, uuid7(), self._clock(), "log.recovered", {"cause": reason[:500]}
                )
                self._writer.head = head
                self._writer.append([probe])
            except AuditStoreError as error:
                self._reason = str(error)
                delay = min(delay * 2, longest)
                if self._closing.is_set() and time.monotonic() > gave_up:
                    return retained
                continue
            for late in retained:
                late.fields = {"delayed_from": str(late.time_ns), **late.fields}
                late.time_ns = self._clock()
            self.healthy = True
            return retained

    def _tell(self, written: list[tuple[Entry, Linked]], refused: list[tuple[Entry, str]]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._resolve, written, refused)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _resolve(self, written: list[tuple[Entry, Linked]], refused: list[tuple[Entry, str]]) -> None:
        self._pending -= len(written) + len(refused)
        for entry, linked in written:
            entry.resolve(linked, "")
        for entry, failure in refused:
            entry.resolve(None, failure)


def append_once(
    store: AuditStore, chain: str, record_type: str, fields: dict[str, Any], clock: Callable[[], int]
) -> Linked:
    """Append one record and wait for the disk: for commands that run once.

    Raises:
        AuditStoreError: the chain is in use for longer than five seconds, or cannot be written.
    """
    deadline = time.monotonic() + 5
    while True:
        try:
            writer: ChainWriter = store.open_writer(chain)
            break
        except AuditStoreError as error:
            if "another process" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    try:
        record = link(writer.head, store.log, chain, uuid7(), clock(), record_type, fields)
        writer.append([record])
    finally:
        writer.close()
    return record
