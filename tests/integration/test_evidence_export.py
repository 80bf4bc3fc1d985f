"""govctl export-evidence of a gateway that runs, from its real log, register and catalogue."""

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

from gateway.cli.acting import operator
from tests.support.running_gateway import RunningGateway, govctl

TODAY = datetime.now(UTC).date().isoformat()
REFUSED: list[str] = []
SEED = "a number that nobody here could guess"


@pytest.fixture(scope="module")
def gateway(example_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    models = ["example-chat", "example-hiring=hiring"]
    running = RunningGateway(tmp_path_factory.mktemp("gw") / "home", example_backend, models)
    bindings = running.directory / "policies/govgateway/bindings/data.yaml"
    bound = yaml.safe_load(bindings.read_text())
    bound[f"spiffe://{running.trust_domain}/operator/auditor"] = ["auditor"]
    bindings.write_text(yaml.safe_dump(bound))
    systems = running.directory / "policies/govgateway/systems/data.yaml"
    listed = yaml.safe_load(systems.read_text())
    del listed["assistant"]["models"]
    systems.write_text(yaml.safe_dump(listed))
    running.start()
    agent = running.register("agent/researcher")
    account = operator().removeprefix("operator:")
    govctl(
        running.directory, "agent", "register", f"spiffe://{running.trust_domain}/operator/auditor", "--kind", "human",
        "--team", "audit", "--owner", "ada@gateway.test", "--purpose", "a test", "--attribute", f"operator={account}",
    )  # fmt: skip
    with httpx.Client(verify=agent.tls(), base_url=running.base_url) as client:
        for number in range(20):
            model = "example-hiring" if number % 5 == 4 else "example-chat"
            client.post("/chat/completions", json={"model": model, "messages": [{"role": "user", "content": "hi"}]})
    time.sleep(2)  # a checkpoint covers the calls
    REFUSED.append(export(running, running.directory / "contradicting", check=False))
    listed["assistant"]["models"] = {"example-chat": {"version": "1", "provider": "a test"}}
    systems.write_text(yaml.safe_dump(listed))
    govctl(running.directory, "reload")
    yield running
    assert running.stop() == 0


def export(gateway: RunningGateway, output: Path, *options: str, check: bool = True) -> Any:
    done = govctl(
        gateway.directory, "export-evidence", "--from", TODAY, "--to", TODAY, "-o", str(output), "--json", *options,
        check=check,
    )  # fmt: skip
    return json.loads(done.stdout) if check else done.stderr


def verify(gateway: RunningGateway, package: Path, *options: str) -> Any:
    fingerprint = json.loads(govctl(gateway.directory, "evidence", "key", "--json").stdout)["fingerprint"]
    log_key = str(gateway.directory / "state/audit/checkpoint.vkey")
    done = govctl(
        gateway.directory, "verify-evidence", str(package), "--evidence-key", fingerprint, "--log-key", log_key,
        "--json", *options, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return {"code": done.returncode, **json.loads(done.stdout)}


@pytest.fixture(scope="module")
def package(gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("package") / "evidence"
    told = export(gateway, directory, "--sample-seed", SEED, "--samples", "100")
    assert told["committed_now"]
    assert told["replayable"] >= 20
    return directory


def test_the_package_is_proved_and_its_decisions_are_made_again(gateway: RunningGateway, package: Path) -> None:
    found = verify(gateway, package, "--system", "", "--from", TODAY, "--to", TODAY, "--seed", SEED, "--replay")
    assert found["code"] == 0, found["wrong"]
    assert found["facts"]["replayed"] >= 20
    assert found["facts"]["traced"] >= 40
    assert found["facts"]["populations"] > 25


def test_an_auditor_verifies_it_without_any_part_of_the_product(gateway: RunningGateway, package: Path) -> None:
    import subprocess
    import sys

    key = (gateway.directory / "state/audit/checkpoint.vkey").read_text().strip()
    pem = gateway.directory / "state/audit/evidence/evidence.pem"
    done = subprocess.run(
        [sys.executable, "-I", package / "verify_evidence.py", package, "--evidence-key", pem, "--log-key", key],
        capture_output=True, text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 spoilt copies rejected" in done.stdout


def test_every_control_of_the_catalogue_has_a_result(package: Path) -> None:
    evaluation = orjson.loads((package / "evaluation.json").read_bytes())
    assert {each["framework"] for each in evaluation["frameworks"]} == {"eu-ai-act", "gdpr", "soc2"}
    assert len(evaluation["controls"]) > 50
    assert all(each["status"] for each in evaluation["controls"])


def test_calls_are_as_many_as_the_log_has(package: Path) -> None:
    calls = (package / "populations/calls.jsonl").read_bytes().splitlines()
    assert len(calls) == 20
    blocks = orjson.loads((package / "populations/ipe.json").read_bytes())
    differences = {each["what"]: each["difference"] for each in blocks["calls"]["reconciliation"]}
    assert differences["rows whose leaf is known, of all systems"] == 0
    assert differences["rows whose outcome_leaf is known, of all systems"] == 0


def test_an_export_again_and_a_zip_file_are_of_the_same_bytes(
    gateway: RunningGateway, package: Path, tmp_path: Path
) -> None:
    told = export(gateway, tmp_path / "again.zip", "--sample-seed", SEED, "--samples", "100")
    assert not told["committed_now"]
    from zipfile import ZipFile

    with ZipFile(tmp_path / "again.zip") as packed:
        for name in packed.namelist():
            assert packed.read(name) == (package / name).read_bytes(), name
    assert verify(gateway, tmp_path / "again.zip", "--replay")["code"] == 0


def test_one_control_of_one_framework(gateway: RunningGateway, tmp_path: Path) -> None:
    told = export(gateway, tmp_path / "one", "--framework", "soc2", "--control", "CC8.1")
    assert sum(told["controls"].values()) == 1
    assert told["samples"] == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--system", "no-such"], "the register has no AI system 'no-such'"),
        (["--framework", "iso-9001"], "the framework 'iso-9001' is not known"),
        (["--control", "CC99.9"], "the control 'CC99.9'"),
    ],
)
def test_what_nobody_knows_is_refused(gateway: RunningGateway, tmp_path: Path, options: list[str], named: str) -> None:
    assert named in export(gateway, tmp_path / "package", *options, check=False)
    assert not list(tmp_path.iterdir())


def test_a_period_without_coverage_is_refused(gateway: RunningGateway, tmp_path: Path) -> None:
    done = govctl(
        gateway.directory, "export-evidence", "--from", "2020-01-01", "--to", "2020-01-31", "-o",
        str(tmp_path / "package"), check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no records of 2020-01-01 to 2020-01-31" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_register_that_does_not_list_a_model_that_answered_is_refused(gateway: RunningGateway) -> None:
    """Asked before the model was put into the register."""
    assert "the register contradicts the log" in REFUSED[0]
    assert "assistant: example-chat" in REFUSED[0]
    assert not list(gateway.directory.glob("contradicting*"))


def test_an_output_that_exists_is_refused(gateway: RunningGateway, package: Path) -> None:
    assert "is there already" in export(gateway, package, check=False)
