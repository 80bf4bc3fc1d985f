"""Strict HTTP/1.1 over one TLS connection: one request at a time, every bound and every deadline kept."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from uvicorn import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr
from uvicorn.server import ServerState

from gateway.errors import (
    GatewayError,
    HeadersTooLargeError,
    RequestError,
    RequestTimeoutError,
    UnavailableError,
)
from gateway.listener.body import BodyReader, ChunkedBody, LengthBody, too_large
from gateway.listener.connections import NEVER, Connection, ConnectionTable
from gateway.listener.cycle import RequestCycle
from gateway.listener.head import CHUNKED, Head, check_partial, parse_head
from gateway.listener.peer import Authenticate, Peer
from gateway.listener.refusal import render

EARLY_BYTES = 65_536
"""How much a client may send ahead of its answer before it is cut instead of told."""

_ASGI: Mapping[str, str] = {"version": "3.0", "spec_version": "2.4"}

_IDLE, _HEAD, _BODY, _ANSWER, _CLOSED = range(5)


class StrictHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with its parsing, its request cycle and its timers replaced by strict ones.

    Waits for a complete request before the application starts, so that no slow or broken body ever reaches
    it. A refused peer is the exception: its head alone starts the application, which says why it is refused.
    The client's address, the caller and the path reach the application in the ASGI scope; the caller, which is
    the connection's peer unless the request carried a token, is `scope["extensions"]["govgateway"]`.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        table: ConnectionTable,
        peer: Peer,
        loop: asyncio.AbstractEventLoop,
        authenticate: Authenticate | None = None,
        *,
        anyone: bool = False,
    ) -> None:
        super().__init__(config, state, {}, loop)
        self._table = table
        self._limits = table.limits
        self._peer = self._caller = peer
        self._authenticate = authenticate
        self._anyone = anyone
        self._phase = _IDLE
        self._buffer = bytearray()
        self._body: BodyReader | None = None
        self._body_bytes = 0
        self._early = 0
        self._pending_head: Head | None = None
        self._retiring = False
        self._request: RequestCycle | None = None
        self._no_room: GatewayError | None = None

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - narrows the type
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server = get_local_addr(transport)
        self.client = get_remote_addr(transport)
        self._no_room = self._table.identified(self._peer)
        refused = self._no_room is not None or self._peer.identity is None
        limits = self._limits
        self._set_deadline(limits.header_timeout_seconds if refused else limits.idle_timeout_seconds)

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        try:
            if phase == _IDLE:
                self._take_head(data)
            elif phase == _HEAD:
                self._continue_head(data)
            elif phase == _BODY:
                self._take_body(data)
            elif phase == _ANSWER:
                self._take_early(data)
        except GatewayError as error:
            self.refuse(error)

    def eof_received(self) -> None:
        self._phase = _CLOSED
        self._drop_body()
        if self._request is not None:
            self._request.client_left()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.eof_received()
        self.flow.resume_writing()

    # From the connection table, through the transport.

    def timed_out(self) -> None:
        """The deadline of the phase has passed."""
        limits = self._limits
        if self._phase == _HEAD:
            self.refuse(
                RequestTimeoutError(
                    f"The request head took longer than {limits.header_timeout_seconds:g} seconds.",
                    code="header-timeout",
                )
            )
        elif self._phase == _BODY:
            self.refuse(
                RequestTimeoutError(
                    f"The request body took longer than {limits.body_timeout_seconds:g} seconds.",
                    code="body-timeout",
                )
            )
        else:
            self._phase = _CLOSED
            self.transport.close()

    def write_timed_out(self) -> None:
        """The client has left its answer unread for too long; the transport is about to be cut."""
        self._table.observer.request_refused(
            "write-timeout",
            self._peer,
            f"The client left its answer unread for {self._limits.write_timeout_seconds:g} seconds.",
        )
        self.eof_received()

    def retire(self) -> None:
        """Close once the request under way, if any, is answered."""
        self._retiring = True
        if self._phase == _IDLE:
            self._phase = _CLOSED
            self.transport.close()

    # From the request cycle.

    def write(self, data: bytes) -> None:
        """Send bytes of the answer."""
        self.transport.write(data)

    def date_line(self) -> bytes:
        """Return the current `Date` header line."""
        return self._table.date

    def may_keep_alive(self) -> bool:
        """Whether the connection may serve another request."""
        return not self._retiring

    def answered(self, *, keep_alive: bool) -> None:
        """The answer is complete: wait for the next request, or close."""
        self.server_state.total_requests += 1
        self._request = None
        if self._phase == _CLOSED:
            return
        if not keep_alive:
            self._phase = _CLOSED
            self.transport.close()
        elif self._early:
            self.refuse(
                RequestError(
                    "A request was sent before the answer to the former one was complete.",
                    remedy="Send one request at a time on a connection; do not pipeline.",
                    code="pipelining",
                )
            )
        elif self._retiring:
            self._phase = _CLOSED
            self.transport.close()
        else:
            self._phase = _IDLE
            self._set_deadline(self._limits.idle_timeout_seconds)

    def refuse(self, error: GatewayError) -> None:
        """Answer with the problem document of `error`, tell the observer, and close."""
        if self._phase == _CLOSED:
            return
        self._phase = _CLOSED
        self._drop_body()
        self._table.observer.request_refused(error.code, self._peer, error.detail)
        self.transport.write(render(error, self._table.date))
        self.transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._phase = _CLOSED
        self.transport.abort()

    # Inside.

    def _set_deadline(self, seconds: float) -> None:
        connection: Connection = self.transport  # type: ignore[assignment]  # always a TlsConnection
        connection.deadline = self.loop.time() + seconds if seconds != NEVER else NEVER

    def _take_head(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n") + 4
        if end > 3:
            if end > self._limits.header_bytes:
                raise self._head_too_large()
            self._begin(parse_head(data[:end] if end < len(data) else data), data[end:])
            return
        self._phase = _HEAD
        self._set_deadline(self._limits.header_timeout_seconds)
        self._buffer = bytearray(data)
        self._check_partial_head(0)

    def _continue_head(self, data: bytes) -> None:
        buffer = self._buffer
        before = len(buffer)
        buffer += data
        end = buffer.find(b"\r\n\r\n", max(before - 3, 0)) + 4
        if end > 3:
            if end > self._limits.header_bytes:
                raise self._head_too_large()
            head, rest = bytes(buffer[:end]), bytes(buffer[end:])
            self._buffer = bytearray()
            self._begin(parse_head(head), rest)
            return
        self._check_partial_head(before)

    def _check_partial_head(self, before: int) -> None:
        if len(self._buffer) > self._limits.header_bytes:
            raise self._head_too_large()
        check_partial(self._buffer, before)

    def _head_too_large(self) -> HeadersTooLargeError:
        return HeadersTooLargeError(
            f"The request head is larger than {self._limits.header_bytes} bytes.",
            remedy="Send fewer or shorter header fields.",
            code="head-too-large",
        )

    def _begin(self, head: Head, rest: bytes) -> None:
        """Take the body that belongs to `head`; `rest` is what came after it."""
        if self._no_room is not None:
            raise self._no_room
        peer = self._peer
        if self._authenticate is not None:
            peer = self._authenticate(peer, head.target.partition(b"?")[0].decode("ascii"), head.fields)
        self._caller = peer
        if peer.identity is None and not self._anyone:
            self._start(head, None)
            return
        length = head.length
        limit = self._limits.body_bytes
        if length > limit:
            raise too_large(limit)
        if 0 <= length <= len(rest):
            self._start(head, rest[:length])
            if len(rest) > length:
                self._take_early(rest[length:])
            return
        self._pending_head = head
        self._body = ChunkedBody(limit) if length == CHUNKED else LengthBody(length)
        self._phase = _BODY
        self._set_deadline(self._limits.body_timeout_seconds)
        if rest:
            self._take_body(rest)
        if head.expects_continue and not rest and self._phase == _BODY:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _take_body(self, data: bytes) -> None:
        body, head = self._body, self._pending_head
        assert body is not None and head is not None  # noqa: S101, PT018 - set together, in this phase
        early = body.feed(data)
        if early is None:
            self._hold(len(data))
            return
        self._drop_body()
        self._start(head, body.body())
        if early:
            self._take_early(early)

    def _hold(self, size: int) -> None:
        self._body_bytes += size
        if not self._table.hold_body(self._peer.id, size):
            raise UnavailableError(
                "This worker holds too many request bodies that are not complete, or too many of this caller.",
                remedy="Try again later.",
                code="body-memory",
                headers=((b"retry-after", b"1"),),
            )

    def _drop_body(self) -> None:
        if self._body_bytes:
            self._table.drop_body(self._peer.id, self._body_bytes)
            self._body_bytes = 0
        self._body = self._pending_head = None

    def _take_early(self, data: bytes) -> None:
        """Note bytes that arrive while an answer is under way; they are not read, and not kept."""
        self._early += len(data)
        if self._caller.identity is None and not self._anyone:  # the body of a request whose head alone is answered
            if self._early > self._limits.body_bytes:
                self.abort()
        elif self._early > EARLY_BYTES:
            self._table.observer.request_refused(
                "pipelining", self._peer, f"The client sent more than {EARLY_BYTES} bytes ahead of its answer."
            )
            self.abort()

    def _start(self, head: Head, body: bytes | None) -> None:
        raw_path, _, query = head.target.partition(b"?")
        path = raw_path.decode("ascii")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": "1.1",
            "method": head.method,
            "scheme": "https",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": head.fields,
            "client": self.client,
            "server": self.server,
            "state": {},
            "extensions": {"govgateway": self._caller},
        }
        self._phase = _ANSWER
        self._set_deadline(NEVER)
        keep_alive = head.keep_alive and body is not None
        self._request = request = RequestCycle(self, scope, body, keep_alive=keep_alive)
        request.task = task = self.loop.create_task(request.run(self.app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
