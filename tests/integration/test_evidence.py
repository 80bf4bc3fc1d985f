"""Evidence of a gateway that runs: who may export it, what the log says of it, and decisions that are made again."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml

from audit.export.source import Source
from compliance.errors import ComplianceError
from compliance.evaluation.result import Evaluation
from compliance.package.building import Built, Request
from compliance.package.question import Question
from compliance.period import Period
from gateway.cli.acting import operator
from gateway.config import load_config
from gateway.errors import PolicyDeniedError
from gateway.evidence import export_evidence
from gateway.evidence_key import open_evidence_key
from gateway.evidence_world import Measures
from tests.support.evidence_world import Page, TinyData
from tests.support.running_gateway import RunningGateway, govctl

SEED = "a number that nobody here could guess"


class World:
    """A running gateway with an operator who may export."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.config = load_config(gateway.config_path)
        today = datetime.now(UTC).date()
        self.period = Period(today, today)

    def export(self, output: Path, who: str = "", **changes: Any) -> Built:
        question = Question(self.config.audit_log, changes.pop("system", ""), self.period, ("eu-ai-act",), samples=60)
        measures = Measures(self.extract, lambda _data, _source: Evaluation(self.period, "", (), ()), {})
        request = Request(question, output, changes.pop("seed", SEED), **changes)
        return export_evidence(
            self.config, request, who or operator(), measures, [Page()], lambda _what, _done, _total: None
        )

    def extract(self, source: Source, database: Path, progress: object) -> TinyData:
        return TinyData(source, self.period)

    def verify(self, package: Path, *options: str) -> Any:
        fingerprint = json.loads(govctl(self.gateway.directory, "evidence", "key", "--json").stdout)["fingerprint"]
        log_key = self.gateway.directory / "state/audit/checkpoint.vkey"
        done = govctl(
            self.gateway.directory, "verify-evidence", str(package), "--evidence-key", fingerprint, "--log-key",
            str(log_key), "--json", *options, check=False,
        )  # fmt: skip
        assert done.stdout, done.stderr
        return {"code": done.returncode, **json.loads(done.stdout)}


@pytest.fixture(scope="module")
def world(example_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = RunningGateway(tmp_path_factory.mktemp("gw") / "home", example_backend, ["example-chat", "secret-model"])
    roles = running.directory / "policies/govgateway/roles/data.yaml"
    roles.write_text(roles.read_text().replace(', "secret-model"', ""))
    bindings = running.directory / "policies/govgateway/bindings/data.yaml"
    bound = yaml.safe_load(bindings.read_text())
    bound[f"spiffe://{running.trust_domain}/operator/auditor"] = ["auditor"]
    bindings.write_text(yaml.safe_dump(bound))
    running.start()
    agent = running.register("agent/researcher")
    person(running, "auditor", operator().removeprefix("operator:"))
    person(running, "helper", "helper")
    with httpx.Client(verify=agent.tls(), base_url=running.base_url) as client:
        for number in range(12):
            model = "secret-model" if number % 4 == 3 else "example-chat"
            answer = client.post(
                "/chat/completions", json={"model": model, "messages": [{"role": "user", "content": "hi"}]}
            )
            assert answer.status_code == (403 if number % 4 == 3 else 200), answer.text
    time.sleep(2)  # a checkpoint covers the calls
    yield World(running)
    assert running.stop() == 0


def person(gateway: RunningGateway, name: str, account: str) -> None:
    govctl(
        gateway.directory, "agent", "register", f"spiffe://{gateway.trust_domain}/operator/{name}", "--kind", "human",
        "--team", "audit", "--owner", "ada@gateway.test", "--purpose", "a test", "--attribute", f"operator={account}",
    )  # fmt: skip


@pytest.fixture(scope="module")
def package(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("package") / "evidence"
    world.export(directory)
    return directory


def test_a_package_of_a_running_gateway_is_proved(world: World, package: Path) -> None:
    today = str(world.period.first)
    found = world.verify(package, "--system", "", "--from", today, "--to", today, "--seed", SEED)
    assert found["code"] == 0, found["wrong"]
    assert found["facts"]["spoilt_rejected"][-1] == "forked"


def test_sampled_decisions_are_made_again_with_the_same_answers(world: World, package: Path) -> None:
    found = world.verify(package, "--replay")
    assert found["code"] == 0, found["wrong"]
    assert found["facts"]["replayed"] == 12
    assert any("12 sampled decisions were made again" in text for text in found["proved"])


def test_a_decision_that_the_bundle_would_not_make_is_named(world: World, package: Path) -> None:
    from compliance.offline.verify_evidence import Package
    from gateway.evidence_replay import replay_samples

    class Changed(Package):
        def read(self, name: str) -> bytes:
            raw = super().read(name)
            return raw.replace(b'"id":"secret-model"', b'"id":"example-chat"') if "samples/records/" in name else raw

    differences = [each.difference for each in replay_samples(Changed(package)) if each.difference]
    assert len(differences) == 3
    assert all("it was denied and would be allowed" in each for each in differences)


def test_the_log_says_what_was_committed_to_and_exported(world: World, package: Path) -> None:
    records = world.gateway.records()
    committed = next(each for each in records if each["type"] == "evidence.committed")
    exported = next(each for each in records if each["type"] == "evidence.exported")
    assert exported["principal"] == operator()
    assert exported["seed"] == SEED
    manifest = (package / "manifest.json").read_bytes()
    from hashlib import sha256

    assert exported["package_sha256"] == sha256(manifest).hexdigest()
    assert committed["commitment_sha256"] == exported["commitment_sha256"]
    assert committed["commitment_sha256"] == sha256((package / "commitment.json").read_bytes()).hexdigest()
    assert int(committed["time"]) < int(exported["time"])


def test_an_export_again_gives_the_same_bytes_though_the_log_went_on(
    world: World, package: Path, tmp_path: Path
) -> None:
    assert not world.export(tmp_path / "again").committed_now
    for path in package.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(package)).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize(
    ("who", "reason"),
    [("operator:helper", "action_not_granted"), ("operator:nobody", "person-unknown"), ("operator:", "person-unknown")],
)
def test_who_may_not_export_is_refused_and_that_is_on_record(
    world: World, tmp_path: Path, who: str, reason: str
) -> None:
    with pytest.raises(PolicyDeniedError, match=who):
        world.export(tmp_path / "package", who=who)
    assert not list(tmp_path.iterdir())
    refused = [each for each in world.gateway.records() if each["type"] == "evidence.refused"][-1]
    assert refused["principal"] == who
    assert refused["reasons"] == [reason]
    assert bool(refused["person"]) == bool(refused["policy_input"]) == (reason != "person-unknown")


def test_a_suspended_operator_is_refused(world: World, tmp_path: Path) -> None:
    helper = f"spiffe://{world.gateway.trust_domain}/operator/helper"
    govctl(world.gateway.directory, "agent", "suspend", helper, "--reason", "a test")
    with pytest.raises(PolicyDeniedError, match="is suspended"):
        world.export(tmp_path / "package", who="operator:helper")


def test_the_bundle_that_decided_and_the_history_are_in_the_package(world: World, package: Path) -> None:
    policies = orjson.loads((package / "policies.json").read_bytes())
    assert policies[-1]["held"] is True
    assert (package / f"bundles/{policies[-1]['bundle_digest']}.tar.gz").exists()


def test_keys_and_versions_are_in_the_package_and_no_secret(world: World, package: Path) -> None:
    keys = orjson.loads((package / "keys/keys.json").read_bytes())
    assert {each["use"] for each in keys} >= {"signs checkpoints of the audit log", "signs packages of evidence"}
    assert any(each["use"] == f"authority of the trust domain {world.config.trust_domain}" for each in keys)
    assert "govgateway" in orjson.loads((package / "versions.json").read_bytes())
    for path in package.rglob("*"):
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes() or path.suffix == ".gz"


def test_the_key_of_evidence_is_sealed_and_the_same_each_time(world: World) -> None:
    one, two = open_evidence_key(world.config), open_evidence_key(world.config)
    assert not two.made
    assert one.private.private_bytes_raw() == two.private.private_bytes_raw()
    sealed = (world.config.audit_dir / "evidence/evidence.key").read_bytes()
    assert one.private.private_bytes_raw() not in sealed
    assert (world.config.audit_dir / "evidence/evidence.key").stat().st_mode & 0o077 == 0


def test_a_period_without_records_is_refused(world: World, tmp_path: Path) -> None:
    before, world.period = (
        world.period,
        Period(datetime(2020, 1, 1, tzinfo=UTC).date(), datetime(2020, 1, 2, tzinfo=UTC).date()),
    )
    try:
        with pytest.raises(ComplianceError, match="no records of 2020-01-01 to 2020-01-02"):
            world.export(tmp_path / "package")
    finally:
        world.period = before
    assert not (tmp_path / "package").exists()


def test_a_changed_package_fails_with_exit_status_1(world: World, package: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(package, tmp_path / "changed")
    (tmp_path / "changed/COVERAGE.md").write_text("Nothing.")
    found = world.verify(tmp_path / "changed", "--replay")
    assert found["code"] == 1
    assert found["wrong"] == ["COVERAGE.md was changed: it has another size than the manifest says"]
