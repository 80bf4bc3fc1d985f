"""Each agent has a user of a real PostgreSQL of its own, made by a real OpenBao, gone with the agent's standing."""

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.answering_server import Answered, Asked, answering
from tests.support.calls import chat, eventually, files_with, plain, records
from tests.support.faulty_backend import ANSWER
from tests.support.openbao import OpenBao
from tests.support.postgres_server import PostgresServer
from tests.support.running_gateway import AgentFiles, RunningGateway, govctl

pytestmark = pytest.mark.interop

MODEL = "example-chat"
RULES = """
path "database/creds/reader" { capabilities = ["read"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
"""


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        server.execute("CREATE TABLE documents (text text)")
        yield server
    finally:
        server.remove()


def users(server: PostgresServer) -> set[str]:
    """The users of the database that OpenBao made for the gateway."""
    with psycopg.connect(server.url) as connection:
        found = connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%'").fetchall()
    return {name for (name,) in found}


def test_users_of_the_database_end_with_the_agent_and_with_the_gateway(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    shown: list[tuple[str, str]] = []

    def backend(asked: Asked) -> Answered:
        user, _, password = b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode().partition(":")
        psycopg.connect(postgres.url_of(user), password=password).close()  # it is a user of the database now
        shown.append((user, password))
        return Answered(json.dumps(ANSWER).encode(), 200, {"content-type": "application/json"})

    def call(agent: AgentFiles) -> str:
        with plain(gateway, agent) as client:
            assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
        return shown[-1][0]

    with OpenBao(tmp_path / "bao") as vault, answering(backend) as server:
        vault.postgres_engine(postgres, "reader", "10m", grants=["SELECT ON documents"])
        vault.policy("gateway", RULES)
        gateway = RunningGateway(tmp_path / "home", server.url, [MODEL])
        bundle = json.loads((gateway.directory / "state" / "authority" / "bundle.jwks").read_text())
        vault.jwt_role("gateway", "vault", f"spiffe://{gateway.trust_domain}/gateway", bundle, ["gateway"])
        gateway.edit_config(
            {
                "secrets": {
                    "vault": {
                        "addresses": [vault.address],
                        "ca_file": str(vault.ca_file),
                        "login": {"method": "jwt", "role": "gateway"},
                        "mounts": [{"path": "database", "engine": "dynamic"}],
                    }
                },
                "backends": [
                    {
                        "name": "default",
                        "url": server.url,
                        "credential": "vault://database/creds/reader",
                        "injection": {"kind": "basic"},
                        "per_agent": True,
                    }
                ],
            }
        )
        gateway.start(workers=2)
        try:
            one, other = gateway.register("agent/one"), gateway.register("agent/other")
            first, second = call(one), call(other)
            assert first != second
            assert call(one) == first
            assert users(postgres) == {first, second}
            govctl(gateway.directory, "agent", "suspend", one.id, "--reason", "a test")
            eventually("the revoked agent's user is gone", lambda: users(postgres) == {second}, 30)
            assert call(other) == second
            read = [each for each in records(gateway, 500) if each["type"] == "secret.read"]
            assert {each["on_behalf_of"] for each in read} == {one.id, other.id}
            released = [each for each in records(gateway, 500) if each["type"] == "secret.released"]
            assert [(each["cause"], each["lease"]) for each in released] == [
                ("revoked", next(each["lease"] for each in read if each["on_behalf_of"] == one.id))
            ]
            used = [each for each in records(gateway, 500) if each["type"] == "access.outcome"]
            assert {each["credential"]["lease"] for each in used} == {each["lease"] for each in read}
        finally:
            assert gateway.stop() == 0
            gateway.end()
        assert users(postgres) == set()  # the gateway ended every lease
        assert files_with(gateway.directory, *(password for _, password in shown)) == []
