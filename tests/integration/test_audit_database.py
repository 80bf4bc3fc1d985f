"""A gateway whose chains are in PostgreSQL: it serves, proves and verifies, fails closed, and recovers by itself."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from audit.chain import record_hash
from audit.store import open_store
from tests.integration.conftest import MODELS
from tests.support.postgres_server import PostgresServer
from tests.support.running_gateway import TRUST_DOMAIN, AgentFiles, RunningGateway, govctl

pytestmark = pytest.mark.interop

LOG = f"{TRUST_DOMAIN}/audit"
BODY = {"model": "example-chat", "messages": [{"role": "user", "content": "Where is the log?"}], "max_tokens": 4}


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def gateway(example_backend: str, tmp_path: Path, database: PostgresServer) -> Iterator[RunningGateway]:
    """A gateway that began with SQLite files, and whose log was moved into the database."""
    running = RunningGateway(tmp_path / "home", example_backend, MODELS)
    running.start()
    client = running.register("agent/researcher")
    assert call(running, client).status_code == 200
    running.stop()
    url = running.directory / "audit.url"
    url.write_text(database.url)
    url.chmod(0o600)
    copied = json.loads(govctl(running.directory, "audit", "copy", "--to", f"file:{url}", "--json").stdout)
    assert copied["copied"] > 5
    running.edit_config({"audit": {"database": "file:audit.url"}})
    assert json.loads(govctl(running.directory, "audit", "migrate", "--json").stdout)["before"]
    running.start(workers=2)
    yield running
    running.end()


@pytest.fixture
def agent(gateway: RunningGateway) -> AgentFiles:
    return gateway.register("agent/second")


def call(gateway: RunningGateway, agent: AgentFiles) -> httpx.Response:
    with httpx.Client(base_url=f"https://localhost:{gateway.port}", verify=agent.tls(), trust_env=False) as client:
        return client.post("/v1/chat/completions", json=BODY)


def receipt(gateway: RunningGateway, agent: AgentFiles, event_id: str) -> dict:
    with httpx.Client(base_url=f"https://localhost:{gateway.port}", verify=agent.tls(), trust_env=False) as client:
        for _ in range(100):
            answer = client.get(f"/receipts/{event_id}")
            if answer.status_code == 200:
                return answer.json()
            time.sleep(0.25)
    raise AssertionError(answer.text)


def test_calls_are_recorded_in_the_database_proven_and_verified(gateway, agent, database):
    answers = [call(gateway, agent) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    proven = receipt(gateway, agent, answers[0].headers["x-request-id"])
    store = open_store(database.url, LOG)
    found = store.find(proven["event_id"])
    assert found is not None
    assert found.record.decode() == proven["record"]
    assert record_hash(found.record) == proven["hash"]
    shown = json.loads(govctl(gateway.directory, "audit", "verify", "--json").stdout)
    assert shown["ok"], shown
    assert "audit@" not in json.dumps(json.loads(govctl(gateway.directory, "config", "show", "--json").stdout)["audit"])


def test_without_its_database_nothing_is_answered_and_with_it_again_everything_is(gateway, agent, database):
    assert call(gateway, agent).status_code == 200
    database.stop("immediate")
    refused = call(gateway, agent)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "audit_unavailable"
    database.start()
    answered = None
    for _ in range(200):
        answered = call(gateway, agent)
        if answered.status_code == 200:
            break
        time.sleep(0.2)
    assert answered is not None
    assert answered.status_code == 200
    gateway.stop()
    shown = json.loads(govctl(gateway.directory, "audit", "verify", "--json").stdout)
    assert shown["ok"], shown
