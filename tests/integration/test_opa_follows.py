"""A real OPA that knows only this gateway: it discovers, follows, verifies, decides and reports."""

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from opa_client.opa import OpaClient

from tests.support.calls import chat, eventually, plain, recorded, records
from tests.support.policy_bundles import PolicyAuthor, activate
from tests.support.running_gateway import ROOT, AgentFiles, RunningGateway

pytestmark = pytest.mark.interop

OPA = ROOT / ".interop" / "bin" / "opa"
MODEL = "example-chat"
DECISION = "/v1/data/govgateway/authz/decision"
MASK = """package system.log

mask contains "/input/principal/owner"

mask contains {"op": "upsert", "path": "/input/principal/team", "value": "**"}
"""


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> PolicyAuthor:
    author = PolicyAuthor(tmp_path_factory.mktemp("author"), ROOT / "policies")
    author.bind("team:opa", ["policy-follower"])
    author.bind("team:machines", ["policy-follower"])
    return author


@pytest.fixture(scope="module")
def gateway(example_backend: str, author: PolicyAuthor, tmp_path_factory: pytest.TempPathFactory):
    running = RunningGateway(
        tmp_path_factory.mktemp("followed") / "home", example_backend, [MODEL], author.configuration()
    )
    activate(running, author.build("one"))
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def machine(gateway: RunningGateway) -> AgentFiles:
    return gateway.register("machine/opa", team="opa", kind="service")


class Opa:
    """A running OPA server."""

    def __init__(self, directory: Path, config: dict[str, Any], *arguments: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "opa.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        (directory / "config.yaml").write_text(yaml.safe_dump(config))
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [OPA, "run", "--server", "--addr", self.url.removeprefix("http://"), "--config-file", "config.yaml",
                 "--log-level", "info", "--skip-version-check", *arguments],
                cwd=directory, stdout=log, stderr=log,
            )  # fmt: skip

    def ready(self) -> bool:
        """Whether it decides."""
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        with contextlib.suppress(httpx.TransportError):
            # Its health speaks of no bundle before it has discovered one.
            return self.decide({})[0] is not None
        return False

    def decide(self, policy_input: dict[str, Any]) -> tuple[Any, str]:
        """Return its decision and the revision that it made it by."""
        answer = httpx.post(f"{self.url}{DECISION}?provenance=true", json={"input": policy_input}, timeout=5).json()
        bundles = answer.get("provenance", {}).get("bundles", {})
        return answer.get("result"), next(iter(bundles.values()), {}).get("revision", "")

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(10)


def service(gateway: RunningGateway, machine: AgentFiles) -> dict[str, Any]:
    """Return OPA's configuration of the gateway as a service: mutual TLS with the machine's X.509-SVID."""
    return {
        "services": {
            "govgateway": {
                "url": f"https://localhost:{gateway.admin_port}/v1/policy",
                "tls": {"ca_cert": str(machine.directory / "bundle.pem")},
                "credentials": {
                    "client_tls": {
                        "cert": str(machine.directory / "svid.pem"),
                        "private_key": str(machine.directory / "svid.key"),
                    }
                },
            }
        }
    }


def key(author: PolicyAuthor) -> dict[str, Any]:
    return {"keys": {author.key_id: {"algorithm": "ES256", "key": author.public.read_text()}}}


@pytest.fixture(scope="module")
def opa(gateway: RunningGateway, machine: AgentFiles, author: PolicyAuthor, tmp_path_factory) -> Iterator[Opa]:
    discovering = {"discovery": {"service": "govgateway", "resource": "bundles/discovery.tar.gz"}}
    directory = tmp_path_factory.mktemp("opa")
    (directory / "mask.rego").write_text(MASK)
    running = Opa(directory, {**service(gateway, machine), **discovering, **key(author)}, "mask.rego")
    try:
        eventually("the OPA follows", running.ready)
        yield running
    finally:
        running.stop()


def test_it_agrees_with_the_gateway_on_every_recorded_input(gateway, author, opa):
    agent = gateway.register("agent/caller")
    stranger = gateway.register("agent/stranger", team="nobody")
    for who in (agent, stranger):
        with plain(gateway, who) as client:
            client.post("/v1/chat/completions", json=chat(MODEL))
            client.post("/v1/chat/completions", json=chat("nothing"))
            client.get("/v1/models")
    recorded(gateway, "access.denied", principal=stranger.id)
    inputs = [each for each in records(gateway, 500) if each.get("policy_input")]
    assert len(inputs) > 4
    host, port = opa.url.removeprefix("http://").split(":")
    with OpaClient(host=host, port=int(port)) as client:  # somebody else's client of OPA
        answer = client.query_rule(inputs[0]["policy_input"], "govgateway.authz", "decision")
    assert answer["result"] == opa.decide(inputs[0]["policy_input"])[0]
    for each in inputs:
        decision, revision = opa.decide(each["policy_input"])
        assert revision == each["policy"]["revision"] == "one"
        assert decision["allow"] == (each["decision"] == "allow"), each
        if each["type"] == "access.denied":
            assert decision["reasons"] == each["reasons"]


def test_its_decisions_arrive_in_the_audit_log_and_what_it_masked_stays_masked(gateway, machine, opa):
    asked = next(each["policy_input"] for each in records(gateway, 500) if each.get("policy_input"))
    opa.decide({**asked, "request": {**asked["request"], "number": 1.5, "huge": 10**30}})

    def arrived() -> Any:
        reported = [each for each in records(gateway, 1000) if each["type"] == "opa.decision"]
        return next((each for each in reported if "number" in each.get("input", {}).get("request", {})), None)

    entry = eventually("its decision is on record", arrived)
    assert entry["principal"] == machine.id
    assert entry["path"] == "govgateway/authz/decision"
    assert entry["bundles"]["govgateway"]["revision"] == "one"
    assert set(entry["erased"]) == {"/input/principal/owner"}
    assert set(entry["masked"]) == {"/input/principal/team"}
    assert "owner" not in entry["input"]["principal"]
    assert entry["input"]["principal"]["team"] == "**"
    assert entry["input"]["request"]["number"] == "1.5"
    assert entry["result"].keys() == {"allow", "reasons", "obligations", "cache_seconds"}
    status = recorded(gateway, "opa.status", principal=machine.id)
    assert status["bundles"]["govgateway"]["active_revision"] == "one"


def test_a_new_revision_reaches_it_at_once_by_long_polling(gateway, author, opa):
    asked = next(each["policy_input"] for each in records(gateway, 500) if each.get("policy_input"))
    activate(gateway, author.build("two"))
    eventually("the OPA decides by it", lambda: opa.decide(asked)[1] == "two")
    recorded(gateway, "opa.status")
    eventually(
        "it says so", lambda: '"active_revision":"two"' in json.dumps(records(gateway, 300), separators=(",", ":"))
    )


def test_it_takes_nothing_that_its_own_key_did_not_sign(gateway, machine, author, tmp_path):
    stranger = PolicyAuthor(tmp_path / "stranger", author.policies)
    bundle = {"bundles": {"govgateway": {"service": "govgateway", "resource": "bundles/govgateway.tar.gz",
                                         "signing": {"keyid": stranger.key_id}}}}  # fmt: skip
    other = Opa(tmp_path / "opa", {**service(gateway, machine), **bundle, **key(stranger)})
    try:
        eventually("it refuses the signature", lambda: "verif" in other.log.read_text().lower())
        assert not other.ready()
    finally:
        other.stop()


def test_nobody_follows_without_the_role(gateway, author, tmp_path):
    agent = gateway.register("agent/curious")
    bundle = {"bundles": {"govgateway": {"service": "govgateway", "resource": "bundles/govgateway.tar.gz"}}}
    other = Opa(tmp_path / "opa", {**service(gateway, agent), **bundle})
    try:
        eventually("it is refused", lambda: "Forbidden" in other.log.read_text())
        assert not other.ready()
    finally:
        other.stop()
    recorded(gateway, "admin.request", principal=agent.id, action="admin.policy.bundle", decision="deny")
