"""Request bodies: put together whatever the pieces, refused when the chunks can be read two ways."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BodyTooLargeError, RequestError
from gateway.listener.body import ChunkedBody, LengthBody


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def feed_all(reader: ChunkedBody, parts: list[bytes]) -> None:
    for part in parts:
        reader.feed(part)


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(0, 2000)), st.binary(max_size=20))
def test_a_chunked_body_is_the_same_however_it_is_cut(chunks: list[bytes], cuts: list[int], beyond: bytes) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    reader = ChunkedBody(100_000)
    rest = None
    for piece in pieces(wire, cuts):
        assert rest is None or not piece
        if piece:
            rest = reader.feed(piece)
    assert rest == b""
    assert reader.body() == b"".join(chunks)
    again = ChunkedBody(100_000)
    assert again.feed(wire + beyond) == beyond


@given(st.binary(min_size=1, max_size=300), st.lists(st.integers(0, 300)), st.binary(max_size=20))
def test_a_body_of_known_length_ends_exactly_there(body: bytes, cuts: list[int], beyond: bytes) -> None:
    reader = LengthBody(len(body))
    *first, last = pieces(body, cuts)
    for piece in first:
        rest = reader.feed(piece)
        if rest is not None:
            assert rest == b""
            assert reader.body() == body
            return
    assert reader.feed(last + beyond) == beyond
    assert reader.body() == body


@pytest.mark.parametrize(
    ("wire", "rule"),
    [
        (b"3;a=b\r\nabc\r\n0\r\n\r\n", "chunk-extension"),
        (b"3 \r\nabc\r\n", "chunk-extension"),
        (b"3\nabc\n0\n\n", "chunk-size"),
        (b"\r\n3\r\nabc\r\n", "chunk-size"),
        (b"+3\r\nabc\r\n", "chunk-size"),
        (b"-3\r\nabc\r\n", "chunk-size"),
        (b"0x3\r\nabc\r\n", "chunk-size"),
        (b"000000003\r\nabc\r\n", "chunk-size"),
        (b"fffffffffffffffff\r\n", "chunk-size"),
        (b"g\r\n", "chunk-size"),
        (b"3\r\nabcd\r\n", "chunk-framing"),
        (b"3\r\nabc\n0\r\n\r\n", "chunk-framing"),
        (b"0\r\nX: y\r\n\r\n", "trailers"),
        (b"0\r\n\n", "trailers"),
        (b"1\r\na\r\n" * 5000, "chunk-overhead"),
    ],
)
def test_chunks_that_can_be_read_two_ways_are_refused_by_their_rule(wire: bytes, rule: str) -> None:
    for parts in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        with pytest.raises(RequestError) as refusal:
            feed_all(ChunkedBody(1_000_000), parts)
        assert refusal.value.code == rule


def test_a_chunk_beyond_the_bound_is_refused_before_its_data_arrives() -> None:
    reader = ChunkedBody(10)
    assert reader.feed(b"8\r\n12345678\r\n") is None
    with pytest.raises(BodyTooLargeError):
        reader.feed(b"3\r\n")
