"""The connections to one backend: opened with TLS and a deadline, kept while idle, bounded in number."""

import asyncio
import time
from collections import deque
from urllib.parse import urlsplit

from gateway.errors import UnavailableError, UpstreamConnectError
from gateway.secrets.store import Resolved
from gateway.upstream.client import Backend
from gateway.upstream.http1.connection import Connection
from gateway.upstream.http1.tls import BackendTls

IDLE_SECONDS = 4.0
"""How long a connection is kept unused (seconds): vLLM, like any uvicorn, closes its after 5."""

IDLE_CONNECTIONS = 512
"""Idle connections kept for each backend and worker."""

OPEN_CONNECTIONS = 4096
"""Connections to each backend and worker, idle ones included; a call beyond is refused as busy."""


class Pool:
    """Connections to one backend; the latest used is taken first, so that the others grow old and are closed.

    Attributes:
        backend: the backend.
        prefix: path of the base URL, without a trailing slash.
        host: value of the host field (RFC 9110, section 7.2).
    """

    def __init__(self, backend: Backend) -> None:
        parts = urlsplit(backend.base_url)
        self.backend = backend
        self.prefix = parts.path.rstrip("/").encode()
        self.host = parts.netloc.encode()
        self._address = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = BackendTls(backend) if parts.scheme == "https" else None
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    def show(self, certificate: Resolved) -> None:
        """Show a client certificate from now on; connections that showed another one are not used again."""
        if self._tls is not None and self._tls.show(certificate):
            while self._idle:
                self._idle.pop().abort()

    def take(self) -> Connection | None:
        """Return an idle connection that the backend has not closed, or None."""
        oldest = time.monotonic() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            # The event loop may not have seen the end of the connection yet; the socket has.
            if connection.usable and connection.idle_since > oldest and connection.silent:
                return connection
            connection.abort()
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end, or cut it."""
        if not connection.usable or len(self._idle) >= IDLE_CONNECTIONS:
            connection.abort()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)

    async def connect(self) -> Connection:
        """Open a connection.

        Raises:
            UpstreamConnectError: refused, unreachable, not in time, or its certificate does not verify.
            UnavailableError: too many are open.
        """
        if len(self._open) >= OPEN_CONNECTIONS:
            raise UnavailableError(
                "The model server has too many calls under way.",
                remedy="Try again later.",
                code="upstream_busy",
                headers=[(b"retry-after", b"1")],
            )
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self._open.discard)
        self._open.add(connection)
        try:
            context = self._tls.context() if self._tls else None
            async with asyncio.timeout(self.backend.connect_timeout):
                await loop.create_connection(lambda: connection, self._address, self._port, ssl=context)
        except BaseException as error:
            connection.abort()
            self._open.discard(connection)
            if not isinstance(error, OSError):
                raise
            if not str(error):
                error = TimeoutError(f"no connection within {self.backend.connect_timeout:g} s")
            raise unreachable() from error
        return connection

    def close(self) -> None:
        """Cut every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._idle.clear()
        for connection in tuple(self._open):
            connection.abort()

    def counts(self) -> tuple[int, int]:
        """Return how many connections are open and how many of them are idle."""
        return len(self._open), len(self._idle)

    def _sweep(self) -> None:
        """Close what was idle for too long."""
        self._sweeper = None
        now = time.monotonic()
        while self._idle and (self._idle[0].closed or self._idle[0].idle_since <= now - IDLE_SECONDS):
            self._idle.popleft().abort()
        if self._idle:
            later = max(self._idle[0].idle_since + IDLE_SECONDS - now, 0.05)
            self._sweeper = asyncio.get_running_loop().call_later(later, self._sweep)


def unreachable() -> UpstreamConnectError:
    """Return the error for a backend that got no byte of a call; address and cause are for the log, as its cause."""
    return UpstreamConnectError(
        "The model server cannot be reached.", remedy="Try again; if it lasts, tell the operator."
    )
