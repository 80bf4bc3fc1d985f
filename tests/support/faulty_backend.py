"""A model server that misbehaves on demand, on a port of its own, in a thread of the test process."""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
ANSWER = {
    "id": "c", "object": "chat.completion", "created": 0, "model": "m", "usage": USAGE,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "two words"}, "finish_reason": "stop"}],
}  # fmt: skip
JSON = "content-type: application/json\r\n"
STREAM = "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
REDIRECT_TARGET = "http://127.0.0.1:9/v1/chat/completions"


@dataclass
class Received:
    """One request as it arrived."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: Received = field(default_factory=lambda: Received("", [], b""))

    async def head(self, status: str = "200 OK", fields: str = JSON) -> None:
        await self.raw(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode())

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    async def event(self, document: object) -> None:
        await self.chunk(b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n")

    async def words(self, delay: float = 0.0) -> None:
        """Send the beginning of a stream: a head and two words."""
        await self.head(fields=STREAM)
        for count, word in enumerate(("two", " words"), 1):
            usage = {**USAGE, "completion_tokens": count}
            choices = [{"index": 0, "delta": {"content": word}, "finish_reason": None}]
            wanted = (self.request.json().get("stream_options") or {}).get("continuous_usage_stats")
            await self.event({**CHUNK, "choices": choices, **({"usage": usage} if wanted else {})})
            await asyncio.sleep(delay)

    async def whole(self, body: bytes, status: str = "200 OK", fields: str = JSON) -> None:
        """Send a whole answer."""
        await self.head(status, f"{fields}content-length: {len(body)}\r\n")
        await self.raw(body)

    async def until_left(self) -> None:
        """Wait until the other side closes the connection."""
        while await self.reader.read(65_536):
            pass

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def _none(c: _Connection, delay: float = 0.0) -> bool:
    if not c.request.json().get("stream"):
        await asyncio.sleep(delay)
        await c.whole(json.dumps(ANSWER).encode())
        return True
    await c.words(delay)
    if (c.request.json().get("stream_options") or {}).get("include_usage"):
        await c.event({**CHUNK, "choices": [], "usage": USAGE})
    await c.chunk(b"data: [DONE]\n\n")
    await c.raw(b"0\r\n\r\n")
    return True


async def _slow(c: _Connection) -> bool:
    return await _none(c, 0.3)


async def _hang_before_head(c: _Connection) -> None:
    await c.until_left()


async def _hang_mid_stream(c: _Connection) -> None:
    await c.words()
    await c.until_left()


async def _reset_before_head(c: _Connection) -> None:
    c.reset()


async def _reset_mid_stream(c: _Connection) -> None:
    await c.words()
    await asyncio.sleep(0.05)  # a reset overtakes bytes that were not read yet
    c.reset()


async def _close_mid_stream(c: _Connection) -> None:
    await c.words()


async def _close_mid_event(c: _Connection) -> None:
    await c.words()
    await c.chunk(b'data: {"id":"c","choi')
    await c.raw(b"0\r\n\r\n")


async def _close_mid_body(c: _Connection) -> None:
    await c.head(fields=JSON + "content-length: 1000\r\n")
    await c.raw(b'{"id":')


async def _garbage_head(c: _Connection) -> None:
    await c.raw(b"\x00\x01 this is not HTTP\r\n\r\n")


async def _garbage_body(c: _Connection) -> None:
    await c.whole(b"<html>not JSON</html>")


async def _garbage_stream(c: _Connection) -> None:
    await c.words()
    await c.chunk(b'data: {"usage": not json}\n\n')
    await c.raw(b"0\r\n\r\n")


async def _error_in_stream(c: _Connection) -> None:
    await c.words()
    await c.event({"error": {"message": "the engine is dead", "type": "InternalServerError", "code": 500}})
    await c.chunk(b"data: [DONE]\n\n")
    await c.raw(b"0\r\n\r\n")


async def _redirect(c: _Connection) -> None:
    await c.whole(b"", "307 Temporary Redirect", f"{JSON}location: {REDIRECT_TARGET}\r\n")


async def _error_400(c: _Connection) -> None:
    body = {"error": {"message": "the prompt is too long", "type": "BadRequestError", "param": None, "code": 400}}
    await c.whole(json.dumps(body).encode(), "400 Bad Request")


async def _error_500(c: _Connection) -> None:
    await c.whole(b'{"error":{"message":"secret stack trace"}}', "500 Internal Server Error")


async def _busy(c: _Connection) -> None:
    await c.whole(b"{}", "503 Service Unavailable", JSON + "retry-after: 7\r\n")


async def _wrong_content_type(c: _Connection) -> None:
    await c.whole(json.dumps(ANSWER).encode(), fields="content-type: text/html\r\n")


async def _compressed(c: _Connection) -> None:
    await c.whole(b"\x1f\x8b\x08\x00", fields=JSON + "content-encoding: gzip\r\n")


async def _oversize(c: _Connection) -> None:
    """A body that never ends, in the type asked for; stops when the other side has had enough."""
    await c.head(fields=STREAM if c.request.json().get("stream") else JSON + "transfer-encoding: chunked\r\n")
    block = b"x" * 1_048_576
    for _ in range(256):
        await c.chunk(block)


async def _huge_header(c: _Connection) -> None:
    await c.whole(b"{}", fields=JSON + f"x-huge: {'x' * 1_048_576}\r\n")


async def _two_lengths(c: _Connection) -> None:
    await c.head(fields=JSON + "content-length: 2\r\ntransfer-encoding: chunked\r\n")
    await c.chunk(json.dumps(ANSWER).encode())
    await c.raw(b"0\r\n\r\n")


async def _own_headers(c: _Connection) -> None:
    fields = JSON + "set-cookie: session=1\r\nserver: vllm\r\nx-internal: 10.0.0.7\r\n"
    await c.whole(json.dumps(ANSWER).encode(), fields=fields)


FAULTS: dict[str, Callable[[_Connection], Awaitable[bool | None]]] = {
    function.__name__[1:].replace("_", "-"): function
    for function in (
        _none, _slow, _hang_before_head, _hang_mid_stream, _reset_before_head, _reset_mid_stream,
        _close_mid_stream, _close_mid_event, _close_mid_body, _garbage_head, _garbage_body, _garbage_stream,
        _error_in_stream, _redirect, _error_400, _error_500, _busy, _wrong_content_type, _compressed, _oversize,
        _huge_header, _two_lengths, _own_headers,
    )
}  # fmt: skip
"""What can go wrong, by name. A server that refuses connections is `refused_url`."""


class FaultyBackend:
    """Answers each POST as `fault` says at that moment; `none` is a well-behaved server.

    Attributes:
        fault: a name of `FAULTS`; set it at any time.
        requests: every request received, in order.
        open: connections open now, so that a test can see a cancelled call end.
    """

    def __init__(self, fault: str = "none") -> None:
        self.fault = fault
        self.requests: list[Received] = []
        self.open = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        """Base URL, with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            connection = _Connection(reader, writer)
            while await self._read(connection) and await FAULTS[self.fault](connection):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _read(self, connection: _Connection) -> bool:
        head = (await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head[:-4].split("\r\n")
        headers = [(name.lower(), value.strip()) for name, _, value in (f.partition(":") for f in fields)]
        length = int(dict(headers).get("content-length", "0"))
        connection.request = Received(line, headers, await connection.reader.readexactly(length))
        self.requests.append(connection.request)
        return True


@contextlib.contextmanager
def refused_url() -> Iterator[str]:
    """Yield a base URL whose port refuses connections and is not given to anybody else meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}/v1"
