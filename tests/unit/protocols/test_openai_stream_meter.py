"""A stream is relayed byte for byte, but for the usage that only the gateway asked for."""

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import UpstreamError
from gateway.protocols.base import Call
from gateway.protocols.openai import OpenAIProtocol
from gateway.protocols.sse import MAX_EVENT

HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8")]
HEAD = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
DONE = b"data: [DONE]\n\n"


def event(document, end="\n\n", **kwargs) -> bytes:
    return f"data: {json.dumps(document, separators=(',', ':'), **kwargs)}{end}".encode()


def word(text="w", usage=..., index=0, end="\n\n") -> bytes:
    choice = {"index": index, "delta": {"content": text}, "finish_reason": None}
    return event({**HEAD, "choices": [choice], **({} if usage is ... else {"usage": usage})}, end)


def figures(taken, given_):
    return {"prompt_tokens": taken, "total_tokens": taken + given_, "completion_tokens": given_}


def final(taken, given_, end="\n\n") -> bytes:
    return event({**HEAD, "choices": [], "usage": figures(taken, given_)}, end)


def make_call(operation="chat.completions", *, events_added=True, chunks_added=False, choices=1, **document) -> Call:
    call = Call("openai", operation, "model.infer", "model", "m", "/x", {"prompt": "x", **document}, stream=True)
    call.usage_events_added, call.chunk_usage_added, call.choices = events_added, chunks_added, choices
    call.input_tokens_bound = 1000
    return call


def relay(call: Call, *chunks: bytes):
    meter = OpenAIProtocol().meter(call, 200, HEADERS)
    relayed = b"".join(meter.feed(chunk) for chunk in chunks) + meter.finish()
    return relayed, meter.usage


def test_the_usage_event_that_only_the_gateway_wanted_is_taken_out():
    relayed, usage = relay(make_call(), word("a") + word("b"), final(3, 2), DONE)
    assert relayed == word("a") + word("b") + DONE
    assert (usage.input_tokens, usage.output_tokens, usage.known) == (3, 2, True)


def test_a_caller_that_asked_for_usage_gets_every_byte():
    stream = word("a", None) + final(3, 1) + DONE
    assert relay(make_call(events_added=False), stream)[0] == stream


@pytest.mark.parametrize("one_chunk", [True, False])
def test_continuous_usage_is_cut_and_every_other_byte_stays(one_chunk):
    events = [word('é\n"usage": x', figures(3, 1)), word("b", figures(3, 2)), final(3, 2), DONE]
    chunks = [b"".join(events)] if one_chunk else events
    relayed, usage = relay(make_call(chunks_added=True), *chunks)
    assert relayed == word('é\n"usage": x') + word("b") + DONE
    assert usage.output_tokens == 2


def test_continuous_usage_is_cut_and_the_last_event_kept_for_a_caller_that_asked_for_that_only():
    stream = word("a", figures(3, 1)) + final(3, 1) + DONE
    relayed, _ = relay(make_call(events_added=False, chunks_added=True), stream)
    assert relayed == word("a") + final(3, 1) + DONE


def test_a_caller_that_asked_for_continuous_usage_keeps_it():
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = word("a", figures(3, 1)) + final(3, 1) + DONE
    relayed, usage = relay(make_call(events_added=False, stream_options=options), stream)
    assert relayed == stream
    assert usage.known


def test_the_null_that_comes_with_the_wish_for_usage_is_cut():
    relayed, _ = relay(make_call(), word("a", None), final(1, 1), DONE)
    assert relayed == word("a") + DONE


def test_usage_in_the_middle_of_an_event_is_taken_out_of_the_document():
    document = {"usage": figures(1, 1), **HEAD, "choices": [{"index": 0, "delta": {"content": "a"}}], "x": 1}
    relayed, usage = relay(make_call(chunks_added=True), event(document), DONE)
    assert json.loads(relayed[6:].split(b"\n")[0]) == {k: v for k, v in document.items() if k != "usage"}
    assert usage.known


def test_a_member_of_that_name_deeper_in_the_document_stays():
    choice = {"index": 0, "delta": {"content": "a", "usage": {"prompt_tokens": 9, "completion_tokens": 9}}}
    nested = event({**HEAD, "choices": [choice]})
    relayed, usage = relay(make_call(chunks_added=True), nested, DONE)
    assert relayed == nested + DONE
    assert not usage.known


def test_text_that_looks_like_usage_stays():
    tricky = word("usage") + word(',"usage":{"prompt_tokens":1}}') + word('x "usage"')
    relayed, usage = relay(make_call(chunks_added=True), tricky, DONE)
    assert relayed == tricky + DONE
    assert not usage.known


def test_an_event_over_several_lines_with_other_fields_is_understood():
    lines = (
        b'event: chunk\r\nid: 7\r\ndata: {"choices":[{"index":0}],\r\ndata: "usage":{"prompt_tokens":1,'
        b'"completion_tokens":2}}\r\n\r\n'
    )
    relayed, usage = relay(make_call(), lines, b": ping\n\n", b"data: [DONE]\r\n\r\n")
    assert relayed == (
        b'event: chunk\r\nid: 7\r\ndata: {"choices":[{"index":0}]}\r\n\r\n: ping\n\ndata: [DONE]\r\n\r\n'
    )
    assert (usage.input_tokens, usage.output_tokens) == (1, 2)


def test_figures_of_several_choices_are_added_up():
    call = make_call(chunks_added=True, choices=2)
    chunks = [word("a", figures(5, 1)), word("b", figures(5, 1), 1), word("c", figures(5, 2)), word("d", figures(5, 3))]
    meter = OpenAIProtocol().meter(call, 200, HEADERS)
    for chunk in chunks:
        meter.feed(chunk)
    assert (meter.usage.input_tokens, meter.usage.output_tokens) == (5, 4)
    meter.feed(final(5, 6))
    assert meter.usage.output_tokens == 6


def test_with_several_prompts_the_input_is_bounded_until_the_whole_is_known():
    call = make_call("completions", chunks_added=True, choices=2, prompt=["a", "b"])
    meter = OpenAIProtocol().meter(call, 200, HEADERS)
    meter.feed(event({**HEAD, "choices": [{"index": 1, "text": "x"}], "usage": figures(5, 1)}))
    assert (meter.usage.input_tokens, meter.usage.known) == (1000, True)
    meter.feed(final(9, 4))
    assert (meter.usage.input_tokens, meter.usage.output_tokens) == (9, 4)


def test_before_any_figure_usage_is_an_estimate_that_says_so():
    meter = OpenAIProtocol().meter(make_call(), 200, HEADERS)
    meter.feed(b": waiting\n\n")
    assert (meter.usage.input_tokens, meter.usage.output_tokens) == (0, 0)
    meter.feed(word("a") + word("b"))
    meter.feed(word("c"))
    assert (meter.usage.input_tokens, meter.usage.output_tokens, meter.usage.known) == (1000, 3, False)


def test_the_events_of_the_responses_api_are_relayed_and_their_usage_read():
    def named(name, **fields):
        return f"event: {name}\n".encode() + event({"type": name, **fields})

    stream = (
        named("response.created", response={"usage": None, "error": None})
        + named("response.output_text.delta", delta="hi")
        + named("response.completed", response={"usage": {"input_tokens": 4, "output_tokens": 1}, "error": None})
    )
    relayed, usage = relay(make_call("responses", events_added=False), stream)
    assert relayed == stream
    assert (usage.input_tokens, usage.output_tokens, usage.known) == (4, 1, True)


@pytest.mark.parametrize("document", [{"error": {"message": "out of memory"}}, {"error": "out of memory"}])
def test_an_error_of_the_backend_ends_the_stream_after_what_came_before(document):
    meter = OpenAIProtocol().meter(make_call(), 200, HEADERS)
    assert meter.feed(word("a") + event(document) + DONE) == word("a")
    for again in (lambda: meter.feed(DONE), meter.finish):
        with pytest.raises(UpstreamError) as caught:
            again()
        assert caught.value.code == "upstream_stream_error"
        assert "out of memory" in caught.value.detail


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\n\n",
        b": only a comment\n\n",
        b"<html>\n\n</html>\n\n",
        word() + b'data: {"id"',
        word() + b"data: {}",
        word() + b'data: {"usage": nope}\n\n',
        b"data: a\rdata: b\n\n",
        b"data: " + b"x" * MAX_EVENT + b"\n\n",
        b"data: " + b"x" * MAX_EVENT,
    ],
    ids=lambda stream: stream[:30].decode(),
)
@pytest.mark.parametrize("size", [7, 100_000, 10**9])
def test_a_stream_that_is_none_is_a_failure_of_the_backend(stream, size):
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    if len(chunks) > 1000:
        chunks = [stream[: len(stream) // 2], stream[len(stream) // 2 :]]
    with pytest.raises(UpstreamError) as caught:
        relay(make_call(), *chunks)
    assert caught.value.code == "upstream_garbage"


@pytest.mark.parametrize("end", [b"", b"\n", b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE]\r\n", b"\r\n\r\n"])
def test_a_stream_may_end_without_its_last_blank_line(end):
    assert relay(make_call(), word() + end)[0] == word() + end


def test_the_largest_event_passes():
    big = word("x" * (MAX_EVENT - len(word(""))))
    assert len(big) == MAX_EVENT
    assert relay(make_call(), big[:10], big[10:])[0] == big


counts = st.integers(0, 50)
line_ends = st.sampled_from(["\n\n", "\r\n\r\n", "\n\r\n"])
texts = st.text(max_size=8) | st.sampled_from(['"usage"', ',"usage":{}}', '"delta"', "data: x", "\n\n"])
plain_events = st.builds(lambda text, end: word(text, end=end), texts, line_ends)
usage_events = st.builds(
    lambda text, a, b, end, index: word(text, figures(a, b), index, end),
    texts, counts, counts, line_ends, st.integers(0, 1),
)  # fmt: skip
events = st.one_of(
    plain_events,
    usage_events,
    st.builds(final, counts, counts, line_ends),
    st.builds(lambda text, end: word(text, None, end=end), texts, line_ends),
    st.builds(
        lambda a, b: event({"usage": figures(a, b), **HEAD, "choices": [{"index": 0}]}, indent=1), counts, counts
    ),
    st.sampled_from([DONE, b": ping\n\n", b"\n", b"\r\n", b"\n\n\n", b"data\n\n", b"data: 5\n\n", b"event: x\n\n"]),
    st.sampled_from([event({"error": {"message": "x"}}), b'data: {"usage":\n\n', b"data: a\rb\n\n", b"data: par"]),
)
calls = st.builds(
    lambda a, b, n: make_call(events_added=a, chunks_added=b, choices=n),
    st.booleans(), st.booleans(), st.integers(1, 2),
)  # fmt: skip


def outcome(call: Call, chunks: list[bytes]):
    """What leaves, what is counted and whether it fails; blank lines before a failure may stay behind."""
    meter = OpenAIProtocol().meter(call, 200, HEADERS)
    relayed = b""
    try:
        for chunk in chunks:
            relayed += meter.feed(chunk)
        relayed += meter.finish()
    except UpstreamError as error:
        return relayed.rstrip(b"\r\n"), meter.usage, error.detail
    return relayed, meter.usage, ""


@given(calls, st.lists(events, max_size=8).map(b"".join), st.lists(st.integers(0, 2000), max_size=15))
@example(make_call(), b"\n\n\n", [1])
@example(make_call(), word() + b"\n" + final(1, 1), [len(word()) + 1])
def test_chunks_make_no_difference_to_bytes_usage_or_failure(call, stream, cuts):
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    whole = outcome(call, [stream])
    assert outcome(call, [stream[a:b] for a, b in itertools.pairwise(edges)]) == whole
    assert outcome(call, [stream[at : at + 1] for at in range(len(stream))]) == whole


@given(st.lists(plain_events | usage_events, min_size=1, max_size=6), st.booleans())
def test_only_usage_is_ever_missing(streamed, chunks_added):
    stream = b"".join(streamed) + DONE
    relayed, _, failed = outcome(make_call(chunks_added=chunks_added), [stream])
    assert not failed

    def documents(data):
        lines = [line[6:].rstrip(b"\r") for line in data.split(b"\n") if line.startswith(b"data: {")]
        return [{k: v for k, v in json.loads(line).items() if k != "usage"} for line in lines]

    assert documents(relayed) == documents(stream)
    assert b'"usage":{"prompt' not in relayed
