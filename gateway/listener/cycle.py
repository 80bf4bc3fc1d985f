"""One request and its answer: the ASGI side of a connection.

The body is complete before the application starts, so `receive` gives it in one message; after that it gives
`http.disconnect` once the client is gone. An application that is not waiting in `receive` at that moment is
cancelled instead: nobody is left to answer. The head of an answer that announces its length waits for the
first bytes of the body and leaves with them in one write; that of a stream leaves at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl

from gateway.errors import GatewayError
from gateway.listener.refusal import STATUS_LINES

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]

_log = logging.getLogger(__name__)


class Answering(Protocol):
    """The connection, as its request under way sees it."""

    flow: FlowControl

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def date_line(self) -> bytes:
        """Return the current `Date` header line."""

    def may_keep_alive(self) -> bool:
        """Whether the connection may serve another request."""

    def answered(self, *, keep_alive: bool) -> None:
        """The answer is complete."""

    def refuse(self, error: GatewayError) -> None:
        """Answer with the problem document of `error` and close."""

    def abort(self) -> None:
        """Cut the connection, so that the client does not take what it has for the whole."""


class RequestCycle:
    """Runs the application for one request."""

    __slots__ = (
        "_body",
        "_chunked",
        "_complete",
        "_connection",
        "_gone",
        "_head",
        "_keep_alive",
        "_left",
        "_no_body",
        "_reads",
        "_scope",
        "_started",
        "_waiter",
        "task",
    )

    def __init__(self, connection: Answering, scope: Scope, body: bytes | None, *, keep_alive: bool) -> None:
        """Args: body: None for a request whose body is not read: `receive` then tells a disconnect."""
        self._connection = connection
        self._scope = scope
        self._body = body
        self._reads = body is not None
        self._keep_alive = keep_alive
        self._head = b""
        self._left = 0
        self._chunked = False
        self._no_body: bool = scope["method"] == "HEAD"
        self._started = False
        self._complete = False
        self._gone = False
        self._waiter: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None

    async def run(self, app: App) -> None:
        """Run the application to its end; whatever it does, the client gets an answer or a cut."""
        try:
            await app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self._complete and not self._gone:
                self._connection.abort()
            return
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a panic of an extension module is no Exception
            _log.exception("the application failed")
            if not self._gone:
                self._fail("The application failed; the log of the gateway has the cause.")
            return
        finally:
            self.task = None  # or the cycle, its task and its coroutine would wait for the garbage collector
        if not self._complete and not self._gone:
            _log.error("the application returned without a complete answer")
            self._fail("The application gave no complete answer.")

    def _fail(self, detail: str) -> None:
        if self._complete:
            return
        self._complete = True
        if self._started and not self._head:
            self._connection.abort()
        else:
            self._connection.refuse(GatewayError(detail))

    def client_left(self) -> None:
        """Tell the application, once, that nobody waits for its answer any more."""
        if self._gone or self._complete:
            return
        self._gone = True
        waiter = self._waiter
        if waiter is not None:
            if not waiter.done():
                waiter.set_result(None)
        elif self.task is not None:
            self.task.cancel()

    async def receive(self) -> Message:
        """ASGI `receive`."""
        body = self._body
        if body is not None:
            self._body = None
            return {"type": "http.request", "body": body, "more_body": False}
        if self._reads and not (self._gone or self._complete):
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI `send`; waits while the client reads too slowly."""
        connection = self._connection
        if connection.flow.write_paused:
            await connection.flow.drain()
        if self._gone:
            return
        kind = message["type"]
        if kind == "http.response.body":
            if not self._started or self._complete:
                raise RuntimeError(f"{kind} is out of turn")
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.start":
            if self._started:
                raise RuntimeError("the answer was started before")
            self._head = self._render_head(message["status"], message.get("headers", ()))
            self._started = True
            if self._chunked:
                self._connection.write(self._head)
                self._head = b""
        else:
            raise RuntimeError(f"{kind} is not a message of an HTTP answer")

    def _render_head(self, status: int, fields: Any) -> bytes:
        parts = [STATUS_LINES[status]]
        lines = 2
        left = -1
        dated = False
        for name, value in fields:
            if name == b"content-length":
                left = int(value)
            elif name == b"connection":
                if value.lower() == b"close":
                    self._keep_alive = False
                continue
            elif name == b"transfer-encoding":
                continue  # framing is decided here
            elif name == b"date":
                dated = True
            parts.append(b"%b: %b\r\n" % (name, value))
            lines += 1
        if not dated:
            parts.append(self._connection.date_line())
            lines += 1
        if status in (204, 304):
            self._no_body = True
        elif left < 0 and not self._no_body:
            self._chunked = True
            parts.append(b"transfer-encoding: chunked\r\n")
            lines += 1
        if not (self._keep_alive and self._connection.may_keep_alive()):
            self._keep_alive = False
            parts.append(b"connection: close\r\n")
            lines += 1
        parts.append(b"\r\n")
        head = b"".join(parts)
        if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
            raise RuntimeError("a header field of the answer has a line break or NUL in it")
        self._left = max(left, 0)
        return head

    def _send_body(self, data: bytes, *, more: bool) -> None:
        if self._no_body:
            data = b""
        elif self._chunked:
            if data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            if not more:
                data += b"0\r\n\r\n"
        else:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                self._complete = True
                self._connection.abort()
                raise RuntimeError("the answer's body is not as long as its content-length")
        if self._head:
            data = self._head + data
            self._head = b""
        if data:
            self._connection.write(data)
        if not more:
            self._complete = True
            waiter = self._waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
            self._connection.answered(keep_alive=self._keep_alive)
