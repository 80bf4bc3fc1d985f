"""govctl secret doctor and deploy/vault/setup.sh against a real OpenBao: what is wrong is named, and nothing is told."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hvac.exceptions import Forbidden

from tests.support.calls import chat, plain, records
from tests.support.faulty_backend import FaultyBackend
from tests.support.openbao import OpenBao
from tests.support.running_gateway import RunningGateway, govctl

ROOT = Path(__file__).resolve().parents[2]
MODEL = "example-chat"
CANARY = "canary-doctor-2f7d"
REFERENCE = "vault://secret/backends/vllm#key"


@pytest.fixture(scope="module")
def backend() -> Iterator[FaultyBackend]:
    with FaultyBackend() as running:
        yield running


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with OpenBao(tmp_path_factory.mktemp("bao") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def home(bao: OpenBao, backend: FaultyBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway that setup.sh set a fresh OpenBao up for."""
    made = RunningGateway(tmp_path_factory.mktemp("home") / "home", backend.url, [MODEL])
    made.edit_config(
        {
            "secrets": {
                "vault": {
                    "addresses": [bao.address],
                    "ca_file": str(bao.ca_file),
                    "login": {"method": "jwt", "role": "gateway"},
                    "timeout_seconds": 2,
                }
            },
            "backends": [{"name": "default", "url": backend.url, "credential": REFERENCE}],
        }
    )
    admin = bao.root.auth.token.create(policies=["root"], ttl="10m")["auth"]["client_token"]
    done = set_up(made, bao, admin)
    assert done.returncode == 0, done.stderr
    assert admin not in done.stdout + done.stderr
    with pytest.raises(Forbidden):
        bao.client(admin).auth.token.lookup_self()  # it is dead now
    bao.put("backends/vllm", key=f"{CANARY}-1", other="x")
    bao.put("backends/vllm", key=f"{CANARY}-2", other="x")
    bao.put("elsewhere", key=CANARY)
    yield made
    made.end()


def set_up(home: RunningGateway, bao: OpenBao, token: str) -> "subprocess.CompletedProcess[str]":
    scripts = Path(sys.executable).parent
    return subprocess.run(
        [ROOT / "deploy" / "vault" / "setup.sh", "--config", home.config_path],
        env={
            "PATH": f"{scripts}:{os.defpath}", "HOME": str(home.directory), "VAULT_ADDR": bao.address,
            "VAULT_CACERT": str(bao.ca_file), "VAULT_TOKEN": token,
        },
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


Examine = Callable[..., dict[tuple[str, str], str]]


@pytest.fixture
def examine(home: RunningGateway) -> Iterator[Examine]:
    """Run the doctor on a changed configuration; the states and codes of its findings."""
    before = home.config_path.read_text()

    def run(vault: dict[str, Any] | None = None, reference: str = "") -> dict[tuple[str, str], str]:
        changes: dict[str, Any] = {"secrets": {"vault": vault or {}}}
        if reference:
            backend = json.loads(govctl(home.directory, "config", "show", "--json").stdout)["backends"][0]
            changes["backends"] = [{"name": "default", "url": backend["url"], "credential": reference}]
        home.edit_config(changes)
        done = govctl(home.directory, "secret", "doctor", "--json", check=False)
        assert CANARY not in done.stdout + done.stderr
        found = json.loads(done.stdout)
        assert done.returncode == (1 if any(each["state"] == "fail" for each in found) else 0)
        assert all(each["detail"] for each in found)
        assert all(each["remedy"] for each in found if each["state"] == "fail")
        return {(each["step"], each["code"]): each["state"] for each in found}

    yield run
    home.config_path.write_text(before)


def test_a_healthy_set_up_has_just_what_it_needs(home, examine):
    found = examine()
    assert set(found.values()) == {"pass"}
    assert {("address", "active"), ("login", "logged_in"), ("secret", "usable")} <= set(found)
    shown = govctl(home.directory, "secret", "doctor").stdout
    assert "backends.default.credential" in shown
    assert any(each["type"] == "identity.issued" and each["svid"] == "jwt-svid" for each in records(home))


def test_the_policy_printed_is_least_privilege(home):
    printed = govctl(home.directory, "secret", "doctor", "--print-policy").stdout
    assert 'path "secret/data/backends/vllm" { capabilities = ["read"] }' in printed
    assert "*" not in printed
    assert "create" not in printed
    assert "bound_subject=spiffe://" in govctl(home.directory, "secret", "doctor", "--print-setup").stdout


@pytest.mark.parametrize(
    ("vault", "reference", "expected"),
    [
        pytest.param({"login": {"method": "jwt", "role": "nobody"}}, "", ("login", "secret_denied"), id="role"),
        pytest.param(
            {"login": {"method": "jwt", "role": "gateway", "audience": "other"}}, "", ("login", "secret_denied"),
            id="audience",
        ),
        pytest.param(
            {"login": {"method": "jwt", "role": "gateway", "mount": "nowhere"}}, "", ("login", "secret_denied"),
            id="login mount",
        ),
        pytest.param({}, "vault://secret/elsewhere#key", ("capability", "missing_capability"), id="not in the policy"),
        pytest.param({}, "vault://secret/backends/vllm#nope", ("secret", "secret_missing"), id="field"),
        pytest.param({}, "vault://secret/backends/vllm?version=9#key", ("secret", "secret_missing"), id="version"),
        pytest.param(
            {"mounts": [{"path": "absent"}]}, "vault://absent/x#key", ("capability", "missing_capability"), id="mount"
        ),
        pytest.param(
            {"mounts": [{"path": "secret", "engine": "kv-v1"}]}, "", ("capability", "missing_capability"), id="engine"
        ),
        pytest.param({"addresses": ["https://127.0.0.1:1"]}, "", ("address", "unreachable"), id="address"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(examine, vault, reference, expected):
    assert examine(vault, reference)[expected] == "fail"


def test_values_that_cannot_be_used_are_named(bao, examine):
    version = bao.put("backends/vllm", key=7, other="x")
    assert examine()["secret", "secret_unusable"] == "fail"
    bao.root.secrets.kv.v2.destroy_secret_versions("backends/vllm", [version])
    assert examine()["secret", "secret_missing"] == "fail"
    bao.put("backends/vllm", key=f"{CANARY}-3", other="x")
    assert examine()["secret", "usable"] == "pass"


def test_a_sealed_vault_and_a_wrong_authority_are_named(bao, examine, tmp_path):
    bao.seal()
    assert examine()["address", "sealed"] == "fail"
    bao.unseal()
    other = tmp_path / "other.pem"
    bao.replace_ca()
    other.write_bytes(bao.ca_file.read_bytes())
    assert examine({"ca_file": str(other)})["address", "unreachable"] == "fail"
    assert examine({"ca_file": str(bao.new_ca_file)})["secret", "usable"] == "pass"


def test_a_root_token_and_too_many_rights_are_warned_of(bao, examine, monkeypatch):
    monkeypatch.setenv("GOVGATEWAY_TEST_VAULT_TOKEN", bao.root_token)
    login = {"method": "token", "token": "env:GOVGATEWAY_TEST_VAULT_TOKEN"}
    found = examine({"ca_file": str(bao.new_ca_file), "login": login})
    assert found["token", "root_token"] == "warn"
    assert found["token", "endless_token"] == "warn"
    assert bao.root.auth.token.lookup_self()  # a token that somebody made is not revoked


def test_the_gateway_runs_with_what_the_script_set_up_and_reads_no_more(home, bao, backend, examine):
    home.edit_config({"secrets": {"vault": {"ca_file": str(bao.new_ca_file)}}})
    home.start()
    agent = home.register("agent/caller")
    with plain(home, agent) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    sent = {value for name, value in backend.requests[-1].headers if name == "authorization"}
    assert sent == {f"Bearer {CANARY}-3"}
    assert home.stop() == 0
