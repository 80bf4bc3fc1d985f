"""A gateway whose policies a real OPA decides: run by the gateway itself, or elsewhere."""

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.app import policy_store
from gateway.config import load_config
from tests.integration.test_opa_follows import Opa
from tests.support.calls import chat, eventually, plain, recorded
from tests.support.policy_bundles import PolicyAuthor, activate
from tests.support.running_gateway import ROOT, AgentFiles, RunningGateway, govctl

pytestmark = pytest.mark.interop

OPA = ROOT / ".interop" / "bin" / "opa"
MODEL = "example-chat"


@pytest.fixture
def author(tmp_path: Path) -> PolicyAuthor:
    return PolicyAuthor(tmp_path / "author", ROOT / "policies")


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory with a short name: the path of a Unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="gg-") as directory:
        yield Path(directory) / "home"


@pytest.fixture
def gateway(example_backend: str, author: PolicyAuthor, home: Path) -> Iterator[RunningGateway]:
    """A gateway that runs its OPA itself."""
    configuration = author.configuration(engine="opa", opa={"executable": str(OPA)}, cache_entries=0)
    running = RunningGateway(home, example_backend, [MODEL], configuration)
    activate(running, author.build("one"))
    running.start(workers=2)
    yield running
    assert running.stop() == 0
    assert opas(running) == [], "no OPA is left behind"


def opas(gateway: RunningGateway) -> list[int]:
    """Return the process ids of the OPA servers that this gateway runs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if command[0] == str(OPA) and any(str(gateway.directory) in part for part in command):
                found.append(int(entry.name))
    return found


def status(gateway: RunningGateway, agent: AgentFiles) -> tuple[int, str]:
    with plain(gateway, agent) as client:
        answer = client.post("/v1/chat/completions", json=chat(MODEL))
        return answer.status_code, answer.json().get("error", {}).get("code", "")


def test_opa_decides_each_revision_and_nothing_passes_while_it_is_away(gateway, author):
    caller, stranger = gateway.register("agent/caller"), gateway.register("agent/stranger", team="nobody")
    assert status(gateway, caller) == (200, "")
    assert status(gateway, stranger) == (403, "model_not_granted")
    author.bind("team:research", [])
    activate(gateway, author.build("two"))
    assert [status(gateway, caller) for _ in range(6)] == [(403, "model_not_granted")] * 6
    assert recorded(gateway, "access.denied", principal=caller.id)["policy"]["revision"] == "two"
    assert len(opas(gateway)) == 1, "the old revision's OPA is gone"
    govctl(gateway.directory, "policy", "rollback", "--reason", "a test")
    assert status(gateway, caller) == (200, "")
    (pid,) = opas(gateway)
    os.kill(pid, signal.SIGSTOP)
    assert status(gateway, caller) == (503, "policy_engine_unavailable")
    os.kill(pid, signal.SIGKILL)
    eventually("another OPA decides", lambda: status(gateway, caller) == (200, ""))
    assert opas(gateway) != [pid]


def test_a_client_that_leaves_during_an_activation_leaves_an_opa_that_decides(gateway, author):
    caller = gateway.register("agent/caller")
    approver = gateway.register("person/grace", team="platform", kind="human")
    for number, seconds in enumerate((0.2, 0.5, 0.8, 1.1, 1.4, 1.7, 2.0)):
        content = author.build(f"left-{number}").read_bytes()
        with (
            contextlib.suppress(httpx.TimeoutException),
            httpx.Client(verify=approver.tls(), trust_env=False, timeout=httpx.Timeout(10, read=seconds)) as client,
        ):
            client.post(f"https://localhost:{gateway.admin_port}/v1/policy/activate", content=content)
        eventually("it is taken all the same", lambda: active(gateway) == f"left-{number}")  # noqa: B023 - asked here
        eventually("every worker decides", lambda: [status(gateway, caller)[0] for _ in range(4)] == [200] * 4)
    eventually("one OPA is left", lambda: len(opas(gateway)) == 1)
    assert gateway.ready()


def active(gateway: RunningGateway) -> str:
    latest = policy_store(load_config(gateway.config_path)).history().active
    assert latest is not None
    return latest.revision


def test_an_opa_elsewhere_decides_only_by_the_gateways_revision(example_backend, author, tmp_path):
    bundle = author.build("one")
    arguments = ["--bundle", str(bundle), "--verification-key", str(author.public), "--verification-key-id", "ci",
                 "--signing-alg", "ES256"]  # fmt: skip
    opa = Opa(tmp_path / "opa", {}, *arguments)
    eventually("the OPA is up", opa.ready)
    configuration = author.configuration(engine="opa", opa={"address": opa.url}, cache_entries=0)
    running = RunningGateway(tmp_path / "home", example_backend, [MODEL], configuration)
    activate(running, bundle)
    running.start()
    try:
        caller = running.register("agent/caller")
        assert status(running, caller) == (200, "")
        activate(running, author.build("two"))
        assert status(running, caller) == (503, "policy_engine_unavailable"), "it runs another revision"
        govctl(running.directory, "policy", "rollback", "--reason", "a test")
        assert status(running, caller) == (200, "")
        opa.stop()
        assert status(running, caller) == (503, "policy_engine_unavailable")
    finally:
        assert running.stop() == 0
