"""Content that the policy wants kept: sealed before the call goes on, found nowhere in clear, and no call without it."""

import json
import secrets
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.integration.conftest import MODELS
from tests.support.running_gateway import AgentFiles, RunningGateway, govctl

PROMPT = "The canary sings in the coal mine."


@pytest.fixture
def gateway(example_backend: str, tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway whose register says that the content of the assistant is kept."""
    running = RunningGateway(tmp_path / "home", example_backend, MODELS)
    systems = running.directory / "policies" / "govgateway" / "systems" / "data.yaml"
    document = yaml.safe_load(systems.read_text())
    document["assistant"]["seal_content"] = True
    systems.write_text(yaml.safe_dump(document))
    key = running.directory / "content.key"
    key.write_bytes(b64encode(secrets.token_bytes(32)))
    key.chmod(0o600)
    running.edit_config({"audit": {"sealing": {"seal_key": "file:content.key", "readers": ["operator:tester"]}}})
    yield running
    running.end()


def ask(gateway: RunningGateway, agent: AgentFiles, **more: object) -> httpx.Response:
    body = {"model": "example-chat", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 6, **more}
    with httpx.Client(base_url=f"https://localhost:{gateway.port}", verify=agent.tls(), trust_env=False) as client:
        return client.post("/v1/chat/completions", json=body)


def sealed_parts(gateway: RunningGateway, call: str) -> list[str]:
    """The parts of a call that the log says are sealed, once its outcome is there."""
    for _ in range(100):
        records = gateway.records(60)
        if any(entry["type"] == "access.outcome" and entry["intent"] == call for entry in records):
            return [entry["part"] for entry in records if entry["type"] == "content.sealed" and entry["of"] == call]
        time.sleep(0.1)
    raise AssertionError(f"no outcome for {call}")


def opened(gateway: RunningGateway, call: str, part: str) -> str:
    return govctl(
        gateway.directory, "audit", "content", "open", call, "--part", part, "--reason", "a test",
        env={"LOGNAME": "tester"},
    ).stdout  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
def test_prompt_and_answer_are_sealed_opened_on_record_and_in_clear_nowhere(gateway, stream):
    gateway.start()
    agent = gateway.register("agent/researcher")
    answer = ask(gateway, agent, stream=stream)
    assert answer.status_code == 200
    call = answer.headers["x-request-id"]
    assert sealed_parts(gateway, call) == ["request", "response"]
    assert PROMPT in opened(gateway, call, "request")
    assert opened(gateway, call, "response").strip() == answer.text.strip()
    assert gateway.stop() == 0
    for path in (gateway.directory / "state").rglob("*"):
        if path.is_file():
            assert b"canary sings" not in path.read_bytes(), path
    assert "canary sings" not in gateway.log_path.read_text()
    (shown,) = [
        entry for entry in gateway.records(30) if entry["type"] == "content.opened" and entry["part"] == "request"
    ]
    assert (shown["of"], shown["principal"], shown["cause"]) == (call, "operator:tester", "a test")


def test_a_call_whose_content_cannot_be_sealed_is_not_forwarded(gateway):
    gateway.start()
    agent = gateway.register("agent/researcher")
    (gateway.directory / "content.key").unlink()
    refused = ask(gateway, agent)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "sealing_unavailable"
    outcomes = [entry for entry in gateway.records(30) if entry["type"] == "access.outcome"]
    assert [(entry["result"], entry["usage"]["charged_tokens"]) for entry in outcomes] == [("failed", 0)]


def test_what_an_erased_subject_said_is_gone_and_the_log_still_verifies(gateway):
    gateway.start()
    agent = gateway.register("agent/researcher")
    call = ask(gateway, agent).headers["x-request-id"]
    assert sealed_parts(gateway, call) == ["request", "response"]
    govctl(gateway.directory, "audit", "erase", "--subject", agent.id, "--reason", "they asked")
    done = govctl(
        gateway.directory, "audit", "content", "open", call, "--part", "request", "--reason", "a test",
        env={"LOGNAME": "tester"}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "eras" in done.stderr
    assert gateway.stop() == 0
    assert json.loads(govctl(gateway.directory, "audit", "verify", "--json").stdout)["ok"]


def test_everything_about_somebody_is_written_down_and_the_search_is_on_record(gateway, tmp_path):
    gateway.start()
    agent = gateway.register("agent/researcher")
    other = gateway.register("agent/other")
    call = ask(gateway, agent).headers["x-request-id"]
    ask(gateway, other)
    out = tmp_path / "answer"
    asked = ("audit", "subject", agent.id, "--reason", "request 12", "-o", str(out), "--json")
    told = json.loads(govctl(gateway.directory, *asked).stdout)
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert told == {"records": len(records), "sealed": 2, "output": str(out)}
    assert {"access.intent", "access.outcome"} <= {each["type"] for each in records}
    assert all(agent.id in json.dumps(each) for each in records)
    document = (out / "article-15-access.md").read_text()
    assert call in document
    assert document.count("To be written by a person") >= 4
    assert all(path.stat().st_mode & 0o077 == 0 for path in out.iterdir())
    assert govctl(gateway.directory, *asked, check=False).returncode == 2, "it exists already"
    searched = [each for each in gateway.records(30) if each["type"] == "content.searched"]
    assert [(each["scope"], each["cause"], each["contents"]) for each in searched] == [("subject", "request 12", 2)]
    assert agent.id not in json.dumps(searched)
