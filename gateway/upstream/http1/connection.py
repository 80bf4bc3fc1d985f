"""One connection to a backend: writes a request, reads one answer at a time with llhttp, and bounds it.

Rules beyond the parser's (RFC 9112): interim answers (1xx) are skipped and 101 is refused; an answer with two lengths
is refused; bytes after the end of an answer make the connection unusable. The body is handed on as it arrives; while
nobody reads, at most `HIGH_WATER` bytes are kept and the socket is paused.
"""

import asyncio
from collections import deque
from typing import cast

import httptools

from gateway.errors import UpstreamError, UpstreamTimeoutError

HEAD_BYTES = 65_536
"""Largest head of an answer (bytes)."""

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
        "_head_bytes",
        "_head_done",
        "_lengths",
        "_loop",
        "_parser",
        "_paused",
        "_transport",
        "_waiter",
        "_waiting",
        "answer_began",
        "closed",
        "headers",
        "idle_since",
        "reusable",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._paused = False
        self._failure: Exception | None = None
        self._head_done = False
        self._body_done = True
        self._head_bytes = 0
        self._lengths = 0
        self.answer_began = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.reusable = False
        self.closed = False
        self.idle_since = 0.0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None or self._body_done:
            # Nothing was asked: whatever this is, no later answer may be taken from this connection.
            self.abort()
            return
        self.answer_began = True
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(UpstreamError("The model server tried to switch protocols.", code="upstream_malformed"))
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, UpstreamError):
                self._fail(cause)
            else:
                self._fail(
                    UpstreamError("The model server's answer is not HTTP.", code="upstream_malformed"), because=error
                )
        if not self._head_done and self._head_bytes > HEAD_BYTES:
            self._fail(UpstreamError("The head of the model server's answer is too large.", code="upstream_head"))

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
        if not self._body_done and self._failure is None:
            self._failure = BrokenConnectionError(str(exc or "the model server closed the connection"))
        self._wake()

    # httptools callbacks

    def on_message_begin(self) -> None:
        self.headers = []
        self._lengths = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in {b"content-length", b"transfer-encoding"}:
            self._lengths += 1
            if self._lengths > 1 or (name == b"transfer-encoding" and value.lower() != b"chunked"):
                raise UpstreamError("The length of the model server's answer is ambiguous.", code="upstream_malformed")
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None  # noqa: S101 - it is calling
        self.status = self._parser.get_status_code()
        if self.status == 101:
            raise UpstreamError("The model server tried to switch protocols.", code="upstream_malformed")
        if self.status >= 200:
            self._head_done = True
            self.reusable = self._parser.should_keep_alive()
            self._wake()

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)
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
        """Write a request; the connection must be idle."""
        assert self._transport is not None  # noqa: S101 - connected
        self._parser = httptools.HttpResponseParser(self)
        self._chunks.clear()
        self._waiting = 0
        self._failure = None
        self._head_done = self._body_done = self.answer_began = False
        self._head_bytes = 0
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
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            self._transport.resume_reading()
        return data

    @property
    def complete(self) -> bool:
        """Whether the whole answer was read."""
        return self._body_done and not self._chunks

    @property
    def usable(self) -> bool:
        """Whether a request can be written now."""
        return self.reusable and not self.closed and self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        """Cut the connection."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: UpstreamError, because: Exception | None = None) -> None:
        error.__cause__ = because
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
        self._failure = UpstreamTimeoutError(
            f"The model server {silence} for {seconds:g} seconds.",
            remedy="Try again; if it lasts, tell the operator.",
        )
        self.abort()
        self._wake()
