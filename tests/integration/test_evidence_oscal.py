"""OSCAL documents of a package, read back by compliance-trestle and judged by NIST's metaschema."""

import json
import subprocess
from datetime import date
from pathlib import Path

import pytest

from compliance.oscal import OSCAL
from compliance.oscal.words import control_id
from compliance.package.output import Output
from compliance.period import Period
from tests.support.evidence_facts import facts_of
from tests.support.planted_log import PlantedLog

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".interop" / "oscal" / "bin" / "python"
JUDGE = ROOT / "tests" / "interop" / "oscal" / "judge.py"
MARCH = Period(date(2027, 3, 1), date(2027, 3, 3))
DOCUMENTS = {
    "assessment-plan",
    "assessment-results",
    "catalog",
    "component-definition",
    "plan-of-action-and-milestones",
}


def judged(directory: Path) -> dict[str, dict[str, object]]:
    assert PYTHON.exists(), "run deploy/interop.sh"
    done = subprocess.run([PYTHON, JUDGE, directory], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("system", ["hiring", ""])
def test_every_document_is_read_by_trestle_and_valid_by_the_metaschema(system, tmp_path):
    with PlantedLog(tmp_path) as log:
        facts = facts_of(log, MARCH, system)
        OSCAL.write(facts, Output(tmp_path / "package"))
        found = judged(tmp_path / "package" / "oscal")
    assert {each["model"] for each in found.values()} == DOCUMENTS
    for name, each in found.items():
        assert each["metaschema"] is True, (name, each["errors"])
        assert each["version"] == "1.2.1"
    states = {
        f"{control_id(each.framework, each.control)}_obj": "satisfied"
        if each.status in ("pass", "attested")
        else "not-satisfied"
        for each in facts.evaluation.controls
        if each.status not in ("not-applicable", "not-testable")
    }
    assert found["assessment-results.json"]["findings"] == states


def test_the_judges_reject_what_is_not_oscal(tmp_path):
    with PlantedLog(tmp_path) as log:
        OSCAL.write(facts_of(log, MARCH), Output(tmp_path / "package"))
    path = tmp_path / "package" / "oscal" / "assessment-results.json"
    document = json.loads(path.read_bytes())
    document["assessment-results"]["results"][0]["findings"][0]["target"]["type"] = "opinion"
    path.write_text(json.dumps(document))
    done = subprocess.run([PYTHON, JUDGE, path.parent], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert "opinion" in done.stderr
