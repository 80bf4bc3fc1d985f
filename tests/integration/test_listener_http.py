"""HTTP/1.1 through the real listener: framing, bounds, slow clients, streams, and clients that leave."""

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.model import ListenerLimits
from gateway.listener import connections
from tests.support.listening import Authority, Client, RunningListener, client_context, eventually

OURS = Authority("ours.test")
SERVER = OURS.issue("spiffe://ours.test/gateway")
AGENT = OURS.issue("spiffe://ours.test/agent/a")

LIMITS = ListenerLimits(
    header_bytes=2048,
    body_bytes=100_000,
    header_timeout_seconds=1.5,
    body_timeout_seconds=1.5,
    idle_timeout_seconds=1.5,
    write_timeout_seconds=0.5,
)


class Application:
    """Does what the path says, and keeps what happened to it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.ended: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].strip("/")
        self.seen.append(path)
        try:
            await getattr(self, path)(scope, receive, send)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("returned")

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        assert message["more_body"] is False
        await reply(send, message["body"])

    async def slow(self, scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.3)
        await reply(send, b"slow")

    async def hang(self, scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def waits(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        self.ended.append((await receive())["type"])

    async def stream(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(5):
            await asyncio.sleep(0.01)
            await send({"type": "http.response.body", "body": b"%d;" % number, "more_body": True})
        await send({"type": "http.response.body"})

    async def flood(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10_000):
            self.seen.append("chunk")
            await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})

    async def raises(self, scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("secret cause")

    async def breaks(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("secret cause")

    async def returns(self, scope: Any, receive: Any, send: Any) -> None:
        return

    async def short(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"half"})

    async def splits(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nset-cookie: b")]})
        await send({"type": "http.response.body", "body": b"never"})


async def reply(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def app() -> Application:
    return Application()


@pytest.fixture
def listener(app: Application) -> Iterator[RunningListener]:
    with RunningListener(app, SERVER, [OURS.bundle], LIMITS) as running:
        yield running


@pytest.fixture
def client(listener: RunningListener, tmp_path: Path) -> Iterator[Client]:
    with Client(listener, client_context(AGENT, tmp_path)) as connected:
        yield connected


def request(*fields: bytes, line: bytes = b"POST /echo HTTP/1.1", body: bytes = b"") -> bytes:
    return line + b"\r\nHost: a\r\n" + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body


def with_length(body: bytes, line: bytes = b"POST /echo HTTP/1.1") -> bytes:
    return request(b"Content-Length: %d" % len(body), line=line, body=body)


def assert_refused(client: Client, listener: RunningListener, status: int, rule: str) -> None:
    """The answer is a problem document that names the rule, the connection closes, the observer knows."""
    answer = client.answer()
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    problem = json.loads(answer.body)
    assert problem["code"] == rule
    assert problem["status"] == status
    assert client.is_closed()
    eventually(lambda: listener.observer.refusals)
    [(reported, peer, detail)] = listener.observer.refusals
    assert (reported, peer.id, detail) == (rule, "spiffe://ours.test/agent/a", problem["detail"])


def test_requests_follow_each_other_on_one_connection(client: Client) -> None:
    for size in (0, 1, 20_000, 99_999):
        answer = client.ask(with_length(bytes(size)))
        assert (answer.status, len(answer.body)) == (200, size)
        assert "connection" not in answer.headers
        assert answer.headers["date"].endswith("GMT")


def test_a_request_in_single_bytes_is_the_same_request(client: Client) -> None:
    for byte in with_length(b"body"):
        client.send(bytes([byte]))
    assert client.answer().body == b"body"


def test_a_chunked_body_arrives_whole(client: Client) -> None:
    head = request(b"Transfer-Encoding: chunked")
    assert client.ask(head + b"4\r\nbody\r\n2\r\n!!\r\n0\r\n\r\n").body == b"body!!"
    client.send(head)
    for part in (b"4\r\nbo", b"dy\r", b"\n0", b"\r\n\r", b"\n"):
        time.sleep(0.01)
        client.send(part)
    assert client.answer().body == b"body"


def test_the_connection_closes_when_the_client_asks(client: Client) -> None:
    answer = client.ask(request(b"Connection: close"))
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert client.is_closed()


def test_100_continue_is_sent_when_the_body_is_wanted(client: Client) -> None:
    client.send(request(b"Content-Length: 4", b"Expect: 100-continue"))
    assert client.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body")
    assert client.answer().body == b"body"


def test_100_continue_is_not_sent_for_a_body_that_is_refused(client: Client, listener: RunningListener) -> None:
    client.send(request(b"Content-Length: 100001", b"Expect: 100-continue"))
    assert_refused(client, listener, 413, "body-too-large")


@pytest.mark.parametrize(
    ("raw", "status", "rule"),
    [
        (b"POST /echo HTTP/1.1\nHost: a\n\n", 400, "bare-line-feed"),
        (request(b"X: a\rb"), 400, "bare-carriage-return"),
        (request(b"X: a", b" b"), 400, "line-folding"),
        (request(b"X: \0"), 400, "control-character"),
        (request(b"X : a"), 400, "space-before-colon"),
        (request(b"Content-Length: 1", b"Content-Length: 1", body=b"x"), 400, "content-length-repeated"),
        (request(b"Content-Length: 1, 1", body=b"x"), 400, "content-length-invalid"),
        (
            request(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
            400,
            "length-and-chunked",
        ),
        (request(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400, "transfer-encoding"),
        (request(b"Host: b"), 400, "host-repeated"),
        (b"GET /echo HTTP/1.1\r\n\r\n", 400, "host-missing"),
        (request(line=b"GET /echo HTTP/1.0"), 505, "http-version"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http-version"),
        (request(line=b"GET http://b/ HTTP/1.1"), 400, "request-target"),
        (request(line=b"CONNECT b:443 HTTP/1.1"), 400, "request-target"),
        (request(b"Upgrade: websocket", b"Connection: upgrade"), 400, "upgrade"),
        (request(b"Expect: wonders"), 400, "expectation"),
        (request(b"Content-Length: 100001"), 413, "body-too-large"),
        (request(b"Transfer-Encoding: chunked", body=b"186a1\r\n"), 413, "body-too-large"),
        (request(b"Transfer-Encoding: chunked", body=b"1;x\r\na\r\n0\r\n\r\n"), 400, "chunk-extension"),
        (request(b"Transfer-Encoding: chunked", body=b"0\r\nX: y\r\n\r\n"), 400, "trailers"),
        (request(b"X: " + b"a" * 2048), 431, "head-too-large"),
        (b"GET /" + b"a" * 2048, 431, "head-too-large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_request_never_reaches_the_application(
    client: Client, listener: RunningListener, app: Application, raw: bytes, status: int, rule: str
) -> None:
    client.send(raw)
    assert_refused(client, listener, status, rule)
    assert app.seen == []


def test_a_request_sent_before_the_answer_is_refused_after_it(
    client: Client, listener: RunningListener, app: Application
) -> None:
    client.send(with_length(b"one") + with_length(b"two"))
    assert client.answer().body == b"one"
    assert_refused(client, listener, 400, "pipelining")
    assert app.seen == ["echo"]


def test_a_request_sent_while_an_answer_is_made_is_refused_after_it(
    client: Client, listener: RunningListener, app: Application
) -> None:
    client.send(request(line=b"GET /slow HTTP/1.1"))
    eventually(lambda: app.seen)
    client.send(with_length(b"two"))
    assert client.answer().body == b"slow"
    assert_refused(client, listener, 400, "pipelining")
    assert app.seen == ["slow"]


def test_a_client_that_floods_instead_of_waiting_is_cut(
    client: Client, listener: RunningListener, app: Application
) -> None:
    client.send(request(line=b"GET /hang HTTP/1.1"))
    eventually(lambda: app.seen)
    with contextlib.suppress(ConnectionError, ssl.SSLError):  # it may be cut before all of it is sent
        client.send(bytes(100_000))
    assert client.is_closed()
    eventually(lambda: app.ended == ["cancelled"])
    assert [rule for rule, _, _ in listener.observer.refusals] == ["pipelining"]


def test_a_body_larger_than_announced_is_a_second_request(client: Client, listener: RunningListener) -> None:
    client.send(request(b"Content-Length: 3", body=b"one!"))
    assert client.answer().body == b"one"
    assert_refused(client, listener, 400, "pipelining")


def test_the_answer_to_a_refused_upload_arrives_while_the_client_still_sends(
    client: Client, listener: RunningListener
) -> None:
    client.send(request(b"Content-Length: 2000000"))
    for _ in range(20):
        client.send(bytes(50_000))
    assert_refused(client, listener, 413, "body-too-large")


def test_a_slow_head_is_cut(client: Client, listener: RunningListener, app: Application) -> None:
    client.send(b"GET /echo HTTP/1.1\r\nHost: a\r\n")
    for _ in range(100):  # progress does not buy time: refused although the next line is always near
        if listener.observer.refusals:
            break
        client.send(b"X: a\r\n")
        time.sleep(0.1)
    assert_refused(client, listener, 408, "header-timeout")
    assert app.seen == []


@pytest.mark.parametrize("framing", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_a_slow_body_is_cut(client: Client, listener: RunningListener, app: Application, framing: bytes) -> None:
    client.send(request(framing, body=b"1\r\na\r\n"))
    assert_refused(client, listener, 408, "body-timeout")
    assert app.seen == []


def test_incomplete_bodies_are_held_only_up_to_a_bound(
    client: Client, listener: RunningListener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BODY_MEMORY_BYTES", 60_000)
    with Client(listener, client_context(AGENT, tmp_path)) as first:
        first.send(request(b"Content-Length: 50000", body=bytes(40_000)))
        client.send(request(b"Content-Length: 50000", body=bytes(40_000)))
        assert_refused(client, listener, 503, "body-memory")
        first.send(bytes(10_000))
        assert first.answer().body == bytes(50_000)
        assert first.ask(with_length(bytes(50_000))).body == bytes(50_000)


def test_an_idle_connection_is_closed_without_a_word(client: Client, listener: RunningListener) -> None:
    client.ask(with_length(b"one"))
    began = time.monotonic()
    assert client.is_closed()
    assert time.monotonic() - began > 0.5
    assert listener.observer.refusals == []


def test_a_client_that_does_not_read_is_cut(client: Client, listener: RunningListener, app: Application) -> None:
    client.send(request(line=b"GET /flood HTTP/1.1"))
    eventually(lambda: listener.observer.refusals)
    assert [rule for rule, _, _ in listener.observer.refusals] == ["write-timeout"]
    eventually(lambda: app.ended == ["cancelled"])
    # Back-pressure: what was produced is bounded by the buffers between, not by the application.
    assert app.seen.count("chunk") < 500


def test_a_stream_arrives_in_chunks_and_the_connection_goes_on(client: Client) -> None:
    answer = client.ask(request(line=b"GET /stream HTTP/1.1"))
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.body == b"0;1;2;3;4;"
    assert client.ask(with_length(b"next")).body == b"next"


def test_the_head_of_a_stream_arrives_before_its_first_chunk(client: Client) -> None:
    client.send(request(line=b"GET /flood HTTP/1.1"))
    assert client.sock.recv(15) == b"HTTP/1.1 200 OK"


def test_an_answer_to_head_has_no_body(client: Client) -> None:
    client.send(with_length(b"body", line=b"HEAD /echo HTTP/1.1"))
    answer = client.answer("HEAD")
    assert (answer.headers["content-length"], answer.body) == ("4", b"")
    assert client.ask(with_length(b"next")).body == b"next"


@pytest.mark.parametrize("how", ["close", "reset", "close_notify"])
def test_when_the_client_leaves_the_application_is_cancelled(
    client: Client, listener: RunningListener, app: Application, how: str
) -> None:
    client.send(request(line=b"GET /hang HTTP/1.1"))
    eventually(lambda: app.seen)
    if how == "reset":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if how == "close_notify":
        client.sock.unwrap()
    else:
        client.sock.close()
    eventually(lambda: app.ended == ["cancelled"])
    eventually(lambda: listener.server.connections == 0)


def test_an_application_that_waits_for_it_is_told_that_the_client_left(client: Client, app: Application) -> None:
    client.send(request(line=b"GET /waits HTTP/1.1"))
    eventually(lambda: app.seen)
    client.sock.close()
    eventually(lambda: app.ended == ["http.disconnect", "returned"])


@pytest.mark.parametrize("path", [b"raises", b"returns", b"splits"])
def test_an_application_that_fails_before_its_answer_is_answered_for(client: Client, path: bytes) -> None:
    answer = client.ask(request(line=b"GET /" + path + b" HTTP/1.1"))
    assert answer.status == 500
    assert json.loads(answer.body)["code"] == "internal_error"
    assert b"secret" not in answer.body
    assert client.is_closed()


@pytest.mark.parametrize("path", [b"breaks", b"short"])
def test_an_application_that_fails_within_its_answer_is_cut_so_that_nobody_takes_it_for_whole(
    client: Client, path: bytes
) -> None:
    client.send(request(line=b"GET /" + path + b" HTTP/1.1"))
    with pytest.raises((http.client.IncompleteRead, OSError)):
        client.answer()


def test_five_hundred_streams_at_once_arrive_whole(listener: RunningListener, tmp_path: Path) -> None:
    context = client_context(AGENT, tmp_path)

    async def one(opening: asyncio.Semaphore) -> bytes:
        async with opening:  # a handshake has its time, and five hundred at once take one core longer
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=context)
        writer.write(request(b"Connection: close", line=b"GET /stream HTTP/1.1"))
        data = await reader.read(-1)
        writer.close()
        return data

    async def many() -> list[bytes]:
        opening = asyncio.Semaphore(50)
        return await asyncio.gather(*(one(opening) for _ in range(500)))

    answers = asyncio.run(many())
    assert all(answer.endswith(b"2\r\n4;\r\n0\r\n\r\n") for answer in answers)
    eventually(lambda: listener.server.connections == 0)
    assert listener.observer.failures == []
    assert listener.observer.refusals == []
