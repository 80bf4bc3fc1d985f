"""Answers under way when their caller loses its standing, what is measured and traced, and what govctl prints."""

import json
import os
import re
import signal
import time

import httpx
import openai
import pytest

from tests.support.calls import chat, eventually, metric, outcome, plain, recorded, sdk, used
from tests.support.faulty_backend import FaultyBackend
from tests.support.running_gateway import TRUST_DOMAIN, AgentFiles, RunningGateway, govctl

MODEL = "example-chat"
TRACED = "example-traced"
STREAMS = "agent-default-concurrent-streams"
LONG = chat(MODEL, max_tokens=2000, ignore_eos=True, stream=True)
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN_ID = "00f067aa0ba902b7"
STAGES = ("identify", "parse", "decide", "reserve", "record", "forward", "relay", "settle")


@pytest.fixture(scope="module")
def traced():
    with FaultyBackend() as backend:
        yield backend


@pytest.fixture(scope="module")
def duo(example_backend: str, traced: FaultyBackend, tmp_path_factory: pytest.TempPathFactory):
    """A gateway with two workers."""
    running = RunningGateway(tmp_path_factory.mktemp("duo") / "home", example_backend, [MODEL, TRACED])
    running.edit_config(
        {
            "backends": [
                {"name": "default", "url": example_backend, "continuous_usage": True},
                {"name": "traced", "url": traced.url},
            ],
            "models": [
                {"name": MODEL, "system": "assistant", "backends": ["default"]},
                {"name": TRACED, "system": "assistant", "backends": ["traced"]},
            ],
        }
    )
    running.start(workers=2)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def caller(duo: RunningGateway) -> AgentFiles:
    return duo.register("agent/caller")


def running_on(example_backend: str) -> int:
    stats = httpx.get(example_backend.removesuffix("/v1") + "/stats", trust_env=False).json()
    return int(stats["running"])


@pytest.mark.parametrize("loss", ["suspend", "revoke"])
def test_answers_under_way_on_every_worker_are_cut_when_their_caller_loses_its_standing(duo, example_backend, loss):
    agent = duo.register(f"agent/{loss}")
    connections = [plain(duo, agent) for _ in range(4)]
    contexts = [client.stream("POST", "/v1/chat/completions", json=LONG) for client in connections]
    answers = [context.__enter__() for context in contexts]
    lines = [answer.iter_lines() for answer in answers]
    for line in lines:
        assert next(line).startswith("data: ")
    what = agent.id
    if loss == "revoke":
        shown = json.loads(govctl(duo.directory, "agent", "show", agent.id, "--json").stdout)
        what = shown["svids"][0]["serial"]
    govctl(duo.directory, "agent", loss, what, "--reason", "a test")
    done = time.monotonic()
    codes = []
    for line in lines:
        events = [text[6:] for text in line if text.startswith("data: ")]
        assert "[DONE]" not in events
        codes.append(json.loads(events[-1])["error"]["code"])
    assert time.monotonic() - done < 5, "the answers went on"  # 2000 words take 10 s
    assert codes == [{"suspend": "identity-suspended", "revoke": "certificate-revoked"}[loss]] * 4
    for answer, context, client in zip(answers, contexts, connections, strict=True):
        context.__exit__(None, None, None)
        client.close()
        ended = outcome(duo, answer.headers["x-request-id"])
        assert (ended["result"], ended["cause"]) == ("cut", codes[0])
        assert 0 < ended["usage"]["charged_tokens"] < 2000
    eventually("the backend's work ends", lambda: running_on(example_backend) == 0)
    assert used(duo, agent, STREAMS) == 0
    assert metric(duo, f'govgateway_streams_cut_total{{cause="{codes[0]}"}}') == 4
    with plain(duo, agent) as client:
        assert client.get("/v1/models").status_code == 401


def test_the_sdk_raises_when_its_answer_is_cut(duo):
    agent = duo.register("agent/cut")
    with sdk(duo, agent) as client:
        stream = client.chat.completions.create(
            model=MODEL, messages=LONG["messages"], max_tokens=2000, stream=True, extra_body={"ignore_eos": True}
        )
        next(stream)
        govctl(duo.directory, "agent", "suspend", agent.id, "--reason", "a test")
        with pytest.raises(openai.APIError) as caught:
            list(stream)
        assert caught.value.code == "identity-suspended"
        # The other worker looks at the inventory by itself, within a second.
        eventually("every worker refuses it", lambda: not any(allowed(duo, agent) for _ in range(4)))
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        govctl(duo.directory, "agent", "activate", agent.id, "--reason", "a test")
        eventually("it may call again", lambda: allowed(duo, agent))


def allowed(gateway: RunningGateway, agent: AgentFiles) -> bool:
    with plain(gateway, agent) as client:
        return client.get("/v1/models").status_code == 200


def test_the_answer_of_another_caller_goes_on_while_one_is_cut(duo, caller):
    other = duo.register("agent/other")
    body = {**LONG, "max_tokens": 400}
    with plain(duo, caller) as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        govctl(duo.directory, "agent", "suspend", other.id, "--reason", "a test")
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert outcome(duo, answer.headers["x-request-id"])["result"] == "completed"


def test_a_trace_goes_on_at_the_backend_with_a_span_of_the_gateways_own(duo, caller, traced):
    with plain(duo, caller) as client:
        answer = client.post(
            "/v1/chat/completions", json=chat(TRACED), headers={"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}
        )
    assert answer.status_code == 200
    sent = dict(traced.requests[-1].headers)["traceparent"]
    version, trace_id, span_id, flags = sent.split("-")
    assert (version, trace_id, flags) == ("00", TRACE_ID, "01")
    assert span_id != SPAN_ID
    assert re.fullmatch("[0-9a-f]{16}", span_id)
    assert outcome(duo, answer.headers["x-request-id"])["trace_id"] == TRACE_ID


@pytest.mark.parametrize("header", ["", "garbage", f"00-{'0' * 32}-{SPAN_ID}-01", f"ff-{TRACE_ID}-{SPAN_ID}-01"])
def test_a_trace_begins_here_where_the_caller_sends_no_valid_one(duo, caller, traced, header):
    with plain(duo, caller) as client:
        answer = client.post("/v1/chat/completions", json=chat(TRACED), headers={"traceparent": header})
    assert answer.status_code == 200
    sent = dict(traced.requests[-1].headers)["traceparent"]
    trace_id = sent.split("-")[1]
    assert re.fullmatch("[0-9a-f]{32}", trace_id)
    assert trace_id not in {TRACE_ID, "0" * 32}
    assert outcome(duo, answer.headers["x-request-id"])["trace_id"] == trace_id


def test_the_time_of_every_stage_is_measured(duo, caller):
    with plain(duo, caller) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    eventually("the stages are counted", lambda: metric(duo, "govgateway_stage_requests_total") >= 1)
    for stage in STAGES:
        assert metric(duo, f'govgateway_stage_seconds_total{{stage="{stage}"}}') > 0, stage
    for log in ("control", "worker-0", "worker-1"):
        assert metric(duo, f'govgateway_audit_healthy{{log="{log}"}}') == 1, log
    assert metric(duo, f'govgateway_tokens_total{{direction="output",model="{MODEL}"}}') > 0


def test_a_worker_that_dies_is_replaced_and_its_audit_chain_goes_on(duo, caller):

    victim = duo.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    eventually("another worker runs", lambda: victim not in duo.worker_pids() and len(duo.worker_pids()) == 2)
    duo.wait_ready()
    for _ in range(6):
        with plain(duo, caller) as client:
            assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    assert json.loads(govctl(duo.directory, "audit", "verify", "--json").stdout)["ok"] is True


JSON_COMMANDS = [
    ("config", "check", "--json"),
    ("config", "show", "--json"),
    ("config", "schema"),
    ("policy", "check", "--json"),
    ("policy", "test", "--json"),
    ("agent", "list", "--json"),
    ("agent", "show", "CALLER", "--json"),
    ("quota", "show", "CALLER", "--json"),
    ("audit", "show", "RECORD", "--json"),
    ("audit", "verify", "--json"),
]


def test_every_command_with_json_prints_one_json_document_and_nothing_else(duo, caller):
    with plain(duo, caller) as client:
        record = client.get("/v1/models").headers["x-request-id"]
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    documents = {}
    for command in JSON_COMMANDS:
        words = [{"CALLER": caller.id, "RECORD": record}.get(word, word) for word in command]
        documents[command[:2]] = json.loads(govctl(duo.directory, *words).stdout)
    assert documents["config", "check"]["ok"] is True
    assert documents["config", "show"]["trust_domain"] == TRUST_DOMAIN
    assert documents["config", "schema"]["$schema"].endswith("2020-12/schema")
    assert documents["policy", "check"]["revision"] == documents["config", "check"]["policy_revision"]
    assert documents["policy", "test"]
    assert all(result["passed"] for result in documents["policy", "test"])
    assert caller.id in [agent["id"] for agent in documents["agent", "list"]]
    assert documents["agent", "show"]["id"] == caller.id
    assert documents["agent", "show"]["svids"][0]["serial"]
    limits = {limit["name"]: limit for limit in documents["quota", "show"]}
    assert limits["agent-default-requests-per-minute"]["amount"] == 600
    assert limits["agent-default-tokens-per-day"]["used"] > 0
    assert documents["audit", "show"]["event_id"] == record
    assert recorded(duo, "access.intent", event_id=record) == documents["audit", "show"]


UNKNOWN = f"spiffe://{TRUST_DOMAIN}/agent/nobody"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("agent", "show", UNKNOWN), "agent register"),
        (("agent", "show", "not-a-spiffe-id"), "not-a-spiffe-id"),
        (("agent", "suspend", UNKNOWN, "--reason", "a test"), "agent register"),
        (("agent", "issue", UNKNOWN, "--out", "nowhere"), "agent register"),
        (("agent", "register", "spiffe://other.test/a", "--team", "t", "--owner", "o", "--purpose", "p"), "other.test"),
        (("quota", "show", UNKNOWN), "agent register"),
        (("audit", "show", "no-such-record"), "no-such-record"),
        (("config", "check", "--config", "missing.yaml"), "missing.yaml does not exist"),
        (("up", "--config", "missing.yaml"), "missing.yaml does not exist"),
    ],
)
def test_an_error_of_govctl_names_cause_and_remedy_and_leaves_with_1(duo, command, said):
    done = govctl(duo.directory, *command, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lisener": {}}, "did you mean 'listener'"),
        ({"listener": {"workerz": 2}}, "listener.workerz: unknown key; did you mean 'workers'"),
        ({"listener": {"port": 99_999_999}}, "listener.port"),
        ({"identity": {"seal_key": "c2VjcmV0"}}, "never in the file itself"),
        ({"models": [{"name": "m", "system": "assistant", "backends": ["nowhere"]}]}, "unknown backend nowhere"),
        ({"models": [{"name": "m", "system": "no-such-system", "backends": ["default"]}]}, "no-such-system"),
        ({"policy": {"directory": "nowhere"}}, "nowhere"),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_place_and_what_is_known(duo, change, said):
    good = duo.config_path.read_text()
    try:
        duo.edit_config(change)
        done = govctl(duo.directory, "config", "check", "--json", check=False)
    finally:
        duo.config_path.write_text(good)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
