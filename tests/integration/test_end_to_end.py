"""The main job with the real client: the OpenAI SDK through the gateway, and what a call leaves behind."""

import json
import time

import httpx
import openai
import pytest
from openai import DefaultHttpxClient, OpenAI

from tests.support.running_gateway import TRUST_DOMAIN, AgentFiles, RunningGateway, govctl

QUESTION = [{"role": "user", "content": "What does a gateway do?"}]


@pytest.fixture
def sdk(gateway: RunningGateway, agent: AgentFiles):
    with OpenAI(
        base_url=gateway.base_url, api_key="none", max_retries=0, http_client=DefaultHttpxClient(verify=agent.tls())
    ) as client:
        yield client


@pytest.fixture
def client(gateway: RunningGateway, agent: AgentFiles):
    with httpx.Client(base_url=f"https://localhost:{gateway.port}", verify=agent.tls(), trust_env=False) as plain:
        yield plain


def record(gateway: RunningGateway, event_id: str) -> dict:
    return json.loads(govctl(gateway.directory, "audit", "show", event_id, "--json").stdout)


def wait_for_outcome(gateway: RunningGateway, intent: str) -> dict:
    for _ in range(100):
        for entry in gateway.records(50):
            if entry["type"] == "access.outcome" and entry["intent"] == intent:
                return entry
        time.sleep(0.05)
    raise AssertionError(f"no outcome for {intent}")


def test_a_chat_completion_is_answered_and_recorded(gateway, sdk, agent):
    raw = sdk.chat.completions.with_raw_response.create(model="example-chat", messages=QUESTION, max_tokens=20)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert raw.headers["x-ai-generated"] == "true"
    intent = record(gateway, raw.headers["x-request-id"])
    assert intent["type"] == "access.intent"
    assert intent["principal"] == agent.id
    assert intent["action"] == "model.infer"
    assert intent["resource"] == {"type": "model", "id": "example-chat"}
    assert intent["system"] == "assistant"
    assert intent["policy_input"]["principal"]["roles"] == ["chat-user"]
    outcome = wait_for_outcome(gateway, intent["event_id"])
    assert outcome["result"] == "completed"
    assert outcome["usage"]["input_tokens"] == answer.usage.prompt_tokens
    assert outcome["usage"]["output_tokens"] == answer.usage.completion_tokens
    assert outcome["usage"]["charged_tokens"] == answer.usage.total_tokens


def test_a_streamed_answer_arrives_in_pieces_and_its_usage_is_recorded(gateway, sdk):
    with sdk.chat.completions.with_streaming_response.create(
        model="example-chat", messages=QUESTION, max_tokens=20, stream=True
    ) as response:
        events = [line for line in response.iter_lines() if line.startswith("data: ")]
    assert events[-1] == "data: [DONE]"
    assert response.headers["x-ai-generated"] == "true"
    chunks = [json.loads(event[6:]) for event in events[:-1]]
    assert len(chunks) > 5
    assert all(not chunk.get("usage") for chunk in chunks), "usage that the caller did not ask for was not taken out"
    outcome = wait_for_outcome(gateway, response.headers["x-request-id"])
    assert outcome["usage"]["reported"]
    assert outcome["usage"]["output_tokens"] > 0


def test_a_caller_that_asks_for_usage_in_the_stream_gets_it(sdk):
    stream = sdk.chat.completions.create(
        model="example-chat", messages=QUESTION, max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.usage.completion_tokens == 8


def test_completions_embeddings_and_responses_work(sdk):
    assert sdk.completions.create(model="example-chat", prompt="Once", max_tokens=5).choices[0].text
    assert sdk.embeddings.create(model="example-chat", input=["a", "b"]).data[1].embedding
    assert sdk.responses.create(model="example-chat", input="Hello", max_output_tokens=16).output_text


def test_the_model_list_shows_only_what_this_caller_may_use(sdk):
    assert [model.id for model in sdk.models.list()] == ["example-chat"]


def test_a_refusal_tells_the_reason_and_the_remedy(gateway, sdk, agent):
    with pytest.raises(openai.PermissionDeniedError) as caught:
        sdk.chat.completions.create(model="example-hiring", messages=QUESTION)
    assert caught.value.code == "oversight_missing"
    assert "name an overseer" in caught.value.message
    denied = record(gateway, caught.value.request_id)
    assert denied["type"] == "access.denied"
    assert denied["principal"] == agent.id
    assert "oversight_missing" in denied["reasons"]


def test_a_prohibited_system_is_refused(sdk):
    with pytest.raises(openai.PermissionDeniedError) as caught:
        sdk.chat.completions.create(model="example-scoring", messages=QUESTION)
    assert caught.value.code == "system_prohibited"


def test_an_unknown_model_and_a_forbidden_one_get_the_same_answer(client):
    answers = []
    for model in ("secret-model", "no-such-model"):
        response = client.post("/v1/chat/completions", json={"model": model, "messages": QUESTION})
        body = response.json()
        headers = {name for name in response.headers if name != "x-request-id"}
        answers.append((response.status_code, body["error"]["message"], body["error"]["code"], sorted(headers)))
    assert answers[0] == answers[1]
    assert answers[0][0] == 403
    assert answers[0][2] == "model_not_granted"


def test_an_unknown_route_is_refused_and_recorded(gateway, client):
    response = client.get("/v1/files")
    assert response.status_code == 404
    assert record(gateway, response.headers["x-request-id"])["type"] == "access.denied"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"model":"example-chat","model":"secret-model","messages":[]}', 400),
        (b'{"model":"example-chat","Model":"secret-model","messages":[]}', 400),
        (b'{"model":"\xff"}', 400),
        (b"[" * 5000, 400),
        (b'{"model":"example-chat","messages":[],"x":NaN}', 400),
        (b'{"model":"example-chat","messages":[{"role":"user","content":"x"}],"max_tokens":-1}', 400),
        (b'{"model":"example-chat","messages":[{"role":"user","content":"x"}],"max_tokens":99999999999}', 400),
        (b'{"model":"","messages":[]}', 400),
        (b"[]", 400),
    ],
)
def test_a_bad_body_is_refused_with_its_rule_and_recorded(gateway, client, body, status):
    response = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    assert response.json()["error"]["code"]
    denied = record(gateway, response.headers["x-request-id"])
    assert denied["type"] == "access.denied"
    assert denied["reasons"] == [response.json()["error"]["code"]]


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=latin-1", ""])
def test_another_content_type_is_refused(client, content_type):
    response = client.post(
        "/v1/chat/completions", content=b'{"model":"example-chat"}', headers={"content-type": content_type}
    )
    assert response.status_code == 415


def test_no_identity_is_taken_from_headers(gateway, client, agent):
    response = client.post(
        "/v1/chat/completions",
        json={"model": "example-chat", "messages": QUESTION, "max_tokens": 4},
        headers={
            "x-forwarded-client-cert": f"URI=spiffe://{TRUST_DOMAIN}/agent/admin",
            "authorization": "Bearer something",
        },
    )
    assert response.status_code == 200
    assert record(gateway, response.headers["x-request-id"])["principal"] == agent.id


def test_the_trace_context_of_the_caller_is_recorded(gateway, client):
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    response = client.post(
        "/v1/chat/completions",
        json={"model": "example-chat", "messages": QUESTION, "max_tokens": 4},
        headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"},
    )
    assert record(gateway, response.headers["x-request-id"])["trace_id"] == trace_id


def test_an_answer_carries_the_callers_limits(client):
    response = client.post(
        "/v1/chat/completions", json={"model": "example-chat", "messages": QUESTION, "max_tokens": 4}
    )
    assert int(response.headers["x-ratelimit-limit-requests"]) == 600
    assert int(response.headers["x-ratelimit-remaining-requests"]) < 600
    assert "ratelimit" in response.headers
    assert "ratelimit-policy" in response.headers


def test_an_agent_that_is_not_registered_is_refused(gateway, agent):
    """A valid certificate of the domain whose identity the inventory does not know."""
    stranger = gateway.register("agent/leaver")
    with httpx.Client(verify=stranger.tls(), trust_env=False) as client:
        url = f"https://localhost:{gateway.port}/v1/models"
        assert client.get(url).status_code == 200
        govctl(gateway.directory, "agent", "suspend", stranger.id, "--reason", "a test")
        deadline = time.monotonic() + 5
        while (response := client.get(url)).status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "identity-suspended"
    assert record(gateway, response.headers["x-request-id"])["principal"] == stranger.id


def test_the_log_verifies_while_the_gateway_runs(gateway):
    done = govctl(gateway.directory, "audit", "verify", "--json")
    assert json.loads(done.stdout)["ok"] is True


def test_the_metrics_count_what_happened(gateway, sdk):
    sdk.chat.completions.create(model="example-chat", messages=QUESTION, max_tokens=4)
    time.sleep(1)
    text = gateway.metrics()
    for name in (
        "govgateway_requests_total",
        'govgateway_decisions_total{outcome="allow"}',
        "govgateway_upstream_head_seconds_bucket",
        "govgateway_tokens_total",
        "govgateway_audit_healthy",
        "govgateway_certificate_expiry_timestamp_seconds",
        "govgateway_stage_seconds_total",
    ):
        assert name in text, name
