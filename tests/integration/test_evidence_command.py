"""govctl export-evidence on a gateway that runs: what is done shows in its controls, and an auditor verifies it."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.note import note_text
from gateway.app import open_audit_store
from gateway.cli.acting import operator
from gateway.config import load_config
from tests.support.running_gateway import RunningGateway, govctl

SEED = "a number that nobody here could guess"


class World:
    """A running gateway with calls on record, and an operator who may export."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway
        self.today = datetime.now(UTC).date().isoformat()

    def export(self, output: str, *options: str, check: bool = True) -> Any:
        done = govctl(
            self.gateway.directory, "export-evidence", "-o", output, "--from", self.today, "--to", self.today,
            *options, "--json", check=check,
        )  # fmt: skip
        return json.loads(done.stdout) if check else done

    def verify(self, package: str, *options: str) -> Any:
        fingerprint = json.loads(govctl(self.gateway.directory, "evidence", "key", "--json").stdout)["fingerprint"]
        done = govctl(
            self.gateway.directory, "verify-evidence", package, "--evidence-key", fingerprint, "--log-key",
            "state/audit/checkpoint.vkey", "--json", *options, check=False,
        )  # fmt: skip
        assert done.stdout, done.stderr
        return {"code": done.returncode, **json.loads(done.stdout)}

    def statuses(self, exported: Any) -> dict[str, str]:
        evaluation = json.loads((self.gateway.directory / exported["output"] / "evaluation.json").read_text())
        return {each["control"]: each["status"] for each in evaluation["controls"]}


def wait_until_signed(gateway: RunningGateway) -> None:
    """Wait until a checkpoint covers what is on record now."""
    config = load_config(gateway.config_path)
    store = open_audit_store(config)
    written = 0
    for chain in store.chains():
        with store.reader(chain) as reader:
            written += reader.count()
    for _ in range(100):
        note = (config.audit_tree / "checkpoint").read_bytes()
        if parse_checkpoint(note_text(note)).size >= written:
            return
        time.sleep(0.2)
    raise AssertionError("no checkpoint covers the calls after 20 seconds")


@pytest.fixture(scope="module")
def world(example_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = RunningGateway(tmp_path_factory.mktemp("gw") / "home", example_backend, ["example-chat"])
    bindings = running.directory / "policies/govgateway/bindings/data.yaml"
    bound = yaml.safe_load(bindings.read_text())
    bound[f"spiffe://{running.trust_domain}/operator/auditor"] = ["auditor"]
    bindings.write_text(yaml.safe_dump(bound))
    running.start()
    agent = running.register("agent/researcher")
    govctl(
        running.directory, "agent", "register", f"spiffe://{running.trust_domain}/operator/auditor", "--kind", "human",
        "--owner", "audit@example.org", "--team", "audit", "--purpose", "exports evidence", "--attribute",
        f"operator={operator().removeprefix('operator:')}",
    )  # fmt: skip
    with httpx.Client(verify=agent.tls(), base_url=running.base_url) as client:
        for _ in range(5):
            body = {"model": "example-chat", "messages": [{"role": "user", "content": "hello"}]}
            assert client.post("/chat/completions", json=body).status_code == 200
        refused = client.post("/chat/completions", json={"model": "unheard-of", "messages": []})
        assert refused.status_code >= 400
    wait_until_signed(running)
    yield World(running)
    running.stop()


def test_what_was_done_shows_and_the_package_verifies_and_decides_again(world):
    exported = world.export("all", "--sample-seed", SEED)
    found = world.statuses(exported)
    assert found["CC6.7"] == "pass"
    assert found["CC8.1"] == "fail"  # the starter's policies come from a directory that nobody approved
    assert found["CC6.4"] == "not-testable"
    assert "pass" in found.values()
    package = world.gateway.directory / "all"
    calls = [json.loads(line) for line in (package / "populations/calls.jsonl").read_text().splitlines()]
    assert [each["decision"] for each in calls].count("allow") == 5
    assert all(each["credential_lifetime_seconds"] for each in calls)
    verdict = world.verify("all", "--seed", SEED, "--from", world.today, "--to", world.today, "--replay")
    assert (verdict["code"], verdict["wrong"]) == (0, [])


def test_a_person_reads_one_page_without_script_or_network(world):
    world.export("read")
    page = (world.gateway.directory / "read/index.html").read_text()
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "CC8.1: Change management" in page
    assert "5 allowed" in page


def test_the_same_question_gives_the_same_bytes(world):
    for name in ("one.zip", "two.zip"):
        world.export(name, "--sample-seed", SEED)
    one, two = ((world.gateway.directory / name).read_bytes() for name in ("one.zip", "two.zip"))
    assert one == two


def test_evidence_of_one_system_and_some_controls(world):
    exported = world.export("narrow", "--system", "assistant", "--framework", "soc2", "--control", "CC6.1")
    assert list(world.statuses(exported)) == ["CC6.1"]


def test_a_company_adds_a_control_of_its_own_without_code(world, tmp_path):
    own = world.gateway.directory / "frameworks"
    own.mkdir()
    control = {
        "id": "OUR-1", "title": "Few refusals", "paraphrase": "p", "source": "s", "scope": "organisation",
        "populations": ["calls"],
        "tests": [{"id": "few", "says": "At most 9 refusals.", "population": "calls", "of": {"decision": "deny"},
                   "count": True, "at_most": 9}],
    }  # fmt: skip
    framework = {"framework": "ours", "title": "Ours", "version": "1", "source": "here", "checked": "2026-11-01"}
    (own / "ours.yaml").write_text(yaml.safe_dump({**framework, "controls": [control]}))
    config = world.gateway.config_path
    before = config.read_text()
    config.write_text(before + "\ncompliance:\n  catalogue: [frameworks]\n")
    try:
        exported = world.export("ours", "--framework", "ours")
    finally:
        config.write_text(before)
    assert world.statuses(exported) == {"OUR-1": "pass"}


def test_how_controls_stand_is_told_and_is_an_exit_status(world):
    done = govctl(world.gateway.directory, "compliance", "status", "--days", "1", "--today", "--json", check=False)
    told = json.loads(done.stdout)
    found = {(each["framework"], each["control"]): each["status"] for each in told["controls"]}
    assert (found["soc2", "CC6.7"], found["soc2", "CC8.1"]) == ("pass", "fail")
    assert (done.returncode, told["ok"], told["worse"]) == (1, False, [])
    own = govctl(
        world.gateway.directory, "compliance", "status", "--days", "1", "--today", "--framework", "gdpr", check=False
    )
    assert own.returncode == 0
    assert "not-applicable" in own.stdout


def test_a_day_is_kept_and_a_control_that_turned_red_is_on_record_once(world):
    def recorded() -> set[str]:
        store = open_audit_store(load_config(world.gateway.config_path))
        with store.reader("govctl") as reader:
            found = [json.loads(each.record) for each in reader.records() if each.type == "control.failed"]
        assert len(found) == len({(each["control"], each["system"]) for each in found})
        return {each["control"] for each in found}

    first = govctl(world.gateway.directory, "compliance", "record", "--day", world.today, "--json", check=False)
    assert first.returncode == 1
    red = {each["control"] for each in json.loads(first.stdout)["turned"]}
    assert "CC8.1" in red
    assert recorded() == red
    again = govctl(world.gateway.directory, "compliance", "record", "--day", world.today, "--json")
    assert json.loads(again.stdout)["turned"] == []
    assert recorded() == red
    (kept,) = json.loads(govctl(world.gateway.directory, "compliance", "trend", "--json").stdout)
    assert (kept["day"], kept["fail"] >= len(red)) == (world.today, True)
    for no_day in ("tomorrow", "2999-01-01"):
        assert govctl(world.gateway.directory, "compliance", "record", "--day", no_day, check=False).returncode == 2
    assert recorded() == red


def test_the_register_is_listed_shown_and_checked(world):
    directory: Path = world.gateway.directory
    assert set(json.loads(govctl(directory, "system", "list", "--json").stdout)) == {"assistant", "hiring", "scoring"}
    assert json.loads(govctl(directory, "system", "show", "hiring", "--json").stdout)["risk"] == "high"
    checked = govctl(directory, "system", "check", "--strict", "--json", check=False)
    assert checked.returncode == 1
    assert {each["level"] for each in json.loads(checked.stdout)["remarks"]} == {"warning"}
    same = json.loads(govctl(directory, "system", "diff", "policies", "policies", "--json").stdout)
    assert same == []
