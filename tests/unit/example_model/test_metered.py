"""The protocol's meter between a caller and the example server: the same bytes, and the usage besides."""

import json
import re

import httpx
import pytest

from gateway.protocols.openai import OpenAIProtocol

QUESTION = [{"role": "user", "content": "one two three"}]
HEADERS = [(b"content-type", b"application/json")]
PROTOCOL = OpenAIProtocol()


def normal(answer: bytes) -> bytes:
    """Make what differs from call to call the same."""
    return re.sub(rb'"created(_at)?":\s?\d+', b'"created":0', re.sub(rb"(cmpl-|resp_|msg_)[0-9a-f]{32}", b"id", answer))


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(
    ("path", "members", "figures"),
    [
        ("/chat/completions", {"messages": QUESTION, "max_tokens": 5}, (3, 5)),
        ("/chat/completions", {"messages": QUESTION, "max_tokens": 5, "n": 3}, (3, 15)),
        ("/completions", {"prompt": ["a b", "c"], "max_tokens": 4, "n": 2}, (3, 16)),
        ("/responses", {"input": "a b c d", "max_output_tokens": 6, "store": False}, (4, 6)),
    ],
)
@pytest.mark.parametrize(
    "asked",
    [
        {"stream": False},
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    ],
    ids=["whole", "stream", "stream-with-usage", "stream-with-continuous-usage"],
)
def test_the_caller_gets_what_it_would_get_directly(url, path, members, figures, asked, continuous):
    body = json.dumps({"model": "m", **members, **asked}).encode()
    call = PROTOCOL.parse("POST", "/v1" + path, HEADERS, body)
    forwarded = PROTOCOL.prepare(call, max_tokens=call.max_tokens, continuous_usage=continuous, model="")
    with httpx.Client(base_url=url + "/v1", trust_env=False) as client:
        direct = client.post(path, content=body).content
        with client.stream("POST", path, content=forwarded) as answer:
            meter = PROTOCOL.meter(call, answer.status_code, [(k.lower(), v) for k, v in answer.headers.raw])
            relayed = b"".join(meter.feed(chunk) for chunk in answer.iter_raw()) + meter.finish()
    assert normal(relayed) == normal(direct)
    assert (meter.usage.input_tokens, meter.usage.output_tokens, meter.usage.known) == (*figures, True)
    assert call.input_tokens_bound >= figures[0]
