"""A witness run by somebody else, as a process of its own, and a gateway whose log it cosigns."""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.tlog.checkpoint import Checkpoint
from audit.tlog.merkle import leaf_hash, root_of
from audit.tlog.note import Ed25519Signer, open_note, parse_verifier_key, sign_note
from audit.witness.deciding import format_request
from tests.integration.conftest import MODELS
from tests.support.running_gateway import RunningGateway, govctl
from tests.support.witness_process import WitnessProcess

BODY = {"model": "example-chat", "messages": [{"role": "user", "content": "Who saw it?"}], "max_tokens": 4}


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProcess]:
    process = WitnessProcess(tmp_path / "witness")
    yield process
    process.end()


def test_what_was_cosigned_is_remembered_over_a_kill(witness: WitnessProcess) -> None:
    log = Ed25519Signer("example.org/audit", Ed25519PrivateKey.generate())
    witness.watch(log.verifier_key)
    witness.start()
    leaves = [leaf_hash(b"%d" % number) for number in range(2)]
    notes = [sign_note(Checkpoint(log.name, size, root_of(leaves[:size])).to_text(), [log]) for size in (1, 2)]
    for old, note, proof in ((0, notes[0], []), (1, notes[1], [leaves[1]])):
        answer = httpx.post(f"{witness.url}/add-checkpoint", content=format_request(old, proof, note))
        assert answer.status_code == 200, answer.text
        witness.end(signal.SIGKILL)
        witness.start()
    again = httpx.post(f"{witness.url}/add-checkpoint", content=format_request(0, [], notes[0]))
    assert (again.status_code, again.text, again.headers["content-type"]) == (409, "2\n", "text/x.tlog.size")
    for method, path in (("GET", "/add-checkpoint"), ("POST", "/"), ("GET", "/")):
        assert httpx.request(method, f"{witness.url}{path}").status_code in {404, 405}
    assert httpx.post(f"{witness.url}/add-checkpoint", content=bytes(300_000)).status_code == 413


@pytest.fixture
def gateway(example_backend: str, tmp_path: Path, witness: WitnessProcess) -> Iterator[RunningGateway]:
    """A gateway whose log is cosigned by the witness."""
    running = RunningGateway(tmp_path / "home", example_backend, MODELS)
    running.start()
    running.stop()
    witness.watch((running.directory / "state" / "audit" / "checkpoint.vkey").read_text().strip())
    witness.start()
    policy = f"witness w {witness.verifier_key} {witness.url}\nquorum w\n"
    (running.directory / "witnesses").write_text(policy)
    running.edit_config({"audit": {"witnesses": {"policy_file": "witnesses", "max_age_seconds": 1}}})
    running.start()
    yield running
    running.end()


def call(gateway: RunningGateway) -> None:
    agent = gateway.register(f"agent/a{time.monotonic_ns()}")
    with httpx.Client(base_url=f"https://localhost:{gateway.port}", verify=agent.tls(), trust_env=False) as client:
        assert client.post("/v1/chat/completions", json=BODY).status_code == 200


def cosigners(gateway: RunningGateway, witness: WitnessProcess) -> list[str]:
    note = (gateway.directory / "state" / "audit" / "tree" / "checkpoint").read_bytes()
    keys = [
        parse_verifier_key(witness.verifier_key),
        parse_verifier_key((gateway.directory / "state" / "audit" / "checkpoint.vkey").read_text()),
    ]
    return sorted(signature.name for signature in open_note(note, keys).signatures)


def test_a_log_is_cosigned_verified_with_its_policy_and_goes_on_after_a_pause(gateway, witness) -> None:
    call(gateway)
    assert gateway.stop() == 0
    assert cosigners(gateway, witness) == sorted(["witness.test/w", "gateway.test/audit"])
    assert json.loads(govctl(gateway.directory, "audit", "verify", "--json").stdout)["ok"]
    size = witness.sizes()["gateway.test/audit"]
    gateway.start()
    call(gateway)
    gateway.stop()
    assert witness.sizes()["gateway.test/audit"] > size


def test_without_its_witness_a_gateway_serves_is_not_ready_and_recovers(gateway, witness) -> None:
    witness.end(signal.SIGKILL)
    call(gateway)
    for _ in range(150):
        answer = httpx.get(gateway.operations_url + "/readyz", timeout=5)
        if answer.status_code == 503 and "quorum is missing" in answer.text:
            break
        time.sleep(0.2)
        call(gateway)
    assert "quorum is missing" in answer.text
    witness.start()
    call(gateway)
    gateway.wait_ready()
    assert gateway.stop() == 0
    assert "witness.test/w" in cosigners(gateway, witness)


def test_a_whole_state_brought_back_from_an_older_copy_is_refused_at_the_start(gateway, witness, tmp_path) -> None:
    """Chains, heads, tree and key all fit each other: only the witness knows that there was more."""
    gateway.stop()
    shutil.copytree(gateway.directory / "state" / "audit", tmp_path / "older")
    gateway.start()
    call(gateway)
    gateway.stop()
    shutil.rmtree(gateway.directory / "state" / "audit")
    shutil.copytree(tmp_path / "older", gateway.directory / "state" / "audit")
    done = govctl(gateway.directory, "up", check=False)
    assert done.returncode == 1
    assert "this log is an older copy" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_log_written_anew_with_the_stolen_key_is_refused_by_the_witness(gateway, witness) -> None:
    call(gateway)
    gateway.stop()
    audit = gateway.directory / "state" / "audit"
    key = (audit / "checkpoint.key").read_bytes()
    shutil.rmtree(audit)
    gateway.edit_config({"audit": {"witnesses": {"policy_file": None}}})
    gateway.start()  # the thief lets a log begin anew, and gives it the stolen key
    gateway.stop()
    (audit / "checkpoint.key").write_bytes(key)
    gateway.start()
    for _ in range(20):
        call(gateway)
    gateway.stop()
    assert json.loads(govctl(gateway.directory, "audit", "verify", "--json").stdout)["ok"], "by itself it is good"
    gateway.edit_config({"audit": {"witnesses": {"policy_file": "witnesses"}}})
    done = govctl(gateway.directory, "up", check=False)
    assert done.returncode == 1
    assert "written anew" in done.stdout + done.stderr or "older copy" in done.stdout + done.stderr
    assert govctl(gateway.directory, "audit", "verify", check=False).returncode == 1
