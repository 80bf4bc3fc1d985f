"""Keeps N worker processes running: starts, restarts with back-off, tells them things, drains them."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from gateway.listener.channel import Channel
from gateway.listener.zygote import Zygote

BACKOFF_SECONDS = 0.25
"""Wait before the first restart; doubles with each that follows."""

BACKOFF_LIMIT_SECONDS = 30.0
"""Longest wait before a restart."""

SETTLED_SECONDS = 30.0
"""A worker that has run this long after it was ready counts as sound: its next restart does not wait longer."""

KILL_GRACE_SECONDS = 5.0
"""Time beyond the drain time after which a worker is killed."""


class WorkerTarget(Protocol):
    """What a worker process runs; makes its own event loop.

    It sends `{"type": "ready"}` once it serves, may send `{"type": "status", …}`, obeys
    `{"type": "drain", "seconds": s}` by ending its calls and returning, and does the same when
    `Channel.receive` returns None: the control process is gone then.
    """

    def __call__(self, index: int, sock: socket.socket, channel: Channel, /, *args: Any) -> None: ...


class WorkerStartError(Exception):
    """A worker ended, or was not ready in time, when the workers were first started."""


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Something an operator wants to know of a worker.

    Attributes:
        kind: `forker-lost` means that no worker can be restarted any more: drain, and start anew.
        index: of the worker; -1 for none.
        exit_code: of the ended process; a negative one is the number of a signal.
        delay: seconds until it is started again (`restarting`).
    """

    kind: Literal["started", "ready", "exited", "restarting", "killed", "forker-lost"]
    index: int
    pid: int = 0
    exit_code: int = 0
    delay: float = 0.0


@dataclass(slots=True)
class WorkerStatus:
    """One worker as the control process knows it.

    Attributes:
        status: the last status message it sent.
        heard: when the last message of any type came (monotonic seconds).
        restarts: how often it was started again.
    """

    index: int
    pid: int = 0
    state: Literal["starting", "ready", "waiting", "ended"] = "ended"
    restarts: int = 0
    heard: float = 0.0
    status: Mapping[str, Any] = field(default_factory=dict)
    _channel: Channel | None = None
    _failures: int = 0
    _says_ready: bool = False
    _ready_at: float = 0.0


class Supervisor:
    """Runs in the control process. All workers accept from one shared listening socket."""

    def __init__(
        self,
        target: WorkerTarget,
        sock: socket.socket,
        workers: int,
        args: tuple[Any, ...] = (),
    ) -> None:
        """Fork the process that workers come from; to be called before any thread or event loop exists.

        Args:
            target: what a worker runs.
            sock: bound; each worker listens on it.
            workers: how many.
            args: further arguments of `target`, as they are now.

        Raises:
            RuntimeError: this process already has threads.
        """
        self.workers = tuple(WorkerStatus(index) for index in range(workers))
        self._zygote = Zygote.fork(lambda index, channel: target(index, sock, Channel(channel), *args))
        self._stopping = False
        self._forker_lost = False
        self._changed = asyncio.Event()
        self._readers: set[asyncio.Task[None]] = set()
        self._restarts: set[asyncio.Task[None]] = set()
        self._on_event: Callable[[WorkerEvent], None] = _ignore
        self._on_message: Callable[[int, dict[str, Any]], None] = _ignore

    async def start(
        self,
        seconds: float,
        *,
        on_event: Callable[[WorkerEvent], None],
        on_message: Callable[[int, dict[str, Any]], None],
    ) -> None:
        """Start every worker and wait until all are ready.

        Args:
            seconds: how long that may take.
            on_event: told of starts, ends and restarts.
            on_message: given every message that is not `ready`, with the worker's index.

        Raises:
            WorkerStartError: one ended or was not ready in time; the others have been ended.
        """
        self._on_event, self._on_message = on_event, on_message
        asyncio.get_running_loop().add_reader(self._zygote.control.fileno(), self._read_reports)
        for worker in self.workers:
            await self._spawn(worker)
        await self._wait(
            seconds,
            lambda: all(w.state == "ready" for w in self.workers) or any(w._failures for w in self.workers),
        )
        # A worker that failed is the cause; the others may only not have had the time.
        late = [worker for worker in self.workers if worker._failures] or [
            worker for worker in self.workers if worker.state != "ready"
        ]
        if late:
            await self.drain(0)
            raise WorkerStartError(
                f"worker {late[0].index} did not become ready; its own output above says why, or it took longer "
                f"than {seconds:g} seconds"
            )

    def send(self, index: int, message: Mapping[str, Any]) -> None:
        """Send a message to one worker; lost if it is not running."""
        channel = self.workers[index]._channel
        if channel is not None:
            channel.send(message)

    def broadcast(self, message: Mapping[str, Any]) -> None:
        """Send a message to every running worker."""
        for worker in self.workers:
            self.send(worker.index, message)

    async def drain(self, seconds: float) -> None:
        """End every worker: each finishes its calls within `seconds`; what runs longer is killed."""
        self._stopping = True
        for restart in tuple(self._restarts):
            restart.cancel()
        self.broadcast({"type": "drain", "seconds": seconds})
        await self._wait(seconds + KILL_GRACE_SECONDS, self._all_ended)
        for worker in self.workers:
            if worker.pid:
                self._on_event(WorkerEvent("killed", worker.index, worker.pid))
                self._kill(worker.pid)
        await self._wait(KILL_GRACE_SECONDS, self._all_ended)
        for reader in tuple(self._readers):
            reader.cancel()
        await asyncio.gather(*self._readers, *self._restarts, return_exceptions=True)
        asyncio.get_running_loop().remove_reader(self._zygote.control.fileno())
        self._zygote.close()

    def _all_ended(self) -> bool:
        return not any(worker.pid for worker in self.workers)

    async def _wait(self, seconds: float, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds or `seconds` have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()

    def _kill(self, pid: int) -> None:
        with suppress(OSError):
            if self._forker_lost:
                os.kill(pid, signal.SIGKILL)
            else:
                self._zygote.kill(pid)

    async def _spawn(self, worker: WorkerStatus) -> None:
        ours, theirs = socket.socketpair()
        worker.state = "starting"
        worker._says_ready = False
        worker.heard = time.monotonic()
        worker._channel = channel = Channel(ours)
        await channel.open()
        try:
            self._zygote.spawn(worker.index, theirs)
        except OSError:
            channel.close()
            worker._channel = None
            worker.state = "ended"
            return
        self._task(self._readers, self._read_messages(worker, channel))

    async def _read_messages(self, worker: WorkerStatus, channel: Channel) -> None:
        while (message := await channel.receive()) is not None:
            worker.heard = time.monotonic()
            kind = message.get("type")
            if kind == "ready":
                worker._says_ready = True
                self._note_ready(worker)
                continue
            if kind == "status":
                worker.status = message
            self._on_message(worker.index, message)
        if self._forker_lost and worker.pid:
            self._ended(worker, worker.pid, 0)

    def _note_ready(self, worker: WorkerStatus) -> None:
        """Count a worker as ready once it says so and is known to have started, whichever is heard first."""
        if worker._says_ready and worker.pid and worker.state == "starting":
            worker.state = "ready"
            worker._ready_at = worker.heard
            self._on_event(WorkerEvent("ready", worker.index, worker.pid))
            self._changed.set()

    def _read_reports(self) -> None:
        while True:
            try:
                report = self._zygote.read_report()
            except BlockingIOError:
                return
            except OSError:
                report = None
            if report is None:
                asyncio.get_running_loop().remove_reader(self._zygote.control.fileno())
                self._forker_lost = True
                self._on_event(WorkerEvent("forker-lost", -1))
                return
            worker = self.workers[report["index"]]
            if "exit" in report:
                self._ended(worker, report["pid"], report["exit"])
            else:
                worker.pid = report["pid"]
                self._on_event(WorkerEvent("started", worker.index, worker.pid))
                self._note_ready(worker)

    def _ended(self, worker: WorkerStatus, pid: int, exit_code: int) -> None:
        self._on_event(WorkerEvent("exited", worker.index, pid, exit_code))
        settled = worker.state == "ready" and time.monotonic() - worker._ready_at >= SETTLED_SECONDS
        worker._failures = 1 if settled else worker._failures + 1
        worker.pid = 0
        worker.state = "ended"
        if worker._channel is not None:
            worker._channel.close()
            worker._channel = None
        if not (self._stopping or self._forker_lost):
            worker.state = "waiting"
            delay = min(BACKOFF_LIMIT_SECONDS, BACKOFF_SECONDS * 2 ** (worker._failures - 1))
            self._on_event(WorkerEvent("restarting", worker.index, pid, exit_code, delay))
            self._task(self._restarts, self._restart(worker, delay))
        self._changed.set()

    async def _restart(self, worker: WorkerStatus, delay: float) -> None:
        await asyncio.sleep(delay)
        worker.restarts += 1
        await self._spawn(worker)

    def _task(self, kept_in: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        kept_in.add(task)
        task.add_done_callback(kept_in.discard)


def _ignore(*_: object) -> None:
    pass
