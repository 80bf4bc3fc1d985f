"""Connections of the client against real sockets: reuse, deadlines, cancellation, back-pressure, what is sent."""

import asyncio
import socket
import struct
import threading
import time

import pytest

from gateway import __version__
from gateway.errors import UnavailableError, UpstreamConnectError, UpstreamError, UpstreamTimeoutError
from gateway.secrets.reference_store import ReferenceStore
from gateway.upstream.http1 import pool as pool_module
from gateway.upstream.http1.client import Http1Client
from gateway.upstream.http1.connection import HIGH_WATER, BrokenConnectionError, Connection
from tests.support.faulty_backend import refused_url
from tests.support.scripted_backend import Peer, ScriptedBackend, eventually, make_backend

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def call(client: Http1Client, server: ScriptedBackend, body: bytes = b"{}", **changes: object) -> bytes:
    answer = await client.post(server.backend(**changes), "/chat/completions", [], body)
    try:
        return await answer.read(1_000_000)
    finally:
        answer.close()


def reset(peer: Peer) -> None:
    sock: socket.socket = peer.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.writer.transport.abort()


# what is sent


async def test_a_request_is_exactly_what_was_given_and_what_http_needs(client: Http1Client) -> None:
    async with ScriptedBackend.answering(WHOLE) as server:
        answer = await client.post(
            server.backend(prefix="/prefix/v1"),
            "/chat/completions",
            [(b"content-type", b"application/json")],
            b'{"a":1}',
        )
        answer.close()
        head, body = server.requests[0]
    assert body == b'{"a":1}'
    assert head.decode() == (
        "POST /prefix/v1/chat/completions HTTP/1.1\r\n"
        f"host: 127.0.0.1:{server.port}\r\n"
        f"user-agent: govgateway/{__version__}\r\n"
        "content-type: application/json\r\n"
        "content-length: 7\r\n\r\n"
    )


@pytest.mark.parametrize(
    "header", [(b"accept", b"a\r\nx-injected: 1"), (b"accept", b"a\nb"), (b"accept", b"a\rb"), (b"x\r\ny", b"a")]
)
async def test_a_line_break_in_a_field_is_never_sent(client: Http1Client, header: tuple[bytes, bytes]) -> None:
    async with ScriptedBackend.answering(WHOLE) as server:
        with pytest.raises(ValueError, match="line break"):
            await client.post(server.backend(), "/x", [header], b"{}")
        assert server.connections == 0


async def test_the_credential_is_read_at_the_moment_of_use(client: Http1Client, tmp_path) -> None:
    file = tmp_path / "credential"
    file.write_text("first\n")
    file.chmod(0o600)
    async with ScriptedBackend.answering(WHOLE, WHOLE) as server:
        await call(client, server, credential=f"file:{file}")
        file.write_text("second-one\n")
        await call(client, server, credential=f"file:{file}")
        first, second = (head for head, _ in server.requests)
    assert b"\r\nauthorization: Bearer first\r\n" in first
    assert b"\r\nauthorization: Bearer second-one\r\n" in second


@pytest.mark.parametrize("value", ["a\r\nx-injected: 1", "a\nb", "two words", "tab\there", "ünïcode", "null\x00byte"])
async def test_a_credential_that_could_end_its_field_is_refused(client: Http1Client, tmp_path, value: str) -> None:
    file = tmp_path / "credential"
    file.write_bytes(value.encode())
    file.chmod(0o600)
    async with ScriptedBackend.answering(WHOLE) as server:
        with pytest.raises(UnavailableError) as caught:
            await call(client, server, credential=f"file:{file}")
        assert server.connections == 0
    assert caught.value.code == "secret_malformed"
    assert value not in str(caught.value)
    assert value not in repr(caught.value.__cause__)


async def test_a_missing_credential_refuses_the_call_and_names_its_place_only_to_the_log(client: Http1Client) -> None:
    async with ScriptedBackend.answering(WHOLE) as server:
        with pytest.raises(UnavailableError) as caught:
            await call(client, server, credential="file:/nowhere/credential")
        assert server.connections == 0
    assert caught.value.code == "secret_missing"
    assert "/nowhere" not in str(caught.value.problem())
    assert "/nowhere/credential" in str(caught.value.__cause__)


async def test_a_large_body_arrives_whole(client: Http1Client) -> None:
    body = bytes(range(256)) * 20_000
    async with ScriptedBackend.answering(WHOLE, WHOLE) as server:
        assert await call(client, server, body) == b"{}"
        assert server.requests[0][1] == body


# reuse


async def test_one_connection_serves_call_after_call(client: Http1Client) -> None:
    async with ScriptedBackend.answering(*[WHOLE] * 5) as server:
        for _ in range(5):
            assert await call(client, server) == b"{}"
        assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
        WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        WHOLE + b"extra",
    ],
    ids=["connection: close", "HTTP/1.0", "bytes after the answer"],
)
async def test_a_connection_is_not_used_again_after(client: Http1Client, answer: bytes) -> None:
    async with ScriptedBackend.answering(answer, answer) as server:
        assert [await call(client, server) for _ in range(2)] == [b"{}", b"{}"]
        assert server.connections == 2


async def test_an_answer_left_unread_is_not_the_answer_to_the_next_call(client: Http1Client) -> None:
    async with ScriptedBackend.answering(WHOLE.replace(b"{}", b"[]"), WHOLE) as server:
        answer = await client.post(server.backend(), "/x", [], b"{}")
        answer.close()
        assert await call(client, server) != b""
        assert server.connections == 2


async def test_an_early_answer_does_not_leave_the_rest_of_its_request_to_the_next(client: Http1Client) -> None:
    async def script(peer: Peer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        if b"content-length: 2\r\n" not in head:
            await peer.send(WHOLE)
            await asyncio.sleep(10)
        await peer.reader.readexactly(2)
        await peer.send(WHOLE.replace(b"{}", b"[]"))

    async with ScriptedBackend(script) as server:
        assert await call(client, server, b"x" * 50_000_000) == b"{}"
        assert await call(client, server) == b"[]"
        assert server.connections == 2


async def test_a_connection_the_backend_closed_meanwhile_is_replaced_and_no_call_is_lost(client: Http1Client) -> None:
    async with ScriptedBackend.answering(WHOLE) as server:
        for calls in range(1, 20):
            assert await call(client, server) == b"{}"
            assert server.connections == calls
            await eventually(lambda: server.open == 0)


async def test_the_end_of_a_pooled_connection_is_seen_before_the_event_loop_sees_it(client: Http1Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        backend = make_backend(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        loop = asyncio.get_running_loop()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(WHOLE)
                assert gate.wait(5)

        for _ in range(3):
            gate = threading.Event()
            served = loop.run_in_executor(None, serve)
            answer = await client.post(backend, "/x", [], b"{}")
            assert await answer.read(10) == b"{}"
            answer.close()
            gate.set()
            # The loop does not turn here, so only the socket can tell.
            time.sleep(0.05)
            next_call = asyncio.ensure_future(client.post(backend, "/x", [], b"{}"))
            again = loop.run_in_executor(None, serve)
            answer = await next_call
            gate.set()
            assert await answer.read(10) == b"{}"
            answer.close()
            await asyncio.gather(served, again)
            await client.close()


async def test_nothing_is_sent_twice_when_the_backend_breaks_off(client: Http1Client) -> None:
    async def script(peer: Peer) -> None:
        server.requests.append(await peer.request())
        if len(server.requests) > 1:
            return
        await peer.send(WHOLE)
        server.requests.append(await peer.request())

    server = ScriptedBackend(script)
    server.requests = []
    async with server:
        assert await call(client, server) == b"{}"
        with pytest.raises(UpstreamError) as caught:
            await call(client, server)
    assert caught.value.code == "upstream_broken"
    assert not isinstance(caught.value, UpstreamConnectError)
    assert len(server.requests) == 2
    assert server.connections == 1


async def test_bytes_on_an_idle_connection_are_the_answer_to_nobody(client: Http1Client) -> None:
    push = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(WHOLE)
        if server.connections == 1:
            await push.wait()
            await peer.send(WHOLE.replace(b"{}", b"[]"))
            await peer.left()

    async with ScriptedBackend(script) as server:
        assert await call(client, server) == b"{}"
        push.set()
        await eventually(lambda: server.open == 0, pool_module.IDLE_SECONDS / 2)
        assert await call(client, server) == b"{}"
        assert server.connections == 2


async def test_idle_connections_are_closed_after_a_while(client: Http1Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "IDLE_SECONDS", 0.2)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(WHOLE)
        await peer.left()

    async with ScriptedBackend(script) as server:
        await asyncio.gather(*(call(client, server) for _ in range(10)))
        assert server.connections == 10
        await eventually(lambda: server.open == 0)


async def test_only_so_many_idle_connections_are_kept(client: Http1Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "IDLE_CONNECTIONS", 3)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(WHOLE)
        await peer.left()

    async with ScriptedBackend(script) as server:
        await asyncio.gather(*(call(client, server) for _ in range(10)))
        await eventually(lambda: server.open == 3)


async def test_a_call_beyond_the_bound_of_connections_is_refused_as_busy(
    client: Http1Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "OPEN_CONNECTIONS", 2)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        await peer.left()

    async with ScriptedBackend(script) as server:
        answers = [await client.post(server.backend(), "/x", [], b"{}") for _ in range(2)]
        with pytest.raises(UnavailableError) as caught:
            await client.post(server.backend(), "/x", [], b"{}")
        assert caught.value.code == "upstream_busy"
        answers[0].close()
        await eventually(lambda: server.open == 1)
        (await client.post(server.backend(), "/x", [], b"{}")).close()
        answers[1].close()


async def test_connections_that_fail_leave_the_bound_untouched(
    client: Http1Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "OPEN_CONNECTIONS", 2)
    with refused_url() as url:
        for _ in range(5):
            with pytest.raises(UpstreamConnectError):
                await client.post(make_backend(url), "/x", [], b"{}")


async def test_closing_the_client_closes_every_connection() -> None:
    client = Http1Client(ReferenceStore())

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM if server.connections > 1 else WHOLE)
        await peer.left()

    async with ScriptedBackend(script) as server:
        first = await client.post(server.backend(), "/x", [], b"{}")
        second = await client.post(server.backend(), "/x", [], b"{}")
        await first.read(10)
        first.close()
        assert server.open == 2
        await client.close()
        await eventually(lambda: server.open == 0)
        with pytest.raises(UpstreamError):
            await second.read(10)
        second.close()


# failures and deadlines


async def test_a_backend_that_refuses_got_nothing_and_its_address_stays_inside(client: Http1Client) -> None:
    with refused_url() as url:
        with pytest.raises(UpstreamConnectError) as caught:
            await client.post(make_backend(url), "/x", [], b"{}")
        port = url.split(":")[2].split("/")[0]
    assert port not in str(caught.value.problem())
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_a_name_that_does_not_resolve_is_a_backend_that_cannot_be_reached(client: Http1Client) -> None:
    with pytest.raises(UpstreamConnectError) as caught:
        await client.post(make_backend("http://backend.invalid:8000/v1"), "/x", [], b"{}")
    assert "backend.invalid" not in str(caught.value.problem())


async def test_a_backend_that_takes_no_connection_in_time_cannot_be_reached(client: Http1Client) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        try:
            for _ in range(4):  # the queue of the listener is full then
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
                fillers.append(filler)
            backend = make_backend(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_timeout=0.3)
            with pytest.raises(UpstreamConnectError) as caught:
                await client.post(backend, "/x", [], b"{}")
        finally:
            for filler in fillers:
                filler.close()
    assert "0.3 s" in str(caught.value.__cause__)


async def test_silence_before_the_head_is_a_timeout_and_closes_the_connection(client: Http1Client) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.left()

    async with ScriptedBackend(script) as server:
        with pytest.raises(UpstreamTimeoutError):
            await call(client, server, first_byte_timeout=0.2)
        await eventually(lambda: server.open == 0)


async def test_a_head_that_drips_does_not_extend_its_deadline(client: Http1Client) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await peer.send(b"x-drip: 1\r\n")
            await asyncio.sleep(0.02)

    async with ScriptedBackend(script) as server:
        with pytest.raises(UpstreamTimeoutError):
            await call(client, server, first_byte_timeout=0.3)


async def test_silence_in_the_middle_of_a_body_is_a_timeout_and_closes_the_connection(client: Http1Client) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + b"5\r\nwords\r\n")
        await peer.left()

    async with ScriptedBackend(script) as server:
        answer = await client.post(server.backend(idle_timeout=0.2), "/x", [], b"{}")
        chunks = answer.chunks()
        assert await anext(chunks) == b"words"
        with pytest.raises(UpstreamTimeoutError):
            await anext(chunks)
        answer.close()
        await eventually(lambda: server.open == 0)


async def test_a_slow_stream_that_goes_on_has_no_deadline(client: Http1Client) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for _ in range(8):
            await asyncio.sleep(0.1)
            await peer.send(b"1\r\nx\r\n")
        await peer.send(b"0\r\n\r\n")

    async with ScriptedBackend(script) as server:
        assert await call(client, server, idle_timeout=0.6, first_byte_timeout=0.6) == b"x" * 8


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncont", STREAM + b"5\r\nwords\r\n"])
async def test_a_reset_is_a_broken_answer(client: Http1Client, sent: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        await asyncio.sleep(0.02)
        reset(peer)

    async with ScriptedBackend(script) as server:
        with pytest.raises(UpstreamError) as caught:
            await call(client, server)
    assert caught.value.code == "upstream_broken"


async def test_a_backend_that_closes_at_once_does_not_hold_the_call_until_its_deadline(client: Http1Client) -> None:
    async def script(_peer: Peer) -> None:
        return

    async with ScriptedBackend(script) as server:
        for _ in range(20):
            async with asyncio.timeout(5):
                with pytest.raises(UpstreamError):
                    await call(client, server, first_byte_timeout=60)


async def test_a_request_on_a_connection_that_is_gone_was_not_sent() -> None:
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    connection = Connection(loop, lambda _: None)
    await loop.create_connection(lambda: connection, sock=near)
    far.close()
    await eventually(lambda: connection.closed)
    with pytest.raises(BrokenConnectionError):
        connection.send(b"POST / HTTP/1.1\r\n\r\n", b"")


# cancellation and back-pressure


async def test_closing_an_answer_midway_shows_the_backend_at_once(client: Http1Client) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + b"5\r\nwords\r\n")
        await peer.left()

    async with ScriptedBackend(script) as server:
        answer = await client.post(server.backend(), "/x", [], b"{}")
        assert await anext(answer.chunks()) == b"words"
        answer.close()
        answer.close()
        await eventually(lambda: server.open == 0, 1.0)


@pytest.mark.parametrize("sent", [b"", STREAM])
async def test_cancelling_a_call_shows_the_backend_at_once(client: Http1Client, sent: bytes) -> None:
    reached = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        reached.set()
        await peer.left()

    async with ScriptedBackend(script) as server:
        task = asyncio.ensure_future(call(client, server))
        await reached.wait()
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: server.open == 0, 1.0)


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_slow_reader_stops_the_backend(client: Http1Client, chunked: bool) -> None:
    total, block = 64 * 1_048_576, b"x" * 65_536
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(STREAM if chunked else b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while sent < total:
            await peer.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            sent += len(block)
        if chunked:
            await peer.send(b"0\r\n\r\n")

    async with ScriptedBackend(script) as server:
        answer = await client.post(server.backend(), "/x", [], b"{}")
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < total // 2, "the rest is what the kernel's buffers hold"
        size = largest = 0
        async for chunk in answer.chunks():
            size += len(chunk)
            largest = max(largest, len(chunk))
        answer.close()
    assert size == total
    assert largest < HIGH_WATER + 1_048_576


async def test_an_answer_paused_at_its_end_leaves_a_connection_that_works(client: Http1Client) -> None:
    size = HIGH_WATER + 100_000
    answer_bytes = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size

    async with ScriptedBackend.answering(answer_bytes, WHOLE) as server:
        answer = await client.post(server.backend(), "/x", [], b"{}")
        await asyncio.sleep(0.1)
        assert len(await answer.read(size)) == size
        answer.close()
        assert await call(client, server) == b"{}"
        assert server.connections == 1
