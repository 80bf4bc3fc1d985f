"""However the network cuts an answer into pieces, the same comes out."""

import asyncio
import itertools
import socket

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UpstreamError
from gateway.upstream.http1.connection import BrokenConnectionError, Connection

Outcome = tuple[int, tuple[tuple[bytes, bytes], ...], bytes, str]


def chunked(parts: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\nx-trailer: 1\r\n\r\n"


def framed(parts: list[bytes], framing: str) -> bytes:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    body = b"".join(parts)
    if framing == "length":
        return interim + head + b"content-length: %d\r\n\r\n" % len(body) + body
    if framing == "chunked":
        return interim + head + b"transfer-encoding: chunked\r\n\r\n" + chunked(parts)
    return head + b"\r\n" + body


async def receive(pieces: list[bytes]) -> Outcome:
    """Feed the pieces to a connection on a real socket whose other side is silent, then end it."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    connection = Connection(loop, lambda _: None)
    await loop.create_connection(lambda: connection, sock=near)
    connection.send(b"POST / HTTP/1.1\r\n\r\n", b"")
    for piece in pieces:
        connection.data_received(piece)
    connection.eof_received()
    connection.abort()
    failure, body = "", b""
    try:
        await connection.read_head(5)
        while chunk := await connection.next_chunk(5):
            body += chunk
    except UpstreamError as error:
        failure = error.code
    except BrokenConnectionError:
        failure = "broken"
    while not connection.closed:
        await asyncio.sleep(0)
    far.close()
    return connection.status, tuple(connection.headers), body, failure


def cut(data: bytes, places: set[int]) -> list[bytes]:
    edges = [0, *sorted(place for place in places if 0 < place < len(data)), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


FRAMINGS = st.sampled_from(["length", "chunked", "close"])


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(st.binary(max_size=200), max_size=8), framing=FRAMINGS, data=st.data())
def test_any_split_of_an_answer_gives_the_same_body(runner, parts, framing, data) -> None:
    answer = framed(parts, framing)
    places = data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=30))
    status, headers, body, failure = runner.run(receive(cut(answer, places)))
    assert (status, body, failure) == (200, b"".join(parts), "")
    assert headers[0] == (b"content-type", b"text/event-stream")
    assert len(headers) == (1 if framing == "close" else 2)


@settings(max_examples=100, deadline=None)
@given(noise=st.binary(min_size=1, max_size=60), data=st.data())
def test_noise_in_an_answer_is_read_alike_however_it_is_split(runner, noise, data) -> None:
    answer = framed([b"some", b"words"], "chunked")
    at = data.draw(st.integers(0, len(answer)))
    answer = answer[:at] + noise + answer[at:]
    places = data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=30))
    at_once = runner.run(receive([answer]))
    in_pieces = runner.run(receive(cut(answer, places)))
    assert in_pieces[2:] == at_once[2:]
    if not in_pieces[3]:
        assert in_pieces == at_once


def test_each_single_split_of_a_stream_gives_the_same_body(runner) -> None:
    answer = framed([b"data: {}\n\n", b"data: [DONE]\n\n"], "chunked")
    whole = runner.run(receive([answer]))
    assert whole[2] == b"data: {}\n\ndata: [DONE]\n\n"
    for place in range(1, len(answer)):
        assert runner.run(receive(cut(answer, {place}))) == whole, f"split after {place} bytes"
