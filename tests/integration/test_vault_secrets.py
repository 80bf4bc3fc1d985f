"""Backends' credentials from a real OpenBao: by the gateway's own identity, rotated under load, sealed in the middle."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.answering_server import Answered, AnsweringServer, Asked, answering
from tests.support.calls import chat, eventually, files_with, plain, records
from tests.support.faulty_backend import ANSWER
from tests.support.openbao import OpenBao
from tests.support.running_gateway import AgentFiles, RunningGateway, govctl

MODEL = "example-chat"
PATH = "backends/vllm"
CANARY = "canary-vault-5d1e9c"
RULES = 'path "secret/data/backends/*" { capabilities = ["read"] }'


class KeyedBackend:
    """A model server that takes calls with its present key alone."""

    def __init__(self) -> None:
        self.key = f"{CANARY}-first"
        self.server: AnsweringServer | None = None

    def answer(self, asked: Asked) -> Answered:
        if asked.headers.get("authorization") != f"Bearer {self.key}":
            return Answered(b'{"error": {"message": "Unauthorized"}}', 401, {"content-type": "application/json"})
        return Answered(json.dumps(ANSWER).encode(), 200, {"content-type": "application/json"})


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with OpenBao(tmp_path_factory.mktemp("vault") / "bao") as server:
        server.enable_kv()
        server.policy("gateway", RULES)
        yield server


@pytest.fixture(scope="module")
def backend() -> Iterator[KeyedBackend]:
    keyed = KeyedBackend()
    with answering(keyed.answer) as keyed.server:
        yield keyed


def settings(vault: OpenBao, **more: Any) -> dict[str, Any]:
    """The section on Vault: JWT login with the gateway's own JWT-SVID."""
    login = {"method": "jwt", "role": "gateway"}
    return {"addresses": [vault.address], "ca_file": str(vault.ca_file), "login": login, "timeout_seconds": 2, **more}


@pytest.fixture(scope="module")
def gateway(
    backend: KeyedBackend, vault: OpenBao, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    assert backend.server is not None
    url = backend.server.url
    running = RunningGateway(tmp_path_factory.mktemp("gateway") / "home", url, [MODEL])
    bundle = json.loads((running.directory / "state" / "authority" / "bundle.jwks").read_text())
    vault.jwt_role("gateway", "vault", f"spiffe://{running.trust_domain}/gateway", bundle, ["gateway"])
    vault.put(PATH, key=backend.key, other=f"{CANARY}-other")
    running.edit_config(
        {
            "secrets": {"vault": settings(vault)},
            "backends": [{"name": "default", "url": url, "credential": f"vault://secret/{PATH}#key"}],
            "telemetry": {"log_level": "debug"},
        }
    )
    running.edit_data("limits", {"quota": [{"name": "all", "scope": "agent", "requests_per_minute": 1_000_000}]})
    running.start(workers=2)
    yield running
    running.end()


@pytest.fixture(scope="module")
def agent(gateway: RunningGateway) -> AgentFiles:
    return gateway.register("agent/caller")


def call(gateway: RunningGateway, agent: AgentFiles, **more: Any) -> httpx.Response:
    with plain(gateway, agent) as client:
        return client.post("/v1/chat/completions", json=chat(MODEL, **more))


@contextmanager
def load(gateway: RunningGateway, agent: AgentFiles, callers: int = 4) -> Iterator[list[int]]:
    """Call all the time; yields the statuses so far."""
    statuses: list[int] = []
    stop = threading.Event()

    def calling() -> None:
        with plain(gateway, agent) as client:
            while not stop.is_set():
                statuses.append(client.post("/v1/chat/completions", json=chat(MODEL)).status_code)

    threads = [threading.Thread(target=calling) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def parts(gateway: RunningGateway) -> dict[str, Any]:
    """What is not ready, and why."""
    return {name: part for name, part in gateway.ready()["parts"].items() if not part["ready"]}


def rotate(vault: OpenBao, backend: KeyedBackend, value: str) -> int:
    """Give backend and Vault another key, Vault first, as an operator does."""
    version = vault.put(PATH, key=value, other=f"{CANARY}-other")
    backend.key = value
    return version


def test_a_call_is_forwarded_with_the_secret_and_the_records_say_which(gateway, agent, backend):
    assert call(gateway, agent).status_code == 200
    found = eventually("the outcome", lambda: [each for each in records(gateway) if each["type"] == "access.outcome"])
    assert found[-1]["credential"] == {"secret": f"vault://secret/{PATH}#key", "version": 1, "lease": ""}
    intent = next(each for each in records(gateway) if each["type"] == "access.intent")
    shown = [{"backend": "default", "secret": f"vault://secret/{PATH}#key"}]
    assert intent["policy_input"]["resource"]["credentials"] == shown
    read = [each for each in records(gateway) if each["type"] == "secret.read"]
    assert [(each["secret"], each["version"], each["purpose"]) for each in read] == [
        (f"vault://secret/{PATH}", 1, "first")
    ]


def test_a_rotation_under_load_fails_no_call(gateway, agent, backend, vault):
    with load(gateway, agent) as statuses:
        eventually("calls under way", lambda: len(statuses) > 20)
        for number in range(3):
            version = rotate(vault, backend, f"{CANARY}-{number}")
            before = len(statuses)
            eventually("calls after the rotation", lambda before=before: len(statuses) > before + 40)
            time.sleep(2.1)  # a value that a backend refuses is fetched anew every two seconds at most
    assert set(statuses) == {200}
    fetched = [each["version"] for each in records(gateway, 5000) if each["type"] == "secret.read"]
    assert fetched[-1] == version


def test_a_vault_that_is_sealed_or_killed_stops_no_call_and_comes_back_by_itself(gateway, agent, backend, vault):
    assert call(gateway, agent).status_code == 200
    vault.seal()
    gateway.edit_config({"secrets": {"vault": settings(vault, refresh_seconds=1)}})
    govctl(gateway.directory, "reload")
    problem = eventually("readiness says so", lambda: parts(gateway).get("secrets"), 30)
    assert "sealed" in problem["detail"]
    assert "more seconds at most" in problem["detail"]
    assert call(gateway, agent).status_code == 200
    vault.kill()
    assert call(gateway, agent).status_code == 200
    vault.start()
    eventually("it is ready again", lambda: "secrets" not in parts(gateway), 60)
    rotate(vault, backend, f"{CANARY}-after")
    assert call(gateway, agent).status_code == 200


def test_a_first_fetch_while_vault_is_away_is_a_clear_503_and_no_restart_is_needed(gateway, agent, backend, vault):
    assert backend.server is not None
    vault.put("backends/late", key=backend.key)
    before = gateway.config_path.read_text()
    vault.pause()  # it takes connections and answers nothing
    reference = "vault://secret/backends/late#key"
    gateway.edit_config({"backends": [{"name": "default", "url": backend.server.url, "credential": reference}]})
    govctl(gateway.directory, "reload")
    refused = call(gateway, agent)
    vault.resume()
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "secret_unavailable"
    assert "vault" not in refused.text.lower()  # a caller does not learn where keys are kept
    eventually("calls pass again", lambda: call(gateway, agent).status_code == 200, 60)
    gateway.config_path.write_text(before)
    govctl(gateway.directory, "reload")


def test_what_the_policy_keeps_from_an_agent_is_not_used_for_it(gateway, agent, vault):
    other = gateway.register("agent/other")
    entry = {"secrets": ["vault://secret/backends/*"], "principals": [agent.id]}
    gateway.edit_data("secrets", {"restricted": [entry]})
    govctl(gateway.directory, "reload")
    assert call(gateway, agent).status_code == 200
    refused = call(gateway, other)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "secret_not_granted"
    gateway.edit_data("secrets", {"restricted": []})
    govctl(gateway.directory, "reload")
    assert call(gateway, other).status_code == 200


@pytest.mark.parametrize(
    ("stored", "reference", "code"),
    [
        pytest.param({}, "vault://secret/backends/nothing#key", "secret_missing", id="nothing there"),
        pytest.param({"other": "x"}, "vault://secret/backends/odd#key", "secret_missing", id="no such field"),
        pytest.param({"key": 7}, "vault://secret/backends/odd#key", "secret_unusable", id="a number"),
        pytest.param({"key": ""}, "vault://secret/backends/odd#key", "secret_unusable", id="empty"),
        pytest.param({"key": "a\r\nx-evil: 1"}, "vault://secret/backends/odd#key", "secret_malformed", id="a line break"),
        pytest.param({"key": "\u00e9\u0000"}, "vault://secret/backends/odd#key", "secret_malformed", id="binary"),
        pytest.param({"key": "x" * 70_000}, "vault://secret/backends/odd#key", "secret_unusable", id="too large"),
        pytest.param({"key": "x"}, "vault://secret/backends/odd?version=99#key", "secret_missing", id="no such version"),
        pytest.param({"key": "x"}, "vault://secret/elsewhere#key", "secret_denied", id="another path"),
    ],
)  # fmt: skip
def test_a_secret_that_cannot_be_used_refuses_the_call_and_the_log_says_why(
    gateway, agent, backend, vault, stored, reference, code
):
    assert backend.server is not None
    if stored:
        vault.put("backends/odd", **stored)
    before = gateway.config_path.read_text()
    gateway.edit_config({"backends": [{"name": "default", "url": backend.server.url, "credential": reference}]})
    govctl(gateway.directory, "reload")
    refused = eventually("the refusal", lambda: next((r for r in [call(gateway, agent)] if r.status_code == 503), None))
    assert refused.json()["error"]["code"] == code
    gateway.config_path.write_text(before)
    govctl(gateway.directory, "reload")
    eventually("calls pass again", lambda: call(gateway, agent).status_code == 200)


def test_a_version_that_was_destroyed_is_used_no_more(gateway, agent, backend, vault):
    version = vault.put("backends/gone", key=backend.key)
    before = gateway.config_path.read_text()
    assert backend.server is not None
    reference = "vault://secret/backends/gone#key"
    gateway.edit_config({"backends": [{"name": "default", "url": backend.server.url, "credential": reference}]})
    govctl(gateway.directory, "reload")
    eventually("it is used", lambda: call(gateway, agent).status_code == 200)
    vault.root.secrets.kv.v2.destroy_secret_versions("backends/gone", [version])
    eventually("it is used no more", lambda: call(gateway, agent).status_code == 503, 60)
    detail = eventually("the cause", lambda: parts(gateway).get("secrets"))["detail"]
    assert f"version {version} was destroyed" in detail
    gateway.config_path.write_text(before)
    govctl(gateway.directory, "reload")
    eventually("calls pass again", lambda: call(gateway, agent).status_code == 200)


def test_no_value_is_in_any_file_log_metric_or_answer_and_no_core_is_left(gateway, agent, backend, vault):
    shown = govctl(gateway.directory, "config", "show", "--json").stdout + gateway.metrics()
    shown += call(gateway, agent).text
    assert CANARY not in shown
    assert files_with(gateway.directory, CANARY) == []
    for pid in (gateway.pid, *gateway.worker_pids()):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert next(line for line in limits if line.startswith("Max core file size")).split()[4:6] == ["0", "0"]


def test_the_inventory_has_age_version_and_last_use(gateway, agent):
    found = eventually(
        "the inventory",
        lambda: [
            secret
            for each in records(gateway, 5000) if each["type"] == "secret.inventory"
            for secret in each["secrets"] if secret["reference"] == f"vault://secret/{PATH}#key" and "version" in secret
        ],
    )  # fmt: skip
    assert found[-1]["kind"] == "static"
    assert found[-1]["purpose"] == "backends.default.credential"
    assert found[-1]["readable"] is True
    assert found[-1]["version"] >= 2
    assert found[-1]["age_seconds"] >= 0
    listed = json.loads(govctl(gateway.directory, "secret", "inventory", "--json").stdout)
    state = next(each for each in listed if each["reference"] == f"vault://secret/{PATH}#key")
    assert state["last_use"] > 0
    assert state["used_by"] == ["backends.default.credential"]
    assert state["rotation"].startswith("by hand")
    assert "sealed" not in str(state)


def test_a_vault_with_another_authority_is_refused(gateway, agent, vault):
    vault.replace_ca()
    vault.stop()
    vault.start()
    cause = "certificate is not trusted"
    eventually("readiness says so", lambda: cause in parts(gateway).get("secrets", {}).get("detail", ""), 60)
    assert call(gateway, agent).status_code == 200  # by what is at hand
    gateway.edit_config({"secrets": {"vault": settings(vault, ca_file=str(vault.new_ca_file), refresh_seconds=1)}})
    govctl(gateway.directory, "reload")
    eventually("it is ready again", lambda: "secrets" not in parts(gateway), 30)


def test_the_login_ends_with_the_gateway(gateway, vault):
    def logins() -> int:
        accessors = vault.root.list("auth/token/accessors")["data"]["keys"]
        names = [vault.root.auth.token.lookup_accessor(each)["data"]["display_name"] for each in accessors]
        return sum(name.startswith("jwt") for name in names)

    before = logins()
    assert gateway.stop() == 0
    assert logins() == before - 1
