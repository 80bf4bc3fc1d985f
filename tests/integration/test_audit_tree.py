"""The signed tree of a running gateway: what it covers, the receipts of callers, and logs that are not what they were."""

import base64
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import openai
import pytest
from openai import DefaultHttpxClient, OpenAI

from audit.chain import record_hash
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint
from audit.tlog.merkle import leaf_hash, root_of
from audit.tlog.note import open_note, parse_verifier_key
from audit.tlog.proof import parse_proof, verify_proof
from tests.integration.conftest import MODELS, forbid
from tests.support.running_gateway import TRUST_DOMAIN, AgentFiles, RunningGateway, govctl

QUESTION = [{"role": "user", "content": "What is a receipt?"}]
LOG = f"{TRUST_DOMAIN}/audit"


def sdk_of(gateway: RunningGateway, agent: AgentFiles) -> OpenAI:
    client = DefaultHttpxClient(verify=agent.tls())
    return OpenAI(base_url=gateway.base_url, api_key="none", max_retries=0, http_client=client)


def plain_client(gateway: RunningGateway, agent: AgentFiles) -> httpx.Client:
    return httpx.Client(base_url=f"https://localhost:{gateway.port}", verify=agent.tls(), trust_env=False)


def audit_dir(gateway: RunningGateway) -> Path:
    return gateway.directory / "state" / "audit"


def checkpoint_of(gateway: RunningGateway) -> Checkpoint:
    """The latest checkpoint, its signature verified."""
    verifier = parse_verifier_key((audit_dir(gateway) / "checkpoint.vkey").read_text())
    note = (audit_dir(gateway) / "tree" / "checkpoint").read_bytes()
    checkpoint = parse_checkpoint(open_note(note, [verifier]).text)
    assert checkpoint.origin == verifier.name == LOG
    return checkpoint


def receipt_of(client: httpx.Client, event_id: str) -> dict:
    """The receipt, once the tree has taken the record."""
    for _ in range(200):
        answer = client.get(f"/receipts/{event_id}")
        if answer.status_code == 200:
            return answer.json()
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "receipt_pending")
        assert int(answer.headers["retry-after"]) >= 1
        time.sleep(0.25)
    raise AssertionError("the record was not taken into the tree")


def test_a_caller_proves_its_call_with_the_header_the_receipt_and_the_logs_public_key(gateway, agent):
    with sdk_of(gateway, agent) as sdk, plain_client(gateway, agent) as client:
        raw = sdk.chat.completions.with_raw_response.create(model="example-chat", messages=QUESTION, max_tokens=4)
        header = raw.headers["x-audit-receipt"]
        event_id, *parameters = header.split(";")
        event_id, named = event_id.strip('"'), dict(each.split("=", 1) for each in parameters)
        assert event_id == raw.headers["x-request-id"]
        assert (named["log"], named["chain"]) == (f'"{LOG}"', '"worker-0"')
        receipt = receipt_of(client, event_id)
    record = receipt["record"].encode()
    assert base64.b64decode(named["sha256"].strip(":")).hex() == record_hash(record)
    assert json.loads(record)["seq"] == int(named["seq"])
    assert json.loads(record)["principal"] == agent.id
    verifier = parse_verifier_key((audit_dir(gateway) / "checkpoint.vkey").read_text())
    checkpoint, _ = verify_proof(parse_proof(receipt["proof"].encode()), leaf_hash(record), [verifier], LOG)
    assert receipt["index"] < checkpoint.size


def test_streams_listings_and_refusals_name_their_records_too(gateway, agent):
    with plain_client(gateway, agent) as client:
        for body in ({"model": "example-chat", "stream": True}, {"model": "secret-model"}, {"model": "none-such"}):
            answer = client.post("/v1/chat/completions", json={**body, "messages": QUESTION, "max_tokens": 4})
            assert answer.headers["x-audit-receipt"].startswith(f'"{answer.headers["x-request-id"]}";log="{LOG}";')
        listing = client.get("/v1/models")
        assert listing.headers["x-audit-receipt"].startswith(f'"{listing.headers["x-request-id"]}";')


def test_nobody_gets_the_receipt_of_another(gateway, agent):
    other = gateway.register("agent/receipt-thief")
    with plain_client(gateway, agent) as client, plain_client(gateway, other) as thief:
        answer = client.post(
            "/v1/chat/completions", json={"model": "example-chat", "messages": QUESTION, "max_tokens": 4}
        )
        event_id = answer.headers["x-request-id"]
        receipt_of(client, event_id)
        refused = thief.get(f"/receipts/{event_id}")
        unknown = thief.get("/receipts/01a20901-940a-7000-947e-55f897f36847")
        assert refused.status_code == unknown.status_code == 404
        assert refused.json()["error"]["code"] == unknown.json()["error"]["code"] == "receipt_unknown"
        assert client.get("/receipts/..%2f..%2fcheckpoint.key").status_code in {400, 404}
        assert client.post(f"/receipts/{event_id}").status_code == 404


@pytest.fixture
def own(example_backend: str, tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway of this test alone."""
    running = RunningGateway(tmp_path / "home", example_backend, MODELS)
    forbid(running, "secret-model")
    running.start()
    yield running
    running.end()


@pytest.fixture
def stopped(own: RunningGateway) -> RunningGateway:
    """A gateway that answered a few calls and was stopped."""
    gateway = own
    with sdk_of(gateway, gateway.register("agent/researcher")) as sdk:
        for _ in range(3):
            sdk.chat.completions.create(model="example-chat", messages=QUESTION, max_tokens=4)
        with pytest.raises(openai.PermissionDeniedError):
            sdk.chat.completions.create(model="secret-model", messages=QUESTION)
    gateway.stop()
    return gateway


def stored(gateway: RunningGateway) -> dict[str, list[tuple[int, str]]]:
    """Sequence and hash of all records, chain by chain."""
    found = {}
    for path in sorted(audit_dir(gateway).glob("*.sqlite")):
        with closing(sqlite3.connect(path)) as connection:
            found[path.stem] = connection.execute("SELECT seq, hash FROM records ORDER BY seq").fetchall()
    return found


def test_a_stop_leaves_a_checkpoint_over_every_record_of_every_chain(stopped: RunningGateway) -> None:
    chains = stored(stopped)
    assert {"control", "worker-0", "govctl"} <= chains.keys()
    checkpoint = checkpoint_of(stopped)
    assert checkpoint.size == sum(len(rows) for rows in chains.values())
    assert checkpoint.extensions == tuple(f"chain {name} {len(rows)} {rows[-1][1]}" for name, rows in chains.items())
    tiles = (audit_dir(stopped) / "tree" / "tile" / "0").glob("000.p/*")
    widest = max(tiles, key=lambda path: int(path.name)).read_bytes()
    leaves = [widest[at : at + 32] for at in range(0, len(widest), 32)]
    assert sorted(leaf.hex() for leaf in leaves) == sorted(digest for rows in chains.values() for _, digest in rows)
    assert root_of(leaves) == checkpoint.root


def test_checkpoints_are_signed_with_a_post_quantum_key_too_where_asked(own: RunningGateway) -> None:
    own.stop()
    own.edit_config({"audit": {"post_quantum": True}})
    own.start()
    own.stop()
    files = [audit_dir(own) / name for name in ("checkpoint.vkey", "checkpoint-mldsa.vkey")]
    keys = [parse_verifier_key(path.read_text()) for path in files]
    opened = open_note((audit_dir(own) / "tree" / "checkpoint").read_bytes(), keys)
    assert [(signature.name, signature.timestamp is None) for signature in opened.signatures] == [
        (LOG, True),
        (LOG, False),
    ]
    assert {path.stat().st_mode & 0o777 for path in audit_dir(own).glob("*.key")} == {0o600}
    done = govctl(own.directory, "audit", "verify", "--key", str(files[1]), "--json")
    assert json.loads(done.stdout)["ok"]


@pytest.mark.parametrize("chain", ["worker-0", "control"])
def test_an_older_copy_of_a_chain_with_its_head_is_refused_at_the_start(stopped: RunningGateway, chain: str) -> None:
    """The head beside the chain fits: only the tree remembers."""
    rows = stored(stopped)[chain]
    with closing(sqlite3.connect(audit_dir(stopped) / f"{chain}.sqlite")) as connection, connection:
        connection.execute("DELETE FROM records WHERE seq >= ?", (len(rows) - 2,))
    (audit_dir(stopped) / f"{chain}.head").write_text(f"{rows[-3][0]} {rows[-3][1]}\n")
    done = govctl(stopped.directory, "up", check=False)
    assert done.returncode == 1
    assert f"the chain {chain} is an older or a changed copy" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_govctl_does_not_write_after_an_older_copy_of_its_chain(stopped: RunningGateway) -> None:
    for path in audit_dir(stopped).glob("govctl.*"):
        path.unlink()
    done = govctl(
        stopped.directory, "agent", "register", f"spiffe://{TRUST_DOMAIN}/agent/late", "--team", "research",
        "--owner", "o@example.org", "--purpose", "late", check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "older or a changed copy" in done.stdout + done.stderr


def test_a_lost_key_is_not_replaced_in_silence(stopped: RunningGateway) -> None:
    (audit_dir(stopped) / "checkpoint.key").unlink()
    done = govctl(stopped.directory, "up", check=False)
    assert done.returncode == 1
    assert "restore it from a backup" in done.stdout + done.stderr


def test_a_lost_state_of_the_tree_is_not_replaced_in_silence(stopped: RunningGateway) -> None:
    shutil.rmtree(audit_dir(stopped) / "tree")
    done = govctl(stopped.directory, "up", check=False)
    assert done.returncode == 1
    assert "tree" in done.stdout + done.stderr


def test_a_chain_changed_under_a_running_gateway_is_not_signed(own: RunningGateway) -> None:
    gateway = own
    with plain_client(gateway, gateway.register("agent/researcher")) as client:
        body = {"model": "example-chat", "messages": QUESTION, "max_tokens": 4}
        receipt_of(client, client.post("/v1/chat/completions", json=body).headers["x-request-id"])
    with closing(sqlite3.connect(audit_dir(gateway) / "govctl.sqlite", timeout=10)) as connection, connection:
        connection.execute(
            "INSERT INTO records SELECT seq + 1, 'forged', time_ns, type, hash, record FROM records "
            "ORDER BY seq DESC LIMIT 1"
        )
    for _ in range(100):
        answer = httpx.get(gateway.operations_url + "/readyz", timeout=5)
        if answer.status_code == 503:
            break
        time.sleep(0.2)
    assert "govctl" in answer.text
    size = checkpoint_of(gateway).size
    assert size < sum(len(rows) for rows in stored(gateway).values())
