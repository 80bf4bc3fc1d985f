"""The gateway's way in: content of calls is sealed in a thread of its own, many a commit, within a bound of memory.

A call that has to be sealed asks for a place first (`begin`), which is refused while the store fails or too many bytes
wait. What was handed over counts against the bound until it is on disk. Nothing is kept for later: what cannot be
sealed is said at once to the call that it belongs to, which then must not go on.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from audit.errors import AuditError
from audit.sealing.errors import SealingError, SealingUnavailableError
from audit.sealing.sealer import Content, Sealer

_T = TypeVar("_T")

MAX_BATCH = 64
"""Most items in one transaction."""

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""A transaction takes no further item beyond so many bytes."""


@dataclass(slots=True)
class _Job:
    content: Content
    done: asyncio.Future[dict[str, Any]]


class Intake:
    """Takes content from the event loop on which it was made.

    Args:
        sealer: belongs to the intake's thread from now on.
        max_pending_bytes: most bytes of content in memory, of all calls together.
        max_part_bytes: most bytes of one part of one call.
    """

    def __init__(
        self, sealer: Sealer, *, max_pending_bytes: int = 256 * 1024 * 1024, max_part_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._sealer = sealer
        self._max_pending = max_pending_bytes
        self.max_part_bytes = max_part_bytes
        self._pending = 0
        self._failure = ""
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="audit-sealing", daemon=True)
        self._thread.start()

    @property
    def pending_bytes(self) -> int:
        """Bytes of content that are held in memory now."""
        return self._pending

    @property
    def reason(self) -> str:
        """Why the last content could not be sealed; empty when it could."""
        return self._failure

    def begin(self, event_id: str, subject: str, case: str = "") -> "CallContent":
        """Return the place of a call whose content has to be sealed.

        Raises:
            SealingUnavailableError: half of the memory for content is taken: what is under way needs the rest.
        """
        if self._pending * 2 > self._max_pending:
            raise SealingUnavailableError(
                f"{self._pending} bytes of content wait to be sealed already; try again, or raise the bound"
            )
        return CallContent(self, event_id, subject, case)

    def take(self, count: int) -> None:
        """Count bytes against the bound.

        Raises:
            SealingUnavailableError: they do not fit.
        """
        if self._pending + count > self._max_pending:
            raise SealingUnavailableError(f"{self._pending} bytes of content wait to be sealed already")
        self._pending += count

    def give(self, count: int) -> None:
        """Give bytes back."""
        self._pending -= count

    async def seal(self, content: Content) -> dict[str, Any]:
        """Seal one part; return the fields of `content.sealed` without the principal once it is on disk.

        Its bytes were counted with `take`, and are given back when it is done.

        Raises:
            SealingUnavailableError: it is not sealed.
            SealingError: this part of the call is sealed already.
        """
        size = len(content.data)
        if self._closed:
            self.give(size)
            raise SealingUnavailableError("the gateway is stopping; no content is sealed any more")
        done: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        # The caller may leave; its content stays in memory until it is sealed all the same, and counts as long.
        done.add_done_callback(lambda _: self.give(size))
        self._queue.put(_Job(content, done))
        return await asyncio.shield(done)

    async def close(self) -> None:
        """Seal what was handed over, and end the thread."""
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, 10)

    def _run(self) -> None:
        stop = False
        while not stop:
            job = self._queue.get()
            batch: list[_Job] = []
            size = 0
            while job is not None:
                batch.append(job)
                size += len(job.content.data)
                if len(batch) >= MAX_BATCH or size >= MAX_BATCH_BYTES:
                    break
                try:
                    job = self._queue.get_nowait()
                except Empty:
                    break
            stop = job is None
            if batch:
                self._seal(batch)

    def _seal(self, batch: list[_Job]) -> None:
        try:
            fields = self._sealer.seal([job.content for job in batch])
        except SealingError as error:
            if len(batch) > 1 and not isinstance(error, SealingUnavailableError):
                for job in batch:  # one of them is at fault, which is no reason to refuse the others
                    self._seal([job])
                return
            self._fail(batch, error)
        except Exception as error:  # a defect must not leave calls waiting, nor end the thread
            self._fail(batch, SealingUnavailableError(f"content cannot be sealed: {type(error).__name__}"))
        else:
            self._failure = ""
            self._tell(_resolve, batch, fields)

    def _fail(self, batch: list[_Job], error: AuditError) -> None:
        self._failure = str(error)
        self._tell(_refuse, batch, error)

    def _tell(self, action: Callable[[list[_Job], _T], None], batch: list[_Job], told: _T) -> None:
        try:
            self._loop.call_soon_threadsafe(action, batch, told)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more


class CallContent:
    """The content of one call on its way to the store. A context manager: leaving it gives its memory back.

    Use: `seal_request` before the call is forwarded, `feed` with each piece of the answer before it is passed on,
    `seal_response` before the end of the answer is released. Whatever of it raises refuses or cuts the call.
    """

    __slots__ = ("_case", "_event_id", "_intake", "_pieces", "_size", "_subject")

    def __init__(self, intake: Intake, event_id: str, subject: str, case: str) -> None:
        self._intake = intake
        self._event_id = event_id
        self._subject = subject
        self._case = case
        self._pieces: list[bytes] = []
        self._size = 0

    def __enter__(self) -> "CallContent":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def seal_request(self, body: bytes) -> dict[str, Any]:
        """Seal the body of the request; on disk when this returns the fields of `content.sealed`.

        Raises:
            SealingError: it is not sealed; the call must not be forwarded.
        """
        return await self._seal("request", body)

    async def seal_identifiers(self, document: bytes) -> dict[str, Any]:
        """Seal personal identifiers that came with the call. As `seal_request`."""
        return await self._seal("identifiers", document)

    def feed(self, piece: bytes) -> None:
        """Remember a piece of the answer.

        Raises:
            SealingUnavailableError: the answer is too large to be sealed; the piece must not be passed on.
        """
        if self._size + len(piece) > self._intake.max_part_bytes:
            raise SealingUnavailableError(
                f"the answer is larger than {self._intake.max_part_bytes} bytes, which is most that is sealed of one"
            )
        self._intake.take(len(piece))
        self._size += len(piece)
        self._pieces.append(piece)

    async def seal_response(self) -> dict[str, Any]:
        """Seal what was fed; on disk when this returns the fields of `content.sealed`.

        Raises:
            SealingError: it is not sealed; the end of the answer must not be released.
        """
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return await self._intake.seal(Content(self._event_id, "response", self._subject, self._case, data))

    def close(self) -> None:
        """Give the memory back; more than once does no harm."""
        self._pieces.clear()
        self._intake.give(self._size)
        self._size = 0

    async def _seal(self, part: str, data: bytes) -> dict[str, Any]:
        if len(data) > self._intake.max_part_bytes:
            raise SealingUnavailableError(
                f"the {part} is larger than {self._intake.max_part_bytes} bytes, which is most that is sealed of one"
            )
        self._intake.take(len(data))
        return await self._intake.seal(Content(self._event_id, part, self._subject, self._case, data))


def _resolve(batch: list[_Job], fields: list[dict[str, Any]]) -> None:
    for job, each in zip(batch, fields, strict=True):
        job.done.set_result(each)


def _refuse(batch: list[_Job], error: AuditError) -> None:
    for job in batch:
        job.done.set_exception(error)
        job.done.exception()  # whoever left does not hear of it, and asyncio need not say so
