"""What the client takes for an answer, and what it refuses, against real sockets."""

import asyncio

import pytest

from gateway.errors import UpstreamError
from gateway.upstream.http1.client import Http1Client
from tests.support.scripted_backend import Peer, ScriptedBackend

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b'{"id":"x"}'
WHOLE = OK + b"content-type: application/json\r\ncontent-length: 10\r\n\r\n" + BODY
CHUNKED = OK + b'transfer-encoding: chunked\r\n\r\n4;name=value\r\n{"id\r\n6\r\n":"x"}\r\n0\r\nx-trailer: 1\r\n\r\n'
CLOSE_DELIMITED = OK + b"content-type: application/json\r\n\r\n" + BODY

GOOD = {
    "length": WHOLE,
    "chunked, with an extension and a trailer": CHUNKED,
    "ends with the connection": CLOSE_DELIMITED,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    "after 100 Continue": b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
    "after two 103 Early Hints": b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 2 + WHOLE,
    "no reason phrase": WHOLE.replace(b"200 OK", b"200"),
    "names in capitals": WHOLE.replace(b"content-length", b"Content-LENGTH"),
    "connection: close": WHOLE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
}

MALFORMED = {
    "not HTTP": b"\x00\x01 what is this\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2 preface": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "HTTP/2.0 status line": WHOLE.replace(b"HTTP/1.1", b"HTTP/2.0"),
    "HTTP/0.9 status line": WHOLE.replace(b"HTTP/1.1", b"HTTP/0.9"),
    "chunked in HTTP/1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "status 000": WHOLE.replace(b"200", b"000"),
    "status 20": WHOLE.replace(b"200", b"20"),
    "status 999": WHOLE.replace(b"200", b"999"),
    "101 without being asked": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    "two different lengths": OK + b"content-length: 10\r\ncontent-length: 11\r\n\r\n" + BODY,
    "two equal lengths": OK + b"content-length: 10\r\ncontent-length: 10\r\n\r\n" + BODY,
    "a list of lengths": OK + b"content-length: 10, 10\r\n\r\n" + BODY,
    "length and chunked": OK + b"content-length: 10\r\ntransfer-encoding: chunked\r\n\r\n" + BODY,
    "chunked and length": OK + b"transfer-encoding: chunked\r\ncontent-length: 10\r\n\r\n" + BODY,
    "a signed length": OK + b"content-length: +10\r\n\r\n" + BODY,
    "a negative length": OK + b"content-length: -1\r\n\r\n" + BODY,
    "an endless length": OK + b"content-length: 99999999999999999999999\r\n\r\n" + BODY,
    "gzip, chunked": OK + b"transfer-encoding: gzip, chunked\r\n\r\n",
    "chunked twice": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity transfer encoding": OK + b"transfer-encoding: identity\r\n\r\n" + BODY,
    "bare line feeds": WHOLE.replace(b"\r\n", b"\n"),
    "folded field": OK + b"x-folded: a\r\n b\r\ncontent-length: 0\r\n\r\n",
    "space before the colon": OK + b"content-length : 10\r\n\r\n" + BODY,
    "null in a value": OK + b"x-null: a\x00b\r\ncontent-length: 0\r\n\r\n",
    "carriage return in a value": OK + b"x-cr: a\rb\r\ncontent-length: 0\r\n\r\n",
}

BROKEN_BODY = {
    "shorter than its length": (OK + b"content-length: 10\r\n\r\n{", "upstream_broken"),
    "last chunk missing": (OK + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", "upstream_broken"),
    "chunk size not a number": (OK + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\nxyz\r\n", "upstream_malformed"),
    "chunk longer than its size": (OK + b"transfer-encoding: chunked\r\n\r\n1\r\n{{{\r\n", "upstream_malformed"),
    "chunk size overflows": (OK + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n", "upstream_malformed"),
    "a length among the trailers": (
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\ncontent-length: 3\r\n\r\n",
        "upstream_malformed",
    ),
    "chunk size ended by a bare line feed": (OK + b"transfer-encoding: chunked\r\n\r\n1\n{\r\n", "upstream_malformed"),
}


async def call(client: Http1Client, server: ScriptedBackend, **changes: object) -> tuple[int, bytes]:
    answer = await client.post(server.backend(**changes), "/chat/completions", [], b"{}")
    try:
        return answer.status, await answer.read(1_000_000)
    finally:
        answer.close()


@pytest.mark.parametrize("name", GOOD)
async def test_every_form_of_a_body_is_read(client: Http1Client, name: str) -> None:
    async with ScriptedBackend.answering(GOOD[name]) as server:
        assert await call(client, server) == (200, BODY)


@pytest.mark.parametrize("name", [name for name in GOOD if "HTTP/1.0" not in name])
async def test_an_answer_may_arrive_byte_by_byte(client: Http1Client, name: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        for byte in GOOD[name]:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)

    async with ScriptedBackend(script) as server:
        assert await call(client, server) == (200, BODY)


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("length", [b"", b"content-length: 10\r\n"])
async def test_a_status_without_a_body_has_none_whatever_the_fields_say(
    client: Http1Client, status: int, length: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, length))
        await peer.left()

    async with ScriptedBackend(script) as server:
        assert await call(client, server) == (status, b"")


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_not_plain_http_1_is_refused(client: Http1Client, name: str) -> None:
    async with ScriptedBackend.answering(MALFORMED[name]) as server:
        with pytest.raises(UpstreamError) as caught:
            await call(client, server)
    assert caught.value.code == "upstream_malformed"


@pytest.mark.parametrize("name", BROKEN_BODY)
async def test_a_broken_body_is_an_error_and_never_a_short_answer(client: Http1Client, name: str) -> None:
    data, code = BROKEN_BODY[name]
    async with ScriptedBackend.answering(data) as server:
        with pytest.raises(UpstreamError) as caught:
            await call(client, server)
    assert caught.value.code == code


async def test_what_arrived_before_the_break_is_handed_on_first(client: Http1Client) -> None:
    async with ScriptedBackend.answering(OK + b"transfer-encoding: chunked\r\n\r\n5\r\nwords\r\n") as server:
        answer = await client.post(server.backend(), "/x", [], b"{}")
        seen = []
        with pytest.raises(UpstreamError):
            async for chunk in answer.chunks():
                seen.append(chunk)  # noqa: PERF401 - what was seen before the error is the point
        answer.close()
    assert b"".join(seen) == b"words"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_handed_on_and_not_followed(client: Http1Client, status: int) -> None:
    async with ScriptedBackend.answering(WHOLE) as target:
        head = b"HTTP/1.1 %d X\r\nlocation: http://127.0.0.1:%d/\r\ncontent-length: 0\r\n\r\n" % (status, target.port)
        async with ScriptedBackend.answering(head) as server:
            assert await call(client, server) == (status, b"")
        assert target.connections == 0


async def test_a_second_answer_nobody_asked_for_changes_nothing_and_ends_the_connection(client: Http1Client) -> None:
    other = b"HTTP/1.1 500 X\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nother"
    async with ScriptedBackend.answering(WHOLE + other, WHOLE) as server:
        answer = await client.post(server.backend(), "/x", [], b"{}")
        assert (answer.status, await answer.read(100)) == (200, BODY)
        assert dict(answer.headers)[b"content-type"] == b"application/json"
        answer.close()
        assert await call(client, server) == (200, BODY)
        assert server.connections == 2


async def test_trailers_are_not_header_fields(client: Http1Client) -> None:
    trailers = b"content-type: text/html\r\nset-cookie: a=b\r\n"
    data = (
        OK
        + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        + trailers
        + b"\r\n"
    )
    async with ScriptedBackend.answering(data) as server:
        answer = await client.post(server.backend(), "/x", [], b"{}")
        assert await answer.read(100) == b"{}"
        assert answer.headers == [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
        answer.close()


ENDLESS = {
    "fields": (OK, b"x-many: " + b"x" * 1000 + b"\r\n"),
    "one field": (OK + b"x-one: ", b"x" * 1000),
    "reason phrase": (b"HTTP/1.1 200 ", b"x" * 1000),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\nlink: " + b"x" * 1000 + b"\r\n\r\n"),
    "chunk extension": (OK + b"transfer-encoding: chunked\r\n\r\n1;", b"x" * 1000),
    "trailers": (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x-trailer: " + b"x" * 1000 + b"\r\n"),
    "one trailer": (OK + b"transfer-encoding: chunked\r\n\r\n0\r\nx-trailer: ", b"x" * 1000),
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_endless_framing_is_cut(client: Http1Client, name: str) -> None:
    begin, more = ENDLESS[name]
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(begin)
        while True:
            await peer.send(more)
            sent += len(more)

    async with ScriptedBackend(script) as server:
        with pytest.raises(UpstreamError) as caught:
            await call(client, server)
    assert caught.value.code == "upstream_head"
    assert sent < 20_000_000, "the rest is what the kernel's buffers hold"


async def test_a_head_over_the_bound_is_refused_although_it_came_at_once(client: Http1Client) -> None:
    async with ScriptedBackend.answering(OK + b"x-huge: " + b"x" * 66_000 + b"\r\ncontent-length: 0\r\n\r\n") as server:
        with pytest.raises(UpstreamError) as caught:
            await call(client, server)
    assert caught.value.code == "upstream_head"


async def test_a_head_within_the_bound_passes(client: Http1Client) -> None:
    async with ScriptedBackend.answering(
        OK + b"x-large: " + b"x" * 60_000 + b"\r\ncontent-length: 2\r\n\r\n{}"
    ) as server:
        assert await call(client, server) == (200, b"{}")


async def test_a_body_larger_than_asked_for_is_refused(client: Http1Client) -> None:
    async with ScriptedBackend.answering(WHOLE) as server:
        answer = await client.post(server.backend(), "/x", [], b"{}")
        with pytest.raises(UpstreamError) as caught:
            await answer.read(len(BODY) - 1)
        answer.close()
    assert caught.value.code == "upstream_too_large"
