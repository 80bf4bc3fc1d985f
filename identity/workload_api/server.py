"""Serves the Workload API and secret discovery on a Unix socket, each connection for the process that opened it."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from identity.attestation.process import ProcessError, ProcessEvidence, attest_process
from identity.workload_api.bounds import BoundedProtocol
from identity.workload_api.listening import BACKLOG, WorkloadApiError, listen
from identity.workload_api.sds import SecretService
from identity.workload_api.service import WorkloadService
from identity.workload_api.source import Selectors, WorkloadObserver, WorkloadSource

__all__ = ["WorkloadApiError", "WorkloadServer"]

CONNECTIONS_PER_USER = 2048
"""Open connections of one user id."""

CONNECTIONS = 16_384
"""Open connections in all."""

STREAMS_PER_USER = 8192
"""Calls of one user id under way."""

CALLS_PER_SECOND = 50.0
CALL_BURST = 500
"""Attestations of one user id: so many at once, then so many a second."""

_USERS = 65_536
"""User ids whose budgets are kept."""


class WorkloadServer:
    """The Workload API's server. Start it on the event loop that its source belongs to."""

    def __init__(
        self,
        path: Path,
        source: WorkloadSource,
        observer: WorkloadObserver,
        *,
        mode: int = 0o777,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Args: path: of the socket. mode: its permissions; workloads of any user may connect unless narrowed."""
        self._path = path
        self._source = source
        self._observer = observer
        self._mode = mode
        self._clock = clock or asyncio.get_running_loop().time
        self._server: asyncio.Server | None = None
        self._open: Counter[int] = Counter()
        self._budgets: dict[int, _Budget] = {}
        self._connections: set[_Connection] = set()
        self._streams: Counter[int] = Counter()

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    @property
    def streams(self) -> int:
        """Calls under way."""
        return self._streams.total()

    async def start(self) -> None:
        """Begin to listen. A socket that nobody listens on any more is replaced.

        Raises:
            WorkloadApiError: another process listens there, or the socket cannot be made.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            self._connection, sock=listen(self._path, self._mode), backlog=BACKLOG
        )

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self._connections):
            connection.end()
        await asyncio.sleep(0)
        with suppress(OSError):
            self._path.unlink()

    def _connection(self) -> "_Connection":
        return _Connection(self)

    # used by the connections

    def admit(self, connection: "_Connection", evidence: ProcessEvidence) -> None:
        """Count a connection.

        Raises:
            ProcessError: there are too many.
        """
        uid = evidence.uid
        if len(self._connections) >= CONNECTIONS or self._open[uid] >= CONNECTIONS_PER_USER:
            raise ProcessError("connections", f"user {uid} has too many connections open, or all users together")
        self._open[uid] += 1
        self._connections.add(connection)

    def gone(self, connection: "_Connection", evidence: ProcessEvidence) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        uid = evidence.uid
        self._open[uid] -= 1
        if not self._open[uid]:
            del self._open[uid]

    async def selectors(self, evidence: ProcessEvidence) -> Selectors:
        """Return what is known of a process, within its user's budget."""
        uid = evidence.uid
        if len(self._budgets) > _USERS:
            self._budgets.clear()
        budget = self._budgets.setdefault(uid, _Budget(self._clock()))
        if not budget.take(self._clock()):
            raise ProcessError("rate", f"user {uid} asks too often; keep streams open instead of asking again")
        found = await asyncio.to_thread(evidence.selectors)
        self._observer.attested(uid, evidence.pid, found)
        return found

    def protocol(self, evidence: ProcessEvidence) -> BoundedProtocol:
        """Return the HTTP/2 side of a connection, which answers the requests of one process."""
        caller = _Caller(self, evidence)
        mapping = {
            **WorkloadService(self._source, caller, self._observer).__mapping__(),
            **SecretService(self._source, caller, self._observer).__mapping__(),
        }
        uid = evidence.uid
        return BoundedProtocol(
            mapping, lambda: self._stream_opened(uid), lambda: self._stream_closed(uid), self.refused
        )

    def _stream_opened(self, uid: int) -> bool:
        if self._streams[uid] >= STREAMS_PER_USER:
            self._observer.refused("streams", f"user {uid} has too many calls under way")
            return False
        self._streams[uid] += 1
        return True

    def _stream_closed(self, uid: int) -> None:
        self._streams[uid] -= 1
        if not self._streams[uid]:
            del self._streams[uid]

    def refused(self, rule: str, detail: str) -> None:
        """Tell that a connection was refused."""
        self._observer.refused(rule, detail)


class _Caller:
    """One process, as the services see it."""

    def __init__(self, server: WorkloadServer, evidence: ProcessEvidence) -> None:
        self._server = server
        self._evidence = evidence

    async def selectors(self) -> Selectors:
        return await self._server.selectors(self._evidence)

    def confirm(self) -> None:
        self._evidence.confirm()


class _Connection(asyncio.Protocol):
    """One connection: its process is taken hold of before a byte is read; then grpclib's protocol does the rest."""

    def __init__(self, server: WorkloadServer) -> None:
        self._server = server
        self._evidence: ProcessEvidence | None = None
        self._inner: BoundedProtocol | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type
        self._transport = transport
        connected: socket.socket = transport.get_extra_info("socket")
        evidence = None
        try:
            evidence = attest_process(connected)
            self._server.admit(self, evidence)
        except (ProcessError, OSError) as error:
            if evidence is not None:
                evidence.close()
            self._server.refused(getattr(error, "rule", "process-unreadable"), str(error))
            transport.abort()
            return
        self._evidence = evidence
        self._inner = self._server.protocol(evidence)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner is not None:
            self._inner.connection_lost(exc)
        if self._evidence is not None:
            self._server.gone(self, self._evidence)
            self._evidence.close()
            self._evidence = None

    def end(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()


class _Budget:
    """A token bucket."""

    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        self._at = now
        self._left = float(CALL_BURST)

    def take(self, now: float) -> bool:
        self._left = min(CALL_BURST, self._left + (now - self._at) * CALLS_PER_SECOND)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
