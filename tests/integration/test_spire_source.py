"""A gateway that lives by another Workload API, as it would by SPIRE's.

No SPIRE server runs here: another gateway's Workload API stands in for its agent's socket.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.calls import chat, eventually, plain
from tests.support.running_gateway import TRUST_DOMAIN, AgentFiles, RunningGateway, govctl

MODEL = "example-chat"
EDGE = f"spiffe://{TRUST_DOMAIN}/edge"


@pytest.fixture(scope="module")
def sockets() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="gg-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def issuer(example_backend: str, sockets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """What stands in for SPIRE."""
    running = RunningGateway(
        tmp_path_factory.mktemp("issuer") / "home", example_backend, [MODEL],
        {"identity": {"workload_api": {"socket": str(sockets / "api.sock")}}},
    )  # fmt: skip
    for path, names in (("edge", ("localhost",)), ("agent/worker", ())):
        running.register(path, issue=False)
        dns = [part for name in names for part in ("--dns-name", name)]
        govctl(
            running.directory, "entry", "create", "--spiffe-id", f"spiffe://{TRUST_DOMAIN}/{path}",
            "--selector", f"unix:uid:{os.getuid()}", *dns,
        )  # fmt: skip
    running.start()
    yield running
    running.stop()


def edge_home(directory: Path, backend: str, sockets: Path, **identity: str) -> RunningGateway:
    running = RunningGateway(directory / "home", backend, [MODEL])
    shutil.rmtree(running.directory / "state")
    spire = {"socket": str(sockets / "api.sock"), "spiffe_id": EDGE} | identity
    running.edit_config({"identity": {"source": "spire", "spire": spire}})
    return running


@pytest.fixture(scope="module")
def edge(
    example_backend: str, issuer: RunningGateway, sockets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    running = edge_home(tmp_path_factory.mktemp("edge"), example_backend, sockets)
    for path, team in (("agent/worker", "research"), ("operator/ada", "platform")):
        running.register(path, team=team, issue=False)
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def worker(issuer: RunningGateway) -> AgentFiles:
    return issue(issuer, "agent/worker")


def issue(issuer: RunningGateway, path: str) -> AgentFiles:
    files = AgentFiles(f"spiffe://{TRUST_DOMAIN}/{path}", issuer.directory / path.replace("/", "-"))
    shutil.rmtree(files.directory, ignore_errors=True)
    govctl(issuer.directory, "agent", "issue", files.id, "--out", str(files.directory))
    return files


def serial_of(edge: RunningGateway, agent: AgentFiles) -> str:
    with plain(edge, agent) as client, client.stream("GET", "/v1/models") as answer:
        der = answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert(True)
        answer.read()
    return f"{x509.load_der_x509_certificate(der).serial_number:x}"


def test_the_gateway_serves_with_the_certificate_and_bundles_it_was_given(edge, worker):
    with plain(edge, worker) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    assert not (edge.directory / "state" / "authority").exists()


def test_a_rotation_reaches_the_gateway_without_a_dropped_connection(edge, issuer, worker):
    before = serial_of(edge, worker)
    with plain(edge, worker) as client:
        assert client.get("/v1/models").status_code == 200
        shown = govctl(issuer.directory, "authority", "x509", "show", "--json").stdout
        old = next(row["id"] for row in json.loads(shown)["authorities"] if row["state"] == "active")
        for step in (("prepare",), ("activate",), ("taint", old)):
            govctl(issuer.directory, "authority", "x509", *step, "--reason", "a test")
        eventually("the certificate is another", lambda: serial_of(edge, worker) != before)
        assert client.get("/v1/models").status_code == 200


def test_what_only_an_authority_can_do_is_refused_with_the_remedy(edge):
    done = govctl(edge.directory, "agent", "issue", f"spiffe://{TRUST_DOMAIN}/agent/worker", "--out", "x", check=False)
    assert done.returncode == 1
    assert "spire-server entry" in done.stderr
    shown = govctl(edge.directory, "authority", "x509", "show", check=False)
    assert (shown.returncode, "SPIRE" in shown.stderr) == (1, True)
    edge.edit_config({"identity": {"delegation": {"enabled": True}}})
    refused = govctl(edge.directory, "config", "check", check=False)
    edge.edit_config({"identity": {"delegation": {"enabled": False}}})
    assert refused.returncode == 1
    assert "delegation.enabled cannot be used here" in refused.stderr


def test_the_gateway_serves_on_without_its_agent_and_says_for_how_long(edge, issuer, worker):
    agent = issue(issuer, "agent/worker")
    issuer.stop()
    try:
        log = eventually("the log says so", lambda: "spire-away" in edge.log() and edge.log())
        assert '"seconds_left": 3' in log, "an hour, less what has passed"
        with plain(edge, agent) as client:
            assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
        assert edge.ready()["ready"] is True
        assert "govgateway_spire_away" in edge.metrics()
    finally:
        issuer.start()
    eventually("it is back", lambda: "spire-back" in edge.log())


def test_without_an_agent_nothing_starts_and_the_cause_is_named(example_backend, tmp_path, sockets):
    lost = edge_home(tmp_path, example_backend, sockets, socket=str(tmp_path / "nothing.sock"))
    done = govctl(lost.directory, "up", check=False)
    assert done.returncode == 1
    assert "nothing.sock" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_identity_of_another_domain_or_that_is_not_given_is_refused(example_backend, issuer, tmp_path, sockets):
    missing = edge_home(tmp_path, example_backend, sockets, spiffe_id=f"spiffe://{TRUST_DOMAIN}/nobody")
    done = govctl(missing.directory, "up", check=False)
    assert done.returncode == 1
    assert "nobody is not among the identities" in done.stderr
    missing.edit_config({"trust_domain": "elsewhere.test", "identity": {"spire": {"spiffe_id": EDGE}}})
    done = govctl(missing.directory, "up", check=False)
    assert done.returncode == 1
    assert "set trust_domain to SPIRE's" in done.stderr
