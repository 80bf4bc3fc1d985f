"""The backend's credential from the sealed file: rotated without a restart, on record, and in clear nowhere."""

import json
import os
import secrets
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.calls import chat, files_with, plain, records
from tests.support.faulty_backend import FaultyBackend
from tests.support.running_gateway import AgentFiles, RunningGateway, govctl

MODEL = "example-chat"
FIRST, SECOND = "canary-first-5d1e9c", "canary-second-77aa02"
COMMAND = "import sys; from gateway.cli import main; sys.argv[0] = 'govctl'; main()"


def typed(directory: Path, *arguments: str, value: str) -> "subprocess.CompletedProcess[str]":
    """Run govctl with a value on standard input."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], input=f"{value}\n", capture_output=True, text=True, check=False,
        timeout=60, cwd=directory, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def backend() -> Iterator[FaultyBackend]:
    with FaultyBackend() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(backend: FaultyBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    running = RunningGateway(tmp_path_factory.mktemp("sealed") / "home", backend.url, [MODEL])
    key = running.directory / "secrets.key"
    key.write_bytes(b64encode(secrets.token_bytes(32)))
    key.chmod(0o600)
    running.edit_config(
        {
            "secrets": {"sealed_file": {"path": "secrets.sealed", "key": "file:secrets.key"}},
            "backends": [{"name": "default", "url": backend.url, "credential": "sealed://backend"}],
            "telemetry": {"log_level": "debug"},
        }
    )
    done = typed(running.directory, "secret", "set", "backend", value=FIRST)
    assert done.returncode == 0, done.stderr
    assert FIRST not in done.stdout + done.stderr
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


def test_a_rotation_is_used_from_the_next_call_on_by_every_worker(gateway, agent, backend):
    assert sent(gateway, agent, backend) == {f"Bearer {FIRST}"}
    assert typed(gateway.directory, "secret", "rotate", "backend", value=SECOND).returncode == 0
    assert sent(gateway, agent, backend) == {f"Bearer {SECOND}"}


def test_what_is_changed_is_on_record_by_reference_and_version(gateway, agent):
    assert typed(gateway.directory, "secret", "set", "spare", value="x").returncode == 0
    assert govctl(gateway.directory, "secret", "remove", "spare").returncode == 0
    changed = [each for each in records(gateway, 500) if each["type"] == "secret.changed"]
    found = {(each["secret"], each["change"], each["version"]) for each in changed}
    assert {("sealed://spare", "set", 1), ("sealed://spare", "removed", 1)} <= found
    listed = json.loads(govctl(gateway.directory, "secret", "list", "--json").stdout)
    assert [(each["name"], each["used_by"]) for each in listed] == [("backend", ["backends.default.credential"])]


def test_a_secret_in_use_is_not_removed_and_what_is_wrong_is_told(gateway):
    used = govctl(gateway.directory, "secret", "remove", "backend", check=False)
    assert used.returncode == 1
    assert "backends.default.credential refers to it" in used.stderr
    again = typed(gateway.directory, "secret", "set", "backend", value="y")
    assert again.returncode == 1
    assert "govctl secret rotate backend" in again.stderr


def test_no_value_is_in_any_file_log_or_metric(gateway, agent, backend):
    sent(gateway, agent, backend)
    shown = govctl(gateway.directory, "config", "show", "--json").stdout + gateway.metrics() + gateway.log()
    for value in (FIRST, SECOND):
        assert value not in shown
    assert files_with(gateway.directory, FIRST, SECOND) == []


def test_an_older_copy_of_the_file_is_refused_at_start(backend, tmp_path):
    running = RunningGateway(tmp_path / "home", backend.url, [MODEL])
    key = running.directory / "secrets.key"
    key.write_bytes(b64encode(secrets.token_bytes(32)))
    key.chmod(0o600)
    running.edit_config(
        {
            "secrets": {"sealed_file": {"path": "secrets.sealed", "key": "file:secrets.key"}},
            "backends": [{"name": "default", "url": backend.url, "credential": "sealed://backend"}],
        }
    )
    missing = govctl(running.directory, "up", check=False)
    assert missing.returncode == 1
    assert "backends.default.credential" in missing.stderr
    assert "govctl secret set NAME" in missing.stderr
    typed(running.directory, "secret", "set", "backend", value=FIRST)
    path = running.directory / "secrets.sealed"
    older = path.read_bytes()
    typed(running.directory, "secret", "rotate", "backend", value=SECOND)
    path.write_bytes(older)
    refused = govctl(running.directory, "up", check=False)
    assert refused.returncode == 1
    assert "older copy" in refused.stderr
    assert FIRST not in refused.stderr
