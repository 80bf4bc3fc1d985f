"""Evidence beside a gateway that does not run: its key, what retention took, time stamps, and wrong use."""

import asyncio
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from audit.anchors.timestamps import verify_timestamp
from audit.log import append_once
from compliance.errors import ComplianceError
from compliance.evaluation.result import Evaluation
from compliance.package.question import Question
from compliance.period import Period
from gateway.app import open_audit_store, open_audit_tree
from gateway.config import load_config
from gateway.evidence_key import open_evidence_key
from gateway.evidence_world import GatewayWorld, Measures
from tests.support.answering_server import Answered, answering
from tests.support.certificates import CertificateAuthority
from tests.support.evidence_world import TinyData
from tests.support.timestamp_authority import StampingAuthority, signer_certificate

DAY_NS = 86_400_000_000_000


def world_of(gateway: Any, first: date) -> GatewayWorld:
    config = load_config(gateway.directory / "govgateway.yaml")
    period = Period(first, first)
    measures = Measures(
        lambda source, _database, _progress: TinyData(source, period),
        lambda _data, _source: Evaluation(period, "", (), ()),
        {},
    )
    question = Question(config.audit_log, "", period, ())
    return GatewayWorld(config, question, "operator:alex", open_evidence_key(config), measures)


def today() -> date:
    return datetime.now(UTC).date()


async def sign(gateway: Any) -> None:
    tree, _ = open_audit_tree(load_config(gateway.directory / "govgateway.yaml"))
    await tree.once()
    await tree.close()


def test_the_public_key_is_the_same_each_time_and_stands_in_a_file(govctl: Any) -> None:
    first, again = (govctl("evidence", "key", "--json").json for _ in range(2))
    assert (first["made"], again["made"]) == (True, False)
    assert first["fingerprint"] == again["fingerprint"]
    assert (govctl.directory / "state/audit/evidence/evidence.pem").read_text() == first["pem"]
    assert first["fingerprint"] in govctl("evidence", "key").out


def test_another_sealing_key_does_not_open_it(govctl: Any) -> None:
    govctl("evidence", "key")
    (seal_key,) = [path for path in govctl.directory.rglob("*seal*key*") if path.is_file()]
    from base64 import b64encode

    seal_key.write_bytes(b64encode(bytes(32)))
    assert "does not open" in govctl("evidence", "key", code=1).err


def test_a_damaged_key_is_said(govctl: Any) -> None:
    govctl("evidence", "key")
    path = govctl.directory / "state/audit/evidence/evidence.key"
    path.write_bytes(path.read_bytes()[:-1])
    assert "evidence.key" in govctl("evidence", "key", code=1).err


def test_wrong_use_of_verify_evidence_has_a_status_of_its_own(govctl: Any) -> None:
    assert "Cannot verify" in govctl("verify-evidence", "nowhere", code=2).err
    (govctl.directory / "empty").mkdir()
    assert "manifest.json is missing" in govctl("verify-evidence", "empty", code=1).out
    assert "is no public key" in govctl("verify-evidence", "empty", "--log-key", "a+b", code=2).err


async def test_a_period_before_what_retention_left_is_refused(govctl: Any) -> None:
    path = govctl.directory / "govgateway.yaml"
    path.write_text(path.read_text() + "\naudit:\n  retention: {default_days: 0, unsafe_shorter_than_law: true}\n")
    store = open_audit_store(load_config(path))
    then = time.time_ns() - 3 * DAY_NS
    for _ in range(3):
        append_once(store, "worker-0", "log.recovered", {"cause": "a test"}, lambda: then)
    await sign(govctl)
    govctl("audit", "seal")
    append_once(store, "worker-0", "log.recovered", {"cause": "a test"}, time.time_ns)
    await sign(govctl)
    govctl("audit", "retention", "apply")
    await sign(govctl)
    before = world_of(govctl, today() - timedelta(days=3))
    with pytest.raises(ComplianceError, match="begins before what the log still has"):
        before.extract(before.source(None), Path("unused"), lambda *_: None)
    after = world_of(govctl, today() + timedelta(days=1))
    assert after.extract(after.source(None), Path("unused"), lambda *_: None).window() == (0, 0)
    assert after.surroundings(after.extract(after.source(None), Path("unused"), lambda *_: None)).sealed


def test_the_envelope_is_stamped_if_an_authority_is_configured(govctl: Any) -> None:
    now = int(time.time())
    root = CertificateAuthority.root("stamps.test", now=now)
    authority = StampingAuthority(*signer_certificate(root, now), lambda: now)
    (govctl.directory / "tsa.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    assert world_of(govctl, today()).stamp(b"envelope") == b""
    with answering(lambda asked: Answered(authority.answer(asked.body))) as server:
        path = govctl.directory / "govgateway.yaml"
        path.write_text(path.read_text() + f"\naudit:\n  timestamps: {{url: '{server.url}', roots_file: tsa.pem}}\n")
        answer = world_of(govctl, today()).stamp(b"envelope")
    assert verify_timestamp(answer, b"envelope", [root.certificate]).time_ns == now * 1_000_000_000


def test_a_commitment_that_no_checkpoint_covers_says_that_the_gateway_has_to_run(
    govctl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gateway.covering as module

    asyncio.run(sign(govctl))
    monkeypatch.setattr(module, "COVERING_SECONDS", 0.0)
    world = world_of(govctl, today())
    fields = {
        "commitment_sha256": "0" * 64, "system": "", "since": 0, "until": 1, "frameworks": [], "tree_size": 1,
        "tree_root": "0" * 64, "populations": 0, "rows": 0, "real_names": False,
    }  # fmt: skip
    record = world.commit(fields)
    with pytest.raises(ComplianceError, match="govctl up"):
        world.covering(record)
    asyncio.run(sign(govctl))
    assert world.covering(record)
