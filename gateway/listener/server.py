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
from gateway.listener.peer import BundleSource, Peer, identify
from gateway.listener.protocol import StrictHttpProtocol
from gateway.listener.tls import TlsMaterial
from gateway.listener.transport import TlsConnection

BACKLOG = 1024
"""Connections that may wait to be accepted."""


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
    ) -> None:
        """Args: sock: bound; may be shared with other processes."""
        self._sock = sock
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
        self._server: asyncio.Server | None = None
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
        self._server = await loop.create_server(self._connection, sock=self._sock, backlog=BACKLOG)

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

        Returns once every connection is closed and every application has ended.
        """
        self._table.draining = True
        if self._server is not None:
            self._server.close()
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

    def _connection(self) -> TlsConnection:
        loop = self._loop
        assert loop is not None  # noqa: S101 - set by start
        return TlsConnection(
            context=self._tls.context,
            table=self._table,
            identify=self._identify,
            make_http=self._make_http,
            loop=loop,
        )

    def _identify(self, chain: list[bytes]) -> Peer:
        return identify(chain, self._bundles, self._clock)

    def _make_http(self, peer: Peer) -> StrictHttpProtocol:
        assert self._loop is not None  # noqa: S101 - set by start
        return StrictHttpProtocol(self._config, self._state, self._table, peer, self._loop)
