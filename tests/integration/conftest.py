"""A gateway with the example model server behind it, shared by the tests that only call it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running_gateway import ROOT, AgentFiles, RunningGateway

MODELS = ["example-chat", "example-hiring=hiring", "example-scoring=scoring", "secret-model"]


@pytest.fixture(scope="session")
def example_backend() -> Iterator[str]:
    """Start the example model server; yield its base URL with /v1."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "deploy" / "example_model" / "server.py"), "--port", "0", "--delay-ms", "5"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = ""
    while "http://" not in url:
        url = process.stdout.readline()
        assert url, "the example model server ended"
    yield "http://" + url.split("http://")[1].split()[0].rstrip("/.,") + "/v1"
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture(scope="session")
def gateway(example_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A running gateway with one worker. Tests that change it start their own."""
    running = RunningGateway(tmp_path_factory.mktemp("gw") / "home", example_backend, MODELS)
    forbid(running, "secret-model")
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def agent(gateway: RunningGateway) -> AgentFiles:
    """An agent of the team that may use example-*."""
    return gateway.register("agent/researcher")


def forbid(gateway: RunningGateway, model: str) -> None:
    """Take a model out of the starter role again, so that it exists and nobody may use it."""
    roles: Path = gateway.directory / "policies" / "govgateway" / "roles" / "data.yaml"
    roles.write_text(roles.read_text().replace(f', "{model}"', ""))
