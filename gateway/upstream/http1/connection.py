"""One connection to a backend: writes a request, reads one answer at a time with llhttp, and bounds it.

Rules beyond the parser's (RFC 9112): interim answers (1xx) are skipped and 101 is refused; an answer with two lengths,
of another version than HTTP/1.0 or 1.1, or chunked in HTTP/1.0 is refused; trailers are dropped; bytes after the end
of an answer belong to nobody and make the connection unusable. The body is handed on as it arrives; while nobody
reads, at most `HIGH_WATER` bytes and one read of the socket are kept, and the socket is paused.
"""

import asyncio
import select
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

from gateway.errors import UpstreamError, UpstreamTimeoutError

HEAD_BYTES = 65_536
"""Largest head of an answer, and most bytes without one of the body (chunk extensions, trailers) after it (bytes)."""

HIGH_WATER = 262_144
"""Bytes of a body that may wait to be read before the socket is paused."""


class BrokenConnectionError(Exception):
    """The connection ended before the answer did."""


class Connection(asyncio.Protocol):
    """One TCP or TLS connection.

    Attributes:
        status, headers: head of the current answer.
        reusable: whether another request may follow.
        closed: whether the connection is gone.
    """

    __slots__ = (
        "_body_done",
        "_chunks",
        "_failure",
        "_framing_bytes",
        "_head_done",
        "_lengths",
        "_loop",
        "_on_lost",
        "_parser",
        "_paused",
        "_poll",
        "_transport",
        "_waiter",
        "_waiting",
        "closed",
        "headers",
        "idle_since",
        "reusable",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: "Callable[[Connection], None]") -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._paused = False
        self._failure: Exception | None = None
        self._head_done = False
        self._body_done = True
        self._framing_bytes = 0
        self._lengths = 0
        self._poll: select.poll | None = None
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.reusable = False
        self.closed = False
        self.idle_since = 0.0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None or self._body_done:
            # Nothing was asked: whatever this is, no later answer may be taken from this connection.
            self.abort()
            return
        self._framing_bytes += len(data)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._refuse(error)
        else:
            if self._framing_bytes > HEAD_BYTES and not self._body_done:
                self._fail(_too_large())

    def eof_received(self) -> bool:
        if self._head_done and not self._body_done and not self._lengths and self._failure is None:
            # A body that ends with the connection (RFC 9112, section 6.3, rule 8).
            self.reusable = False
            self._body_done = True
            self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.reusable = False
        self._on_lost(self)
        if not self._body_done and self._failure is None:
            self._failure = BrokenConnectionError(str(exc or "the model server closed the connection"))
        self._wake()

    # httptools callbacks

    def on_message_begin(self) -> None:
        if self._head_done:
            raise UpstreamError("The model server answered twice.", code="upstream_malformed")
        self.headers = []
        self._lengths = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return
        name = name.lower()
        if name in {b"content-length", b"transfer-encoding"}:
            self._lengths += 1
            if self._lengths > 1 or (name == b"transfer-encoding" and value.lower() != b"chunked"):
                raise UpstreamError("The length of the model server's answer is ambiguous.", code="upstream_malformed")
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None  # noqa: S101 - it is calling
        self.status = self._parser.get_status_code()
        if not 100 <= self.status <= 599 or self.status == 101:
            raise UpstreamError(f"The model server answered with status {self.status}.", code="upstream_malformed")
        version = self._parser.get_http_version()
        if version != "1.1" and (version != "1.0" or any(name == b"transfer-encoding" for name, _ in self.headers)):
            raise UpstreamError("The model server's answer is not HTTP/1.1.", code="upstream_malformed")
        if sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_BYTES:
            raise _too_large()
        if self.status >= 200:
            self._head_done = True
            self._framing_bytes = 0
            self.reusable = self._parser.should_keep_alive()
            self._wake()

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)
        self._framing_bytes = 0
        self._waiting += len(data)
        if self._waiting > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self._body_done = True
            self._wake()

    # what the client calls

    def send(self, head: bytes, body: bytes) -> None:
        """Write a request; the connection must be idle.

        Raises:
            BrokenConnectionError: the connection is gone; nothing was written.
        """
        assert self._transport is not None  # noqa: S101 - connected
        if self.closed or self._transport.is_closing():
            raise BrokenConnectionError("the model server closed the connection at once")
        self._parser = httptools.HttpResponseParser(self)
        self._chunks.clear()
        self._waiting = 0
        self._failure = None
        self._head_done = self._body_done = False
        self._framing_bytes = 0
        self._transport.write(head + body if len(body) < 65_536 else head)
        if len(body) >= 65_536:
            self._transport.write(body)

    async def read_head(self, timeout: float) -> None:  # noqa: ASYNC109 - one timer a wait, cheaper than a scope
        """Wait for the head of the answer.

        Raises:
            BrokenConnectionError: the connection ended first.
            UpstreamError: it is not an HTTP answer, or too large.
            UpstreamTimeoutError: nothing came in time.
        """
        while not self._head_done:
            self._raise_failure()
            await self._wait(timeout, "sent no answer")

    async def next_chunk(self, timeout: float) -> bytes:  # noqa: ASYNC109 - see read_head
        """Return the bytes that have arrived, waiting if there are none; empty at the end of the body.

        Raises:
            BrokenConnectionError, UpstreamError, UpstreamTimeoutError: as `read_head`.
        """
        while not self._chunks:
            if self._body_done:
                return b""
            self._raise_failure()
            await self._wait(timeout, "fell silent in the middle of its answer")
        data = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._waiting = 0
        if self._paused:
            self._paused = False
            if self._transport is not None and not self.closed and not self._transport.is_closing():
                self._transport.resume_reading()
        return data

    @property
    def complete(self) -> bool:
        """Whether the whole answer was read."""
        return self._body_done and not self._chunks

    @property
    def begun(self) -> bool:
        """Whether a byte of the answer has arrived."""
        return self._head_done or self._framing_bytes > 0

    @property
    def usable(self) -> bool:
        """Whether another request may follow: the answer allows it and the request went out whole."""
        return (
            self.reusable
            and not self.closed
            and self._transport is not None
            and not self._transport.is_closing()
            and not self._transport.get_write_buffer_size()
        )

    @property
    def silent(self) -> bool:
        """Whether the socket holds nothing unread: no end of the connection, no bytes that nobody asked for."""
        return self._poll is not None and not self._poll.poll(0)

    def abort(self) -> None:
        """Cut the connection."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self, cause: Exception) -> None:
        """Take the parser's or a callback's refusal; after the end of an answer it only ends the connection."""
        if self._body_done:
            self.abort()
            return
        error = cause.__context__
        if not isinstance(error, UpstreamError):
            error = UpstreamError("The model server's answer is not HTTP.", code="upstream_malformed")
            error.__cause__ = cause
        self._fail(error)

    def _fail(self, error: UpstreamError) -> None:
        self._failure = error
        self.abort()
        self._wake()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self, timeout: float, silence: str) -> None:  # noqa: ASYNC109 - see read_head
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout, self._timed_out, timeout, silence)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _timed_out(self, seconds: float, silence: str) -> None:
        if self._waiter is None or self._waiter.done():
            return  # what was awaited came in the same turn of the loop
        self._failure = UpstreamTimeoutError(
            f"The model server {silence} for {seconds:g} seconds.",
            remedy="Try again; if it lasts, tell the operator.",
        )
        self.abort()
        self._wake()


def _too_large() -> UpstreamError:
    return UpstreamError("The head of the model server's answer is too large.", code="upstream_head")
