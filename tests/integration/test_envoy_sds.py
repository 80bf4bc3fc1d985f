"""The real Envoy as a sidecar that takes its certificate from our socket, with the configuration that is shipped."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.calls import chat, eventually, recorded, records
from tests.support.running_gateway import ROOT, TRUST_DOMAIN, RunningGateway, free_port, govctl

pytestmark = pytest.mark.interop

MODEL = "example-chat"
SIDECAR = f"spiffe://{TRUST_DOMAIN}/agent/sidecar"
ENVOY = ROOT / ".interop" / "bin" / "envoy"


@pytest.fixture(scope="module")
def sockets() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="gg-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def gateway(example_backend: str, sockets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    running = RunningGateway(
        tmp_path_factory.mktemp("sds") / "home", example_backend, [MODEL],
        {"identity": {"workload_api": {"socket": str(sockets / "api.sock")}}},
    )  # fmt: skip
    running.edit_data("limits", {"quota": [{"name": "all", "scope": "agent", "requests_per_minute": 1_000_000}]})
    running.register("agent/sidecar", issue=False)
    govctl(
        running.directory, "entry", "create", "--spiffe-id", SIDECAR,
        "--selector", f"unix:uid:{os.getuid()}", "--selector", f"unix:path:{program()}",
    )  # fmt: skip
    running.start()
    yield running
    assert running.stop() == 0


def program() -> str:
    """Return the file that runs when Envoy is started: the package's `envoy` is a script that becomes it."""
    found = [
        path
        for path in (ROOT / ".interop" / "envoy").rglob("envoy")
        if path.is_file() and path.stat().st_size > 1 << 20
    ]
    assert found, "Envoy is missing; run: make interop"
    return str(found[0].resolve())


@pytest.fixture(scope="module")
def sidecar(gateway: RunningGateway, sockets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    text = (ROOT / "deploy" / "envoy" / "sidecar.yaml").read_text()
    for name, value in {
        "LISTEN_PORT": str(port),
        "GATEWAY_HOST": "localhost",
        "GATEWAY_PORT": str(gateway.port),
        "TRUST_DOMAIN": TRUST_DOMAIN,
        "SOCKET": str(sockets / "api.sock"),
    }.items():
        text = text.replace(name, value)
    directory = tmp_path_factory.mktemp("envoy")
    (directory / "sidecar.yaml").write_text(text)
    with (directory / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            [ENVOY, "-c", "sidecar.yaml", "--use-dynamic-base-id", "--concurrency", "1", "-l", "info"],
            cwd=directory, stdout=log, stderr=log,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, (directory / "envoy.log").read_text()[-3000:]
        try:
            return httpx.get(url + "/v1/models", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    eventually("Envoy has its certificate and serves", ready)
    yield url
    process.terminate()
    process.wait(10)


def test_envoy_calls_with_the_identity_that_its_process_is_given(gateway, sidecar):
    answer = httpx.post(sidecar + "/v1/chat/completions", json=chat(MODEL), trust_env=False, timeout=15)
    assert answer.status_code == 200
    intent = recorded(gateway, "access.intent", principal=SIDECAR)
    assert recorded(gateway, "identity.issued", agent=SIDECAR)["serial"] == intent["peer"]["serial"]


def test_a_rotation_reaches_envoy_without_a_dropped_request(gateway, sidecar):
    stop, answers = threading.Event(), []

    def load() -> None:
        with httpx.Client(trust_env=False, timeout=15) as client:
            while not stop.is_set():
                answer = client.post(sidecar + "/v1/chat/completions", json=chat(MODEL, max_tokens=2))
                answers.append(answer.status_code)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        before = serials(gateway)
        old = active(gateway)
        for step in (("prepare",), ("activate",), ("taint", old)):
            govctl(gateway.directory, "authority", "x509", *step, "--reason", "a test")
        eventually("a new certificate is in use", lambda: serials(gateway) - before)
        time.sleep(1)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert len(answers) > 50
    assert set(answers) == {200}


def serials(gateway: RunningGateway) -> set[str]:
    """Return the serial numbers of the certificates issued to the sidecar."""
    return {
        entry["serial"]
        for entry in records(gateway, 5000)
        if entry["type"] == "identity.issued" and entry.get("agent") == SIDECAR
    }


def active(gateway: RunningGateway) -> str:
    import json

    shown = json.loads(govctl(gateway.directory, "authority", "x509", "show", "--json").stdout)
    return str(next(row["id"] for row in shown["authorities"] if row["state"] == "active"))


def test_a_streamed_answer_passes_envoy_as_it_comes(gateway, sidecar):
    body = chat(MODEL, stream=True, max_tokens=30, ignore_eos=True)
    with httpx.stream("POST", sidecar + "/v1/chat/completions", json=body, trust_env=False, timeout=15) as answer:
        times = [time.monotonic() for line in answer.iter_lines() if line.startswith("data: ")]
    assert len(times) > 30
    assert times[-1] - times[0] > 0.05, "the answer came at once instead of word by word"


def test_a_suspended_sidecar_is_refused_and_its_secret_withdrawn(gateway, sidecar):
    govctl(gateway.directory, "agent", "suspend", SIDECAR, "--reason", "a test")
    eventually("it is refused", lambda: httpx.get(sidecar + "/v1/models", trust_env=False).status_code in {401, 503})
    govctl(gateway.directory, "agent", "activate", SIDECAR, "--reason", "a test")
    eventually("it is served again", lambda: httpx.get(sidecar + "/v1/models", trust_env=False).status_code == 200)
