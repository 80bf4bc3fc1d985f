"""Which trace a call belongs to."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.trace import TraceContext, child_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01".encode()
HEADER = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")


def of(*values: bytes) -> TraceContext:
    return child_of([(b"content-type", b"x"), *((b"traceparent", value) for value in values)])


@pytest.mark.parametrize(("sent", "kept"), [("00", "00"), ("01", "01"), ("02", "00"), ("ff", "01"), ("fe", "00")])
def test_a_well_formed_trace_goes_on_with_a_span_of_its_own_and_the_sampled_bit_alone(sent: str, kept: str) -> None:
    context = of(f"00-{TRACE}-{SPAN}-{sent}".encode())
    assert (context.trace_id, context.parent_id, context.flags) == (TRACE, SPAN, kept)
    assert context.span_id != SPAN
    assert context.header() == f"00-{TRACE}-{context.span_id}-{kept}"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        b" " + GOOD,
        GOOD + b" ",
        GOOD + b"\n",
        GOOD + b"-extra",
        GOOD + b"-",
        GOOD[:-1],
        GOOD.upper(),
        GOOD.replace(b"a", b"g"),
        GOOD.replace(b"-", b"_"),
        b"ff" + GOOD[2:],
        b"0" + GOOD,
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE}a-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-1".encode(),
        f"01-{TRACE}-{SPAN}-01extra".encode(),
        "00-０af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".encode(),
    ],
)
def test_a_malformed_trace_is_as_none(value: bytes) -> None:
    context = of(value)
    assert context.trace_id != TRACE
    assert (context.parent_id, context.flags) == ("", "01")
    assert HEADER.fullmatch(context.header())


def test_a_trace_given_twice_is_as_none() -> None:
    assert of(GOOD, GOOD).parent_id == ""


@pytest.mark.parametrize("value", [b"01" + GOOD[2:], b"01" + GOOD[2:] + b"-what the future brings", b"fe" + GOOD[2:]])
def test_a_later_version_is_read_as_far_as_it_is_known_and_sent_on_as_this_one(value: bytes) -> None:
    context = of(value)
    assert context.trace_id == TRACE
    assert HEADER.fullmatch(context.header())


def test_calls_without_a_trace_begin_one_each() -> None:
    contexts = [of() for _ in range(100)]
    assert len({context.trace_id for context in contexts}) == len({context.span_id for context in contexts}) == 100


@given(st.binary(max_size=80) | st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"))
def test_whatever_was_sent_what_is_sent_on_is_well_formed(value: bytes) -> None:
    assert HEADER.fullmatch(of(value).header())
