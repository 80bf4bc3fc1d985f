"""The life of one listener: open, serve, replace its certificate, drain, close."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from uvicorn import Config
from uvicorn.server import ServerState

from gateway.clock import Clock
from gateway.config.model import ListenerLimits
from gateway.listener.connections import ConnectionTable
from gateway.listener.cycle import App
from gateway.listener.observer import ListenerObserver
from gateway.listener.peer import Authenticate, BundleSource, Peer, identify
from gateway.listener.protocol import StrictHttpProtocol
from gateway.listener.tls import TlsMaterial
from gateway.listener.transport import TlsConnection

BACKLOG = 1024
"""Connections that may wait to be accepted."""

ACCEPT_YIELD_SECONDS = 0.002
"""How long a worker leaves a shared socket to the others after each connection. Without it the first to wake
takes a whole burst; a handshake takes about as long."""

ACCEPT_RETRY_SECONDS = 0.5
"""Wait before the next try when the system has no room for a connection."""


class ListenerServer:
    """Serves one ASGI application over mutual TLS on one listening socket."""

    def __init__(
        self,
        app: App,
        sock: socket.socket,
        *,
        tls: TlsMaterial,
        bundles: BundleSource,
        limits: ListenerLimits,
        observer: ListenerObserver,
        clock: Clock,
        shared_socket: bool = False,
        authenticate: Authenticate | None = None,
        anyone: bool = False,
    ) -> None:
        """Make one.

        Args:
            sock: bound.
            shared_socket: other processes accept from it too.
            authenticate: reads bearer tokens.
            anyone: also the bodies of callers that proved no identity are read; the application decides alone.
        """
        self._authenticate = authenticate
        self._anyone = anyone
        self._sock = sock
        self._shared_socket = shared_socket
        self._tls = tls
        self._bundles = bundles
        self._clock = clock
        self._table = ConnectionTable(limits, observer, clock)
        # Nothing of uvicorn's own runs: no proxy headers, no WebSockets, no logs, no lifespan.
        self._config = Config(
            app,
            http=StrictHttpProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            access_log=False,
            log_config=None,
        )
        self._config.load()
        self._state = ServerState()
        self._accepting: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def connections(self) -> int:
        """Open TCP connections."""
        return len(self._table)

    @property
    def requests_under_way(self) -> int:
        """Requests whose application has not ended."""
        return len(self._state.tasks)

    async def start(self) -> None:
        """Begin to accept connections.

        Raises:
            OSError: the socket cannot listen.
        """
        self._loop = loop = asyncio.get_running_loop()
        self._table.start(loop)
        self._sock.setblocking(False)
        self._sock.listen(BACKLOG)
        loop.add_reader(self._sock.fileno(), self._accept)

    def replace_tls(self, material: TlsMaterial) -> None:
        """Accept new connections with `material`; those that are open go on as they are."""
        self._tls = material

    def close_connections(self, predicate: Callable[[Peer], bool]) -> int:
        """Close the connections of the peers that `predicate` picks, and return how many.

        A request under way on one of them is answered first.
        """
        picked = [c for c in self._table if c.peer is not None and predicate(c.peer)]
        for connection in picked:
            connection.retire()
        return len(picked)

    async def drain(self, seconds: float) -> None:
        """Stop accepting, finish the requests under way, then cut what is left after `seconds`.

        Returns once every connection is closed and every application has ended. May be called again with a
        shorter time.
        """
        self._table.draining = True
        if self._sock.fileno() >= 0:
            self._running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
        await asyncio.gather(*self._accepting)
        for connection in self._table:
            connection.retire()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._table.empty()
                await asyncio.gather(*self._state.tasks, return_exceptions=True)
        for connection in self._table:
            connection.abort()
        tasks = tuple(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._table.empty()
        self._table.stop()

    def _accept(self) -> None:
        """Accept one connection; then, on a shared socket, leave the next to another worker for a moment."""
        loop = self._running_loop()
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # no file descriptors or memory left
            self._table.observer.handshake_failed("accept-failed", f"no connection can be accepted: {error}")
            self._pause_accepting(loop, ACCEPT_RETRY_SECONDS)
            return
        sock.setblocking(False)
        task = loop.create_task(self._connect(loop, sock))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        if self._shared_socket:
            self._pause_accepting(loop, ACCEPT_YIELD_SECONDS)

    async def _connect(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        try:
            await loop.connect_accepted_socket(self._connection, sock)
        except OSError:  # gone between accept and here
            sock.close()

    def _pause_accepting(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        loop.remove_reader(self._sock.fileno())
        loop.call_later(seconds, self._resume_accepting, loop)

    def _resume_accepting(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._table.draining:
            loop.add_reader(self._sock.fileno(), self._accept)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the listener is not started")
        return self._loop

    def _connection(self) -> TlsConnection:
        return TlsConnection(
            context=self._tls.context,
            table=self._table,
            identify=self._identify,
            make_http=self._make_http,
            loop=self._running_loop(),
        )

    def _identify(self, chain: list[bytes]) -> Peer:
        return identify(chain, self._bundles, self._clock)

    def _make_http(self, peer: Peer) -> StrictHttpProtocol:
        return StrictHttpProtocol(
            self._config,
            self._state,
            self._table,
            peer,
            self._running_loop(),
            self._authenticate,
            anyone=self._anyone,
        )
