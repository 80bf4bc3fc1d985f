"""HTTP/1.1 as the witness speaks it: heads bounded in size, requests in time, connections in number.

uvicorn waits for ever for the first request of a connection, for the rest of one, and for an answer to be read. Here a
connection has a deadline unless it rests between two requests. Where there are too many, the one that has kept the
witness waiting longest makes room: who only holds connections open loses them, who asks at once is answered.
"""

import asyncio
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

MAX_HEAD_BYTES = 16_384
MAX_CONNECTIONS = 200
REQUEST_SECONDS = 60.0
"""From the first byte of a request, or the connection, to the last of the answer."""
REST_SECONDS = 5.0
"""How long the rest of a body is taken and thrown away after an early answer, so that the answer gets through."""


class BoundedProtocol(H11Protocol):
    """A connection of the witness."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None
        self._waiting_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Take a connection, if need be in the place of another one."""
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        self._set_deadline(REQUEST_SECONDS)
        if len(self.connections) > MAX_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._clear_deadline()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        if self._deadline is None:
            self._set_deadline(REQUEST_SECONDS)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Wait for the next request, for the rest of this one, or for the answer to be read."""
        self._waiting_since = self.loop.time()
        self._set_deadline(REQUEST_SECONDS)
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete:
            self._set_deadline(REST_SECONDS)
        elif (
            self.conn.their_state is h11.IDLE
            and not self.conn.trailing_data[0]
            and not self.transport.get_write_buffer_size()
        ):
            self._clear_deadline()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; after an answer has begun, there is nothing to say any more."""
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.abort()

    def _make_room(self) -> None:
        """Cut the connection that has sent no whole request for the longest time."""
        waiting = [
            other
            for other in self.connections
            if isinstance(other, BoundedProtocol) and other.conn.their_state in {h11.IDLE, h11.SEND_BODY}
        ]
        if waiting:
            longest = min(waiting, key=lambda other: other._waiting_since)
            self.connections.discard(longest)
            longest.transport.abort()

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
