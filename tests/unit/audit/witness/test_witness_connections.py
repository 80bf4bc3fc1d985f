"""Who holds connections open, sends without end or never reads gets no more of a witness than others."""

import asyncio
from contextlib import asynccontextmanager

import pytest
import uvicorn
from uvicorn.server import ServerState

from audit.witness import protocol, serving
from audit.witness.protocol import MAX_HEAD_BYTES, BoundedProtocol

pytestmark = pytest.mark.filterwarnings("error")
POST = b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\n"
GET = b"GET / HTTP/1.1\r\nhost: w\r\n\r\n"
WAIT = 30


class Answers:
    """Rules that know nothing, or answer with much."""

    body = b"no\n"

    def add_checkpoint(self, body):
        return serving.Answer(400, self.body)


@asynccontextmanager
async def listening(rules=None):
    """A server on a free port, and what opens connections to it."""
    config = uvicorn.Config(
        serving.WitnessApp(rules or Answers()), http=BoundedProtocol, h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws="none", lifespan="off", log_config=None, log_level="error", limit_concurrency=protocol.MAX_CONNECTIONS + 1,
    )  # fmt: skip
    config.load()
    state, loop, opened = ServerState(), asyncio.get_running_loop(), []
    server = await loop.create_server(lambda: BoundedProtocol(config, state, {}), "127.0.0.1", 0)

    async def connect():
        opened.append(await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1]))
        return opened[-1]

    try:
        yield connect
    finally:
        for _, writer in opened:
            writer.transport.abort()
        server.close()
        await server.wait_closed()
        while state.connections or state.tasks:
            await asyncio.sleep(0.01)


async def status(reader):
    async with asyncio.timeout(WAIT):
        head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split()[1])


async def ended(reader):
    """Wait until the witness has closed the connection; return what it said before."""
    said = bytearray()
    async with asyncio.timeout(WAIT):
        try:
            while piece := await reader.read(65_536):
                said += piece
        except ConnectionError:
            pass
    return bytes(said)


@pytest.mark.parametrize("begun", [b"", b"PO", POST, POST + b"content-length: 5\r\n\r\nab"])
async def test_a_request_that_is_never_whole_ends(monkeypatch, begun):
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.3)
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(begun)
        assert await ended(reader) == b""


async def test_a_request_that_comes_byte_by_byte_ends(monkeypatch):
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.5)
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(POST)
        gone = asyncio.create_task(ended(reader))
        while not gone.done():
            writer.write(b"x: y\r\n")
            await asyncio.sleep(0.05)
        assert gone.result() == b""


@pytest.mark.parametrize("head", [b"x: " + b"a" * 100_000, b"".join(b"x-%d: y\r\n" % n for n in range(10_000))])
async def test_a_head_without_end_is_refused(head):
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(POST + head)
        assert (await ended(reader)).startswith(b"HTTP/1.1 400 ")


async def test_what_follows_a_body_that_is_too_large_is_not_taken_for_ever(monkeypatch):
    monkeypatch.setattr(protocol, "REST_SECONDS", 0.3)
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(POST + b"content-length: 1000000000\r\n\r\n" + bytes(serving.MAX_BODY_BYTES + 1))
        assert await status(reader) == 413
        gone = asyncio.create_task(ended(reader))
        while not gone.done():
            writer.write(bytes(100))
            await asyncio.sleep(0.05)


async def test_an_answer_that_nobody_reads_is_given_up(monkeypatch):
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.5)
    rules = Answers()
    rules.body = bytes(50_000_000)
    async with listening(rules) as connect:
        reader, writer = await connect()
        writer.write(POST + b"content-length: 0\r\n\r\n")
        await status(reader)
        reader._transport.pause_reading()
        await asyncio.sleep(1)
        reader._transport.resume_reading()
        assert len(await ended(reader)) < len(rules.body)


async def test_a_connection_serves_one_request_after_another_and_may_rest_between_them(monkeypatch):
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.3)
    async with listening() as connect:
        reader, writer = await connect()
        for pause in (0.6, 0):
            writer.write(POST + b"content-length: 3\r\n\r\nold")
            assert await status(reader) == 400
            assert await reader.readexactly(3) == b"no\n"
            await asyncio.sleep(pause)
        writer.write(GET + GET)
        assert await status(reader) == 404


@pytest.mark.parametrize("held", [b"", POST, POST + b"content-length: 5\r\n\r\nab"])
async def test_connections_that_are_only_held_make_room_for_who_asks(monkeypatch, held):
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 5)
    async with listening() as connect:
        pairs = [await connect() for _ in range(5)]
        for _, writer in pairs:
            writer.write(held)
            await writer.drain()
        for first in range(3):
            reader, writer = await connect()
            writer.write(GET)
            assert await status(reader) == 404
            assert await ended(pairs[first][0]) == b""
        pairs[4][1].write(GET if not held else b"")
        if not held:
            assert await status(pairs[4][0]) == 404


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\r\n\r\n", b"POST\r\n\r\n", POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", POST + b"content-length: -1\r\n\r\n",
        POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n-\r\n", b"POST /\xff HTTP/1.1\r\nhost: w\r\n\r\n",
        b"POST /add-checkpoint HTTP/9.9\r\n\r\n", POST + b"a b: c\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n3;" + b"x" * 60_000,
    ],
)  # fmt: skip
async def test_what_is_no_http_is_refused(raw):
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(raw)
        assert await status(reader) in {400, 404}


async def test_what_is_no_http_after_the_answer_only_ends_the_connection(caplog):
    async with listening() as connect:
        reader, writer = await connect()
        writer.write(b"GET /add-checkpoint HTTP/1.1\r\nhost: w\r\ntransfer-encoding: chunked\r\n\r\n")
        assert await status(reader) == 405
        writer.write(b"zz\r\n")
        await ended(reader)
    assert not caplog.records
