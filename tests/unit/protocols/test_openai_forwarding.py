"""What is forwarded is what was authorised: the bytes received, or the same document with what was set."""

import json

import pytest


def forward(protocol, call, *, max_tokens=0, continuous_usage=False, model=""):
    return protocol.prepare(call, max_tokens=max_tokens, continuous_usage=continuous_usage, model=model)


@pytest.mark.parametrize("operation", ["chat", "completions", "embeddings"])
def test_a_body_that_needs_no_change_is_forwarded_to_the_byte(protocol, parse, operation):
    call = parse(operation, user="é\u2028", temperature=1.0)
    assert forward(protocol, call, model="m") is call.body
    assert forward(protocol, call, model="") is call.body


def test_only_what_is_set_differs(protocol, parse):
    call = parse("chat", max_tokens=100, temperature=0.1, guided_json={"b": 1, "a": [1e-7, 2**63]})
    forwarded = json.loads(forward(protocol, call, max_tokens=10, model="real/name"))
    assert forwarded == {**call.document, "max_tokens": 10, "model": "real/name"}
    assert list(forwarded) == list(call.document)


def test_the_parsed_document_stays_as_it_was(protocol, parse):
    call = parse("chat", stream=True, stream_options={"include_obfuscation": False})
    before = json.dumps(call.document)
    forward(protocol, call, max_tokens=5, continuous_usage=True, model="x")
    assert json.dumps(call.document) == before


@pytest.mark.parametrize(
    ("operation", "members", "expected"),
    [
        ("chat", {}, {"max_tokens": 9}),
        ("chat", {"max_completion_tokens": 50}, {"max_completion_tokens": 9}),
        ("chat", {"max_tokens": None, "max_completion_tokens": 50}, {"max_completion_tokens": 9}),
        ("chat", {"max_tokens": 50, "max_completion_tokens": 50}, {"max_tokens": 9, "max_completion_tokens": 9}),
        ("completions", {}, {"max_tokens": 9}),
        ("responses", {"max_output_tokens": 50}, {"max_output_tokens": 9}),
        ("responses", {}, {"max_output_tokens": 9}),
    ],
)
def test_the_output_bound_is_set_under_the_name_the_caller_used(protocol, parse, operation, members, expected):
    forwarded = json.loads(forward(protocol, parse(operation, **members), max_tokens=9))
    limits = {key: value for key, value in forwarded.items() if key.startswith("max_") and value is not None}
    assert limits == expected


def test_a_bound_that_is_already_there_changes_nothing(protocol, parse):
    call = parse("chat", max_tokens=9)
    assert forward(protocol, call, max_tokens=9) is call.body


def test_a_stream_is_made_to_report_usage(protocol, parse):
    call = parse("chat", stream=True)
    assert json.loads(forward(protocol, call))["stream_options"] == {"include_usage": True}
    assert (call.usage_events_added, call.chunk_usage_added) == (True, False)
    options = json.loads(forward(protocol, call, continuous_usage=True))["stream_options"]
    assert options == {"include_usage": True, "continuous_usage_stats": True}
    assert (call.usage_events_added, call.chunk_usage_added) == (True, True)


def test_what_the_caller_asked_for_is_not_noted_as_added(protocol, parse):
    options = {"include_usage": True, "continuous_usage_stats": True}
    call = parse("completions", stream=True, stream_options=options)
    assert forward(protocol, call, continuous_usage=True) is call.body
    assert (call.usage_events_added, call.chunk_usage_added) == (False, False)


def test_a_caller_that_declines_usage_does_not_keep_it_from_the_gateway(protocol, parse):
    call = parse("chat", stream=True, stream_options={"include_usage": False, "continuous_usage_stats": False})
    assert json.loads(forward(protocol, call))["stream_options"]["include_usage"] is True
    assert call.usage_events_added


def test_a_second_backend_gets_its_own_body(protocol, parse):
    call = parse("chat", stream=True)
    forward(protocol, call, continuous_usage=True, model="a")
    second = json.loads(forward(protocol, call, continuous_usage=False, model="b"))
    assert second["model"] == "b"
    assert second["stream_options"] == {"include_usage": True}
    assert not call.chunk_usage_added


def test_responses_are_never_kept_on_the_model_server(protocol, parse):
    call = parse("responses", stream=True)
    forwarded = json.loads(forward(protocol, call))
    assert forwarded["store"] is False
    assert "stream_options" not in forwarded
    unchanged = parse("responses", store=False)
    assert forward(protocol, unchanged) is unchanged.body
