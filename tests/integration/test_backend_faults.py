"""A backend that misbehaves: what the caller is told, what is recorded and charged, and that nothing leaks."""

import json
import time

import httpx
import openai
import pytest

from tests.support.calls import chat, eventually, metric, outcome, plain, records, sdk, used
from tests.support.faulty_backend import REDIRECT_TARGET, USAGE, FaultyBackend, refused_url
from tests.support.running_gateway import AgentFiles, RunningGateway

CREDENTIAL = "backend-credential-7f3a"
MODEL = "example-chat"
DAY = "agent-default-tokens-per-day"
STREAMS = "agent-default-concurrent-streams"

BEFORE_ANSWER = [
    ("hang-before-head", 504, "upstream_timeout"),
    ("reset-before-head", 502, "upstream_broken"),
    ("garbage-head", 502, "upstream_malformed"),
    ("two-lengths", 502, "upstream_malformed"),
    ("huge-header", 502, "upstream_head"),
    ("redirect", 502, "upstream_redirect"),
    ("error-500", 502, "upstream_status_500"),
    ("busy", 503, "upstream_busy"),
]
WHOLE = [
    *BEFORE_ANSWER,
    ("close-mid-body", 502, "upstream_broken"),
    ("garbage-body", 502, "upstream_garbage"),
    ("wrong-content-type", 502, "upstream_garbage"),
    ("compressed", 502, "upstream_garbage"),
    ("oversize", 502, "upstream_too_large"),
]
MIDWAY = [
    ("hang-mid-stream", "upstream_timeout"),
    ("reset-mid-stream", "upstream_broken"),
    ("close-mid-stream", "upstream_broken"),
    ("close-mid-event", "upstream_garbage"),
    ("garbage-stream", "upstream_garbage"),
    ("error-in-stream", "upstream_stream_error"),
]


@pytest.fixture(scope="module")
def backend():
    with FaultyBackend() as running:
        yield running


@pytest.fixture(scope="module")
def faulty(backend: FaultyBackend, tmp_path_factory: pytest.TempPathFactory):
    with refused_url() as nobody:
        running = RunningGateway(tmp_path_factory.mktemp("faulty") / "home", backend.url, [MODEL, "example-nobody"])
        credential = running.directory / "credential"
        credential.write_text(CREDENTIAL)
        credential.chmod(0o600)
        timeouts = {"connect_timeout_seconds": 2, "first_byte_timeout_seconds": 1, "idle_timeout_seconds": 1}
        running.edit_config(
            {
                "backends": [
                    {
                        "name": "default", "url": backend.url, "credential": "file:credential",
                        "continuous_usage": True, **timeouts,
                    },
                    {"name": "nobody", "url": nobody, **timeouts},
                ],
                "models": [
                    {"name": MODEL, "system": "assistant", "backends": ["default"]},
                    {"name": "example-nobody", "system": "assistant", "backends": ["nobody"]},
                ],
            }
        )  # fmt: skip
        running.start()
        yield running
        assert running.stop() == 0


@pytest.fixture(scope="module")
def caller(faulty: RunningGateway) -> AgentFiles:
    return faulty.register("agent/caller")


@pytest.fixture
def client(faulty: RunningGateway, caller: AgentFiles, backend: FaultyBackend):
    backend.fault = "none"
    with plain(faulty, caller) as http:
        yield http
    backend.fault = "none"


def assert_tells_nothing_about_the_backend(text: str, faulty: RunningGateway, backend: FaultyBackend) -> None:
    for secret in (
        "127.0.0.1", str(backend.port), REDIRECT_TARGET, CREDENTIAL, "secret stack trace", "Traceback",
        str(faulty.directory),
    ):  # fmt: skip
        assert secret not in text, secret


def assert_serves_well(client: httpx.Client, backend: FaultyBackend) -> None:
    backend.fault = "none"
    assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200


@pytest.mark.parametrize(("fault", "status", "code"), WHOLE)
def test_a_failed_call_is_told_recorded_and_costs_no_tokens(faulty, caller, backend, client, fault, status, code):
    before = used(faulty, caller, DAY)
    backend.fault = fault
    answer = client.post("/v1/chat/completions", json=chat(MODEL))
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["type"] == "server_error"
    assert "model server" in error["message"]
    assert_tells_nothing_about_the_backend(answer.text + str(answer.headers), faulty, backend)
    ended = outcome(faulty, answer.headers["x-request-id"])
    assert (ended["result"], ended["cause"], ended["backend"]) == ("failed", code, "default")
    assert ended["status"] == status
    assert ended["usage"]["charged_tokens"] == 0
    assert used(faulty, caller, DAY) == before
    assert_serves_well(client, backend)


@pytest.mark.parametrize(("fault", "status", "code"), BEFORE_ANSWER)
def test_a_stream_that_never_begins_is_an_ordinary_error(faulty, caller, backend, client, fault, status, code):
    backend.fault = fault
    answer = client.post("/v1/chat/completions", json=chat(MODEL, stream=True))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert_tells_nothing_about_the_backend(answer.text + str(answer.headers), faulty, backend)
    assert outcome(faulty, answer.headers["x-request-id"])["result"] == "failed"
    assert used(faulty, caller, STREAMS) == 0


@pytest.mark.parametrize(("fault", "code"), MIDWAY)
def test_a_stream_that_breaks_ends_with_an_error_event_and_costs_what_arrived(
    faulty, caller, backend, client, fault, code
):
    before = used(faulty, caller, DAY)
    backend.fault = fault
    answer = client.post("/v1/chat/completions", json=chat(MODEL, stream=True))
    assert answer.status_code == 200
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [json.loads(event)["choices"][0]["delta"]["content"] for event in events[:2]] == ["two", " words"]
    assert "[DONE]" not in events
    error = json.loads(events[-1])["error"]
    assert error["code"] == code
    assert error["request_id"] == answer.headers["x-request-id"]
    assert_tells_nothing_about_the_backend(answer.text, faulty, backend)
    ended = outcome(faulty, answer.headers["x-request-id"])
    assert (ended["result"], ended["cause"]) == ("failed", code)
    assert ended["usage"]["reported"] is True
    assert ended["usage"]["charged_tokens"] == USAGE["total_tokens"]
    assert used(faulty, caller, DAY) == before + USAGE["total_tokens"]
    assert used(faulty, caller, STREAMS) == 0
    assert_serves_well(client, backend)


def test_a_stream_without_end_of_line_is_refused_and_not_kept_in_memory(faulty, caller, backend, client):
    backend.fault = "oversize"
    answer = client.post("/v1/chat/completions", json=chat(MODEL, stream=True))
    assert len(answer.content) < 1_000_000
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert json.loads(events[-1])["error"]["code"] == "upstream_garbage"
    assert outcome(faulty, answer.headers["x-request-id"])["result"] == "failed"
    eventually("the connection to the backend is closed", lambda: backend.open <= 1)


def test_a_backend_that_refuses_connections_is_a_502_and_the_call_costs_nothing(faulty, caller, client, backend):
    before = used(faulty, caller, DAY)
    for stream in (False, True):
        answer = client.post("/v1/chat/completions", json=chat("example-nobody", stream=stream))
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
        assert_tells_nothing_about_the_backend(answer.text, faulty, backend)
        ended = outcome(faulty, answer.headers["x-request-id"])
        assert (ended["result"], ended["cause"], ended["status"]) == ("failed", "upstream_unreachable", 502)
    assert used(faulty, caller, DAY) == before
    assert used(faulty, caller, STREAMS) == 0
    assert_serves_well(client, backend)


@pytest.mark.parametrize(
    ("fault", "exception", "code"),
    [
        ("hang-before-head", openai.InternalServerError, "upstream_timeout"),
        ("error-500", openai.InternalServerError, "upstream_status_500"),
        ("busy", openai.InternalServerError, "upstream_busy"),
        ("error-400", openai.BadRequestError, "400"),
    ],
)
def test_the_sdk_raises_its_own_exception_with_the_request_id(faulty, caller, backend, fault, exception, code):
    backend.fault = fault
    with sdk(faulty, caller) as client, pytest.raises(exception) as caught:
        client.chat.completions.create(**chat(MODEL))
    assert caught.value.code == code
    assert caught.value.request_id
    assert outcome(faulty, caught.value.request_id)["intent"] == caught.value.request_id


@pytest.mark.parametrize(("fault", "code"), MIDWAY)
def test_the_sdk_raises_in_the_middle_of_a_broken_stream(faulty, caller, backend, fault, code):
    backend.fault = fault
    pieces = []
    with sdk(faulty, caller) as client:
        stream = client.chat.completions.create(**chat(MODEL, stream=True))
        with pytest.raises(openai.APIError) as caught:
            pieces.extend(chunk.choices[0].delta.content for chunk in stream)
    assert pieces == ["two", " words"]
    assert caught.value.code == code


def test_what_the_backend_says_about_the_request_is_passed_on(faulty, caller, backend, client):
    backend.fault = "error-400"
    answer = client.post("/v1/chat/completions", json=chat(MODEL))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "the prompt is too long"
    assert outcome(faulty, answer.headers["x-request-id"])["usage"]["charged_tokens"] == 0


def test_a_busy_backends_wish_to_wait_reaches_the_caller(backend, client):
    backend.fault = "busy"
    assert client.post("/v1/chat/completions", json=chat(MODEL)).headers["retry-after"] == "7"


def test_the_backend_gets_the_gateways_credential_and_nothing_of_the_callers(faulty, caller, backend, client):
    answer = client.post(
        "/v1/chat/completions",
        json=chat(MODEL),
        headers={
            "authorization": "Bearer of-the-agent", "cookie": "session=of-the-agent", "x-api-key": "of-the-agent",
            "x-forwarded-for": "203.0.113.9", "openai-organization": "of-the-agent",
        },
    )  # fmt: skip
    assert answer.status_code == 200
    received = backend.requests[-1]
    assert [value for name, value in received.headers if name == "authorization"] == [f"Bearer {CREDENTIAL}"]
    assert "of-the-agent" not in str(received.headers)
    assert "203.0.113.9" not in str(received.headers)
    assert CREDENTIAL not in answer.text + str(answer.headers)


def test_headers_of_the_backend_that_are_its_own_business_do_not_pass(backend, client):
    backend.fault = "own-headers"
    answer = client.post("/v1/chat/completions", json=chat(MODEL))
    assert answer.status_code == 200
    assert not {"set-cookie", "server", "x-internal"} & set(answer.headers)


def test_nothing_is_sent_twice_when_a_backend_breaks_off(backend, client):
    backend.fault = "reset-before-head"
    before = len(backend.requests)
    assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 502
    assert len(backend.requests) == before + 1


def test_the_credential_is_in_no_log_and_no_record(faulty, client):
    assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    assert CREDENTIAL not in faulty.log_path.read_text()
    assert CREDENTIAL not in json.dumps(records(faulty, 10_000))


def test_after_all_of_it_the_gateway_is_ready_and_holds_nothing(faulty, caller, client, backend):
    assert_serves_well(client, backend)
    assert all(part["ready"] for part in faulty.ready()["parts"].values()), faulty.ready()
    assert used(faulty, caller, STREAMS) == 0
    eventually("no call is in flight", lambda: metric(faulty, "govgateway_requests_in_flight") == 0)
    entries = records(faulty, 10_000)
    intents = {entry["event_id"] for entry in entries if entry["type"] == "access.intent"}
    outcomes = [entry["intent"] for entry in entries if entry["type"] == "access.outcome"]
    assert sorted(outcomes) == sorted(intents), "an intent without exactly one outcome"


def test_a_backend_that_takes_calls_and_never_answers_is_set_aside(example_backend, tmp_path):
    with FaultyBackend() as silent:
        silent.fault = "hang-before-head"
        running = RunningGateway(tmp_path / "home", example_backend, [MODEL])
        running.edit_config(
            {
                "backends": [
                    {"name": "silent", "url": silent.url, "first_byte_timeout_seconds": 0.3},
                    {"name": "good", "url": example_backend},
                ],
                "models": [{"name": MODEL, "system": "assistant", "backends": ["silent", "good"]}],
            }
        )
        agent = running.register("agent/caller")
        running.start()
        try:
            with plain(running, agent) as http:
                began = time.monotonic()
                answers = [http.post("/v1/chat/completions", json=chat(MODEL)).status_code for _ in range(12)]
                seconds = int(time.monotonic() - began)
        finally:
            running.stop()
    # Set aside for a second first, then for longer, it gets one more call each time that this is over.
    assert 2 <= answers.count(504) <= 2 + seconds, "two failures in a row set it aside"
    assert set(answers) == {200, 504}
