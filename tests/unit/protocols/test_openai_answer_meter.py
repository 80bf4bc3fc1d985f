"""A whole answer is relayed as it came, or not at all."""

import json

import pytest

from gateway.errors import UpstreamError
from gateway.protocols.openai import answer_meter

JSON = [(b"content-type", b"application/json")]
CHAT = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}


def read(protocol, call, document, headers=JSON):
    body = document if isinstance(document, bytes) else json.dumps(document, indent=1).encode()
    meter = protocol.meter(call, 200, headers)
    relayed = b"".join(meter.feed(body[at : at + 7]) for at in range(0, len(body), 7))
    assert relayed == b"", "nothing may leave before the answer is complete"
    assert meter.finish() == body
    return meter.usage


@pytest.mark.parametrize(
    ("operation", "document", "figures"),
    [
        ("chat", CHAT, (3, 4)),
        ("completions", CHAT, (3, 4)),
        ("embeddings", {"data": [], "usage": {"prompt_tokens": 5, "total_tokens": 5}}, (5, 0)),
        ("responses", {"output": [], "usage": {"input_tokens": 1, "output_tokens": 2}}, (1, 2)),
    ],
)
def test_usage_is_read_and_the_body_relayed_unchanged(protocol, parse, operation, document, figures):
    usage = read(protocol, parse(operation), document)
    assert (usage.input_tokens, usage.output_tokens, usage.known) == (*figures, True)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "3",
        {"prompt_tokens": -1},
        {"prompt_tokens": True},
        {"prompt_tokens": 1.5},
        {"prompt_tokens": 1, "completion_tokens": 2**60},
        {"completion_tokens": 5},
    ],
)
def test_a_figure_that_is_none_leaves_usage_unknown(protocol, parse, usage):
    assert read(protocol, parse("chat"), {"choices": [], "usage": usage}).known is False


@pytest.mark.parametrize(
    "body", [b"", b"not json", b'{"choices":[', b"[]", b"{}", b'{"choices":{}}', b'{"error":{"message":"x"}}']
)
def test_an_answer_that_is_none_is_a_failure_of_the_backend(protocol, parse, body):
    meter = protocol.meter(parse("chat"), 200, JSON)
    meter.feed(body)
    with pytest.raises(UpstreamError) as caught:
        meter.finish()
    assert caught.value.code == "upstream_garbage"


def test_an_answer_without_end_is_cut(protocol, parse, monkeypatch):
    monkeypatch.setattr(answer_meter, "MAX_ANSWER", 100)
    meter = protocol.meter(parse("chat"), 200, JSON)
    meter.feed(b"x" * 100)
    with pytest.raises(UpstreamError) as caught:
        meter.feed(b"x")
    assert caught.value.code == "upstream_answer_too_large"


@pytest.mark.parametrize(
    ("stream", "status", "headers"),
    [
        (False, 500, JSON),
        (False, 307, JSON),
        (False, 204, JSON),
        (False, 200, []),
        (False, 200, [(b"content-type", b"text/html")]),
        (False, 200, [(b"content-type", b"text/event-stream")]),
        (True, 200, JSON),
        (False, 200, [*JSON, (b"content-encoding", b"gzip")]),
    ],
)
def test_an_answer_of_another_kind_is_refused_at_its_head(protocol, parse, stream, status, headers):
    with pytest.raises(UpstreamError):
        protocol.meter(parse("chat", stream=stream), status, headers)


def test_the_content_type_may_have_parameters(protocol, parse):
    assert read(protocol, parse("chat"), CHAT, [(b"content-type", b"application/json; charset=utf-8")]).known
