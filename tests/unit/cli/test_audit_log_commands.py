"""govctl audit: verify, query, stats, export, prove, checkpoint, on a log in the gateway's directory."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.audit_log import LogWorld
from tests.unit.cli.conftest import TD, Govctl


@pytest.fixture
def log(govctl: Govctl) -> Iterator[LogWorld]:
    with LogWorld(govctl.directory / "state" / "audit", origin=f"{TD}/audit") as world:
        world.calls("worker-0", 20)
        world.sequence()
        (world.directory / "checkpoint.vkey").write_text(world.signer.verifier_key + "\n")
        yield world


def test_verify_tells_of_chains_tree_and_signature(govctl: Govctl, log: LogWorld) -> None:
    told = govctl("audit", "verify").out
    assert "worker-0: good, 40 records" in told
    assert "tree: good, 41 records" in told
    assert f"Signed by {TD}/audit, verified with the key that lies beside the log" in told
    assert "verified with the key that you gave" in govctl("audit", "verify", "--key", log.signer.verifier_key).out


def test_verify_with_a_state_reads_what_is_new(govctl: Govctl, log: LogWorld, tmp_path: Path) -> None:
    state = str(tmp_path / "verified")
    assert sum(c["records"] for c in govctl("audit", "verify", "--state", state, "--json").json["chains"]) == 41
    log.calls("worker-0", 2)
    log.sequence()
    answer = govctl("audit", "verify", "--state", state, "--json").json
    assert sum(chain["records"] for chain in answer["chains"]) == 4
    assert answer["tree"]["continues"] == [41]


def test_verify_fails_for_a_changed_record_and_keeps_the_state_as_it_was(
    govctl: Govctl, log: LogWorld, tmp_path: Path
) -> None:
    log.change("worker-0", "UPDATE records SET record = replace(record, 'claims', 'blames') WHERE seq = 7")
    answer = govctl("audit", "verify", "--json", "--state", str(tmp_path / "verified"), code=1).json
    assert answer["ok"] is False
    assert {each["rule"] for each in answer["tree"]["findings"]} == {"leaf"}
    assert not (tmp_path / "verified").exists()


def test_verify_with_a_checkpoint_that_was_kept(govctl: Govctl, log: LogWorld, tmp_path: Path) -> None:
    govctl("audit", "checkpoint", "--output", str(tmp_path / "kept"))
    log.calls("worker-0", 2)
    log.sequence()
    assert "Continues the checkpoint of 41 records." in govctl("audit", "verify", "--since", str(tmp_path / "kept")).out


@pytest.mark.parametrize("key", ["nonsense", "a+b+c"])
def test_a_key_that_is_none_is_named(govctl: Govctl, log: LogWorld, key: str) -> None:
    assert "public key" in govctl("audit", "verify", "--key", key, code=1).err


def test_query_finds_and_shows(govctl: Govctl, log: LogWorld) -> None:
    told = govctl("audit", "query", "--principal", "*/a1", "--type", "access.intent").out.splitlines()
    assert len(told) == 7
    assert all("spiffe://example.org/agent/a1" in line for line in told)
    lines = govctl("audit", "query", "--text", "claims", "--limit", "3", "--json").out.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [37, 38, 39]
    assert "No record is so." in govctl("audit", "query", "--decision", "deny").out


def test_a_time_that_is_none_is_named(govctl: Govctl, log: LogWorld) -> None:
    assert "no point in time" in govctl("audit", "query", "--since", "yesterday", code=2).err


def test_stats_count(govctl: Govctl, log: LogWorld) -> None:
    log.calls("worker-0", 1)
    answer = govctl("audit", "stats", "--json").json
    assert (answer["records"], answer["tree_size"], answer["not_in_tree"]) == (43, 41, 2)
    assert answer["decisions"] == {"allow": 21}
    assert "Not in the signed tree yet: 2." in govctl("audit", "stats").out


def test_checkpoint_shows_size_heads_and_signers(govctl: Govctl, log: LogWorld) -> None:
    answer = govctl("audit", "checkpoint", "--json").json
    assert (answer["ok"], answer["size"], answer["signers"]) == (True, 41, [f"{TD}/audit"])
    assert answer["chains"]["worker-0"]["sequence"] == 39
    assert f"Signed by {TD}/audit." in govctl("audit", "checkpoint").out


def test_a_checkpoint_of_another_key_is_not_called_signed(govctl: Govctl, log: LogWorld, tmp_path: Path) -> None:
    with LogWorld(tmp_path / "other", origin=f"{TD}/audit") as other:
        answer = govctl("audit", "checkpoint", "--key", other.signer.verifier_key, "--json", code=1).json
    assert (answer["ok"], answer["signers"]) == (False, [])


def test_without_a_checkpoint_it_is_said(govctl: Govctl) -> None:
    assert "no signed checkpoint yet" in govctl("audit", "checkpoint", code=1).err
    assert "no signed checkpoint yet" in govctl("audit", "export", "-o", "out", code=1).err


def test_a_proof_and_an_export_verify_without_any_code_of_ours(govctl: Govctl, log: LogWorld, tmp_path: Path) -> None:
    with log.store.reader("worker-0") as reader:
        event_id = reader.last(3)[0].event_id
    govctl("audit", "prove", event_id, "--output", "receipt")
    govctl("audit", "export", "--output", "export")
    for arguments in (["receipt", "receipt", "receipt.tlog-proof"], ["export", "export"]):
        command = [sys.executable, "-I", "export/verify_audit.py", *arguments, "--key", log.signer.verifier_key]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_prove_overwrites_nothing_and_knows_what_is_pending(govctl: Govctl, log: LogWorld, tmp_path: Path) -> None:
    [pending, _] = log.calls("worker-0", 1)
    assert "no checkpoint covers" in govctl("audit", "prove", pending.event_id, code=1).err
    assert "no record" in govctl("audit", "prove", "01a20901-940a-7000-947e-55f897f36847", code=1).err
    log.sequence()
    (tmp_path / "receipt").write_text("mine")
    assert "is there already" in govctl("audit", "prove", pending.event_id, "-o", "receipt", code=1).err
    assert govctl("audit", "prove", pending.event_id, "--json").json["index"] == 41
