"""Events are the same whatever chunks they came in."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.sse import MAX_EVENT, EventError, EventSplitter, check_event, event_data, with_data

stream_bytes = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"\n\n", b"data: x", b": c", b"\r\n\r\n", b"event: e", b"a"]), max_size=14
).map(b"".join)


def chunks_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(stream_bytes, st.lists(st.integers(0, 200), max_size=12))
def test_chunks_make_no_difference(data, cuts):
    whole, cut = EventSplitter(), EventSplitter()
    expected = whole.split(data)
    events = [event for chunk in chunks_of(data, cuts) for event in cut.split(chunk)]
    assert events == expected
    assert cut.held == whole.held
    rest = cut.rest()
    assert b"".join(events) + rest == data
    assert rest == whole.rest()
    assert cut.held == 0


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\n\n"])
def test_an_event_ends_with_a_blank_line(end):
    assert EventSplitter().split(b"data: a" + end + b"data: b") == [b"data: a" + end]


def test_what_is_held_back_is_counted():
    splitter = EventSplitter()
    splitter.split(b"data: 12")
    splitter.split(b"34")
    assert splitter.held == 10


@pytest.mark.parametrize("event", [b"data: a\rdata: b\n\n", b"data: a\n\r\r\n", b"x" * (MAX_EVENT + 1)])
def test_a_lone_carriage_return_or_too_much_is_refused(event):
    with pytest.raises(EventError):
        check_event(event)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: a\n\n", b"a"),
        (b"data:a\r\n\r\n", b"a"),
        (b"data:  a\n\n", b" a"),
        (b"event: e\ndata: a\nid: 1\ndata\ndata: b\n\n", b"a\n\nb"),
        (b": comment\n\n", b""),
        (b"database: x\n\n", b""),
    ],
)
def test_data_lines_are_joined(event, data):
    assert event_data(event) == data


def test_new_data_stands_where_the_old_began():
    event = b"event: e\r\ndata:a\r\ndata: b\r\nid: 1\r\n\r\n"
    assert with_data(event, b"new") == b"event: e\r\ndata:new\r\nid: 1\r\n\r\n"
