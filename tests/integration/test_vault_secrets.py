"""Backends' credentials from a real OpenBao: by the gateway's own identity, rotated under load, sealed in the middle."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.calls import chat, plain
from tests.support.faulty_backend import FaultyBackend
from tests.support.openbao import OpenBao
from tests.support.running_gateway import AgentFiles, RunningGateway

MODEL = "example-chat"
FIRST = "canary-vault-first-5d1e9c"
GATEWAY = "spiffe://example.org/gateway"

RULES = """
path "secret/data/backends/*" { capabilities = ["read"] }
"""


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with OpenBao(tmp_path_factory.mktemp("vault") / "bao") as server:
        server.enable_kv()
        server.policy("gateway", RULES)
        yield server


@pytest.fixture(scope="module")
def backend() -> Iterator[FaultyBackend]:
    with FaultyBackend() as running:
        yield running


def jwks(gateway: RunningGateway) -> dict[str, Any]:
    """The keys of the trust domain."""
    return json.loads((gateway.directory / "state" / "authority" / "bundle.jwks").read_text())


@pytest.fixture(scope="module")
def gateway(
    backend: FaultyBackend, vault: OpenBao, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    running = RunningGateway(tmp_path_factory.mktemp("vault-gateway") / "home", backend.url, [MODEL])
    domain = running.trust_domain
    vault.jwt_role("gateway", "vault", f"spiffe://{domain}/gateway", jwks(running), ["gateway"])
    vault.put("backends/vllm", key=FIRST, other="x")
    running.edit_config(
        {
            "secrets": {
                "vault": {
                    "addresses": [vault.address],
                    "ca_file": str(vault.ca_file),
                    "login": {"method": "jwt", "role": "gateway"},
                    "refresh_seconds": 1,
                }
            },
            "backends": [{"name": "default", "url": backend.url, "credential": "vault://secret/backends/vllm#key"}],
            "telemetry": {"log_level": "debug"},
        }
    )
    running.start(workers=2)
    yield running
    running.end()


@pytest.fixture(scope="module")
def agent(gateway: RunningGateway) -> AgentFiles:
    return gateway.register("agent/caller")


def sent(gateway: RunningGateway, agent: AgentFiles, backend: FaultyBackend) -> set[str]:
    """The credentials that the backend got with some calls, over connections of their own."""
    before = len(backend.requests)
    for _ in range(4):
        with plain(gateway, agent) as client:
            assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    return {value for each in backend.requests[before:] for name, value in each.headers if name == "authorization"}


def test_a_call_is_forwarded_with_the_secret(gateway, agent, backend):
    assert sent(gateway, agent, backend) == {f"Bearer {FIRST}"}
