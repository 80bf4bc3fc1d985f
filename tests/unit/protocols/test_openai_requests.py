"""What the policy sees of a request is what the backend will do with it; everything else is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MediaTypeError, MethodNotAllowedError, NotFoundError, RequestError
from gateway.protocols.base import WireProtocol
from gateway.protocols.openai import OpenAIProtocol
from gateway.protocols.openai.parameters import REFUSED
from gateway.protocols.openai.seen import IMAGE_TOKENS

PNG = "data:image/png;base64,iVBORw0KGgo="
FUNCTION = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
HEADERS = [(b"content-type", b"application/json")]


def refusal(parse, operation, **members):
    with pytest.raises(RequestError) as caught:
        parse(operation, **members)
    assert caught.value.status == 400
    return caught.value


def test_it_is_a_wire_protocol(protocol):
    seam: WireProtocol = protocol
    assert seam.name == "openai"


def test_a_chat_is_understood(parse):
    call = parse("chat", stream=True, max_tokens=7, n=2, tools=[FUNCTION], top_k=5, guided_json={"a": 1})
    assert (call.operation, call.action, call.upstream_path) == (
        "chat.completions",
        "model.infer",
        "/chat/completions",
    )
    assert (call.resource_type, call.resource_id) == ("model", "m")
    assert (call.stream, call.max_tokens, call.choices, call.tools) == (True, 7, 2, ("look_up",))
    assert call.document["top_k"] == 5
    assert not call.local


@pytest.mark.parametrize(
    ("operation", "action"),
    [("completions", "model.infer"), ("embeddings", "model.embed"), ("responses", "model.infer")],
)
def test_the_other_operations_are_understood(parse, operation, action):
    call = parse(operation)
    assert call.action == action
    assert call.upstream_path == "/" + operation
    assert call.input_tokens_bound >= len("hello")


def test_the_model_listing_is_answered_locally(protocol):
    everything = protocol.parse("GET", "/v1/models", [], b"")
    assert everything.local
    assert everything.resource_id == ""
    assert protocol.parse("GET", "/v1/models/org/name", [], b"").resource_id == "org/name"
    assert protocol.parse("GET", "/v1/models/org/name", [], b"").resource_id == "org/name"
    with pytest.raises(RequestError):
        protocol.parse("GET", "/v1/models", HEADERS, b"{}")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v2/models",
        "/v1/files",
        "/v1/models/",
        "/v1/responses/resp_1",
        "/v1/chat/completions/",
        "/v1/chat/completions/x",
        "/v1//chat/completions",
        "/V1/chat/completions",
        "/chat/completions",
    ],
)
def test_an_unknown_path_is_not_a_route(protocol, path):
    assert not protocol.match("POST", path)
    with pytest.raises(NotFoundError):
        protocol.parse("POST", path, HEADERS, b"{}")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", b"POST"),
        ("DELETE", "/v1/models/m", b"GET"),
        ("POST", "/v1/models", b"GET"),
        ("HEAD", "/v1/responses", b"POST"),
    ],
)
def test_another_method_is_refused_and_the_right_one_named(protocol, method, path, allowed):
    assert protocol.match(method, path)
    with pytest.raises(MethodNotAllowedError) as caught:
        protocol.parse(method, path, HEADERS, b"")
    assert (b"allow", allowed) in caught.value.headers


def test_the_body_is_parsed_strictly(protocol):
    path = "/v1/chat/completions"
    with pytest.raises(MediaTypeError):
        protocol.parse("POST", path, [], b"{}")
    with pytest.raises(RequestError) as caught:
        protocol.parse("POST", path, HEADERS, b'{"model":"a","model":"b"}')
    assert caught.value.code == "json_duplicate_key"


@pytest.mark.parametrize(
    ("model", "code"),
    [
        (..., "model_missing"),
        (None, "model_missing"),
        ("", "model_missing"),
        (1, "model_invalid"),
        (["m"], "model_invalid"),
        ("m" * 201, "model_invalid"),
        ("m\n", "model_invalid"),
        ("m\u202e", "model_invalid"),
    ],
)
def test_the_model_is_a_printable_name(parse, model, code):
    assert refusal(parse, "chat", model=model).code == code


@pytest.mark.parametrize(
    "key",
    ["Model", "MAX_TOKENS", "Stream", "mODEL", "\u017ftream", "Messages", "Max_Completion_Tokens", "Chat_Template"],
)
def test_a_key_in_another_letter_case_is_refused(parse, key):
    error = refusal(parse, "chat", **{key: "x"})
    assert error.code == "parameter_case"
    assert error.extensions["param"] == key


@pytest.mark.parametrize(
    ("operation", "key"),
    [
        ("chat", "max_output_tokens"),
        ("chat", "max_new_tokens"),
        ("chat", "n_predict"),
        ("responses", "max_tokens"),
        ("completions", "max_completion_tokens"),
        ("embeddings", "max_tokens"),
    ],
)
def test_an_output_bound_under_another_name_is_refused(parse, operation, key):
    assert refusal(parse, operation, **{key: 5}).code == "parameter_alias"


@pytest.mark.parametrize("operation", ["chat", "completions"])
@pytest.mark.parametrize("value", [0, -1, 1.5, 64.0, True, "5", [5], 2**31, 2**63])
def test_an_output_bound_is_a_sensible_number(parse, operation, value):
    error = refusal(parse, operation, max_tokens=value)
    assert error.code in {"max_tokens_invalid", "max_tokens_too_large"}
    assert error.extensions["param"] == "max_tokens"


def test_two_output_bounds_must_agree(parse):
    assert refusal(parse, "chat", max_tokens=5, max_completion_tokens=6).code == "max_tokens_conflict"
    assert parse("chat", max_tokens=5, max_completion_tokens=5).max_tokens == 5
    assert parse("chat", max_tokens=None, max_completion_tokens=6).max_tokens == 6
    assert parse("responses", max_output_tokens=9).max_tokens == 9
    assert parse("chat").max_tokens == 0


@pytest.mark.parametrize("value", ["true", 1, 0, [], {}])
def test_stream_is_a_boolean(parse, value):
    assert refusal(parse, "chat", stream=value).code == "stream_invalid"


def test_stream_null_is_no_stream(parse):
    assert parse("chat", stream=None, stream_options=None).stream is False


@pytest.mark.parametrize(
    "members",
    [
        {"stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {"include_usage": "yes"}},
        {"stream": True, "stream_options": {"Include_usage": True}},
        {"stream": True, "stream_options": []},
    ],
)
def test_stream_options_are_checked(parse, members):
    assert refusal(parse, "chat", **members).code == "stream_options_invalid"


@pytest.mark.parametrize("members", [{"n": 0}, {"n": 129}, {"n": True}, {"best_of": "2"}, {"n": -1}])
def test_the_number_of_completions_is_bounded(parse, members):
    assert refusal(parse, "completions", **members).code == "choices_invalid"


def test_completions_of_all_prompts_are_counted(parse):
    assert parse("completions", n=2, best_of=3, prompt=["a", "b"]).choices == 6
    assert refusal(parse, "completions", n=128, prompt=["a"] * 100).code == "choices_invalid"
    assert parse("embeddings", input=["a", "b", "c"]).choices == 3


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_a_parameter_that_is_not_the_callers_to_choose_is_refused_with_its_reason(parse, key):
    error = refusal(parse, "chat", **{key: {"x": 1}})
    assert error.code == "parameter_refused"
    assert REFUSED[key] in error.detail
    assert parse("chat", **{key: None}).document[key] is None


@pytest.mark.parametrize(
    "members",
    [
        {"store": True},
        {"background": True},
        {"previous_response_id": "resp_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"conversation": "conv_1"},
        {"service_tier": "priority"},
    ],
)
def test_state_on_the_model_server_is_refused(parse, members):
    assert refusal(parse, "responses", **members).code == "parameter_refused"


def test_asking_for_no_state_passes(parse):
    assert parse("responses", store=False, background=False, previous_response_id=None).operation == "responses"


@pytest.mark.parametrize("kwargs", [{"chat_template": "{{x}}"}, {"tokenize": True}, {"a": {"b": 1}}, "x", [1]])
def test_template_arguments_are_flags_only(parse, kwargs):
    assert refusal(parse, "chat", chat_template_kwargs=kwargs).code == "parameter_refused"
    assert parse("chat", chat_template_kwargs={"enable_thinking": False}).operation == "chat.completions"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "https://example.org/a.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "",
        " data:image/png;base64,AA",
        "DATA:image/png;base64,AA",
        "data:text/html;base64,AA",
        "data:image/png,plain",
        5,
        None,
    ],
)
def test_an_image_comes_in_the_request_itself(parse, url):
    for part in ({"type": "image_url", "image_url": {"url": url}}, {"type": "image_url", "image_url": url}):
        error = refusal(parse, "chat", messages=[{"role": "user", "content": [part]}])
        assert error.code == "media_url_refused"
        assert "messages[0].content[0]" in error.detail
    item = {"role": "user", "content": [{"type": "input_image", "image_url": url}]}
    assert refusal(parse, "responses", input=[item]).code == "media_url_refused"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "x", "image_url": {"url": "http://h/"}},
        {"type": "image_url", "image_url": {"url": PNG}, "video_url": {"url": "http://h/"}},
        {"image_url": {"url": PNG}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AA"}},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "input_file", "file_url": "http://h/"},
        {"type": "image_embeds", "image_embeds": "AA"},
        {"type": "input_image", "file_id": "f", "image_url": PNG},
        {"type": "input_audio", "input_audio": {"data": 5}},
        {"type": ["text"]},
        7,
    ],
    ids=str,
)
def test_content_of_other_kinds_is_refused(parse, part):
    message = {"role": "user", "content": [part]}
    assert refusal(parse, "chat", messages=[message]).code == "content_part_refused"
    assert refusal(parse, "responses", input=[message]).code == "content_part_refused"
    output = {"type": "function_call_output", "call_id": "c", "output": [part]}
    assert refusal(parse, "responses", input=[output]).code == "content_part_refused"


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "x"},
        {"type": "mcp_approval_response"},
        {"type": "computer_call_output", "output": {"image_url": "http://h/"}},
        {"type": 5},
        "text",
        None,
    ],
)
def test_items_that_refer_to_elsewhere_are_refused(parse, item):
    assert refusal(parse, "responses", input=[item]).code == "input_item_refused"


def test_a_message_brings_no_media_beside_its_content(parse):
    message = {"role": "assistant", "content": "x", "audio": {"id": "audio_1"}}
    assert refusal(parse, "chat", messages=[message]).code == "content_part_refused"
    assert parse("chat", messages=[{**message, "audio": None}]).operation == "chat.completions"


@pytest.mark.parametrize("messages", [None, [], "x", {}, ["x"], [{"content": "x"}], [{"role": "user", "content": 5}]])
def test_messages_are_checked(parse, messages):
    assert refusal(parse, "chat", messages=messages).code == "messages_invalid"


def test_the_names_of_all_tools_are_seen(parse):
    call = parse(
        "chat",
        tools=[FUNCTION, {"type": "custom", "custom": {"name": "run"}}],
        functions=[{"name": "old"}],
        messages=[
            {"role": "developer", "content": "x", "tools": [{"type": "function", "function": {"name": "hidden"}}]}
        ],
    )
    assert sorted(call.tools) == ["hidden", "look_up", "old", "run"]
    assert parse("responses", tools=[{"type": "function", "name": "flat"}]).tools == ("flat",)


@pytest.mark.parametrize("kind", ["web_search", "mcp", "code_interpreter", "file_search", "shell", None, 5, [], {}])
def test_tools_that_the_model_server_would_run_are_refused(parse, kind):
    tool = {"type": kind, "server_url": "http://h/", "name": "x"}
    assert refusal(parse, "responses", tools=[tool]).code == "tool_type_refused"
    assert refusal(parse, "chat", tools=[tool]).code == "tool_type_refused"


@pytest.mark.parametrize("tools", ["x", {}, [{"type": "function"}], [FUNCTION] * 513])
def test_tools_have_names_and_a_bound(parse, tools):
    assert refusal(parse, "chat", tools=tools).code == "tools_invalid"


def test_names_of_tools_that_no_audit_record_has_room_for_are_refused_and_many_short_ones_are_not(parse):
    def tools(count: int, length: int) -> list[dict[str, object]]:
        return [{"type": "function", "function": {"name": f"{number:0{length}}"}} for number in range(count)]

    assert len(parse("chat", tools=tools(512, 24)).tools) == 512
    refused = refusal(parse, "chat", tools=tools(97, 128))
    assert (refused.status, refused.code) == (400, "tools_invalid")
    assert "12288 bytes together" in refused.detail


@given(st.lists(st.text(max_size=60), min_size=1, max_size=6), st.booleans())
def test_no_byte_level_tokenizer_yields_more_input_tokens_than_the_bound(texts, ascii_only):
    protocol = OpenAIProtocol()
    reality = sum(len(text.encode()) for text in texts)

    def bound(path: str, document: dict) -> int:
        body = json.dumps(document, ensure_ascii=ascii_only).encode()
        return protocol.parse("POST", path, HEADERS, body).input_tokens_bound

    messages = [{"role": "user", "content": text} for text in texts]
    parts = [{"role": "user", "content": [{"type": "text", "text": text} for text in texts]}]
    template = 8 * len(texts)
    assert bound("/v1/chat/completions", {"model": "m", "messages": messages}) >= reality + template
    assert bound("/v1/chat/completions", {"model": "m", "messages": parts}) >= reality
    assert bound("/v1/responses", {"model": "m", "input": messages}) >= reality + template
    assert bound("/v1/completions", {"model": "m", "prompt": texts}) >= reality + 2 * len(texts)
    assert bound("/v1/embeddings", {"model": "m", "input": texts}) >= reality + 2 * len(texts)


def test_token_numbers_are_counted_one_by_one(parse):
    assert 1000 <= parse("embeddings", input=[99_999] * 1000).input_tokens_bound < 1100
    assert 1000 <= parse("completions", prompt=[[1] * 500] * 2).input_tokens_bound < 1100


def test_an_image_counts_as_its_tokens_not_as_its_bytes(parse):
    big = PNG + "A" * 1_000_000
    part = {"type": "image_url", "image_url": {"url": big, "detail": "high"}}
    bound = parse("chat", messages=[{"role": "user", "content": [part, part]}]).input_tokens_bound
    assert 2 * IMAGE_TOKENS <= bound < 2 * IMAGE_TOKENS + 2000


def test_tools_written_out_by_a_template_stay_below_the_bound(parse):
    deep = {"type": "object", "properties": {f"p{n}": {"type": "array", "items": {"enum": [1, 2]}} for n in range(9)}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": deep}}]
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": calls}]
    plain = parse("chat", messages=messages).input_tokens_bound
    assert parse("chat", messages=messages, tools=tools).input_tokens_bound - plain >= len(json.dumps(tools, indent=4))


@pytest.mark.parametrize(
    "value", [None, "", [], {}, 5, [None], ["a", 1], [[]], [[1, "a"]], [True], [1.5], [["a"]], ["a"] * 2049]
)
def test_inputs_are_texts_or_token_numbers(parse, value):
    if value != "":
        assert refusal(parse, "embeddings", input=value).code == "prompt_invalid"
        assert refusal(parse, "completions", prompt=value).code == "prompt_invalid"


@pytest.mark.parametrize(
    "members", [{"encoding_format": "bytes"}, {"messages": [{}]}, {"stream": True}, {"encoding_format": []}]
)
def test_embeddings_take_texts_only(parse, members):
    refusal(parse, "embeddings", **members)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "role", "content", "url", "name", "function"]), inner, max_size=3)
    ),
    max_leaves=12,
)
keys = ["model", "messages", "input", "prompt", "tools", "functions", "stream", "stream_options", "max_tokens", "n"]
keys += ["chat_template_kwargs", "service_tier", "encoding_format", "suffix", "store", "best_of"]


@given(
    st.sampled_from(["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]),
    st.dictionaries(st.sampled_from(keys), json_values),
)
def test_any_document_is_understood_or_refused_and_nothing_else_happens(path, document):
    protocol = OpenAIProtocol()
    try:
        call = protocol.parse("POST", path, HEADERS, json.dumps({"model": "m", **document}).encode())
    except RequestError:
        return
    protocol.prepare(call, max_tokens=5, continuous_usage=True, model="other")
