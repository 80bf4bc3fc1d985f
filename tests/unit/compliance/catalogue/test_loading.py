"""The catalogue that comes along is sound, and a file of a company's own is refused with every fault named."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from compliance.catalogue.loading import load_catalogue
from compliance.catalogue.schemas import schema
from compliance.errors import ComplianceError
from compliance.populations.registry import POPULATIONS

ROOT = Path(__file__).parents[4]

CONTROL: dict[str, Any] = {
    "id": "X-1", "title": "T", "paraphrase": "P", "source": "S", "populations": ["calls"],
    "tests": [{"id": "t", "says": "s", "population": "calls", "good": {"closed": True}}],
}  # fmt: skip


def own(tmp_path: Path, control: dict[str, Any], **framework: Any) -> Path:
    fields = {"framework": "ours", "title": "Ours", "version": "1", "source": "here", "checked": "2027-01-01"}
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump({**fields, "controls": [control], **framework}))
    return tmp_path


def test_what_comes_along_is_sound_and_names_when_it_was_checked():
    catalogue = load_catalogue([], POPULATIONS)
    assert set(catalogue.frameworks) == {"eu-ai-act", "soc2", "gdpr", "nist-ai-rmf", "iso-42001"}
    assert [each.framework for each in catalogue.chosen([])] == ["eu-ai-act", "gdpr", "soc2"]


def test_every_control_of_the_ai_act_that_binds_systems_says_since_when_and_by_which_source():
    act = load_catalogue([], POPULATIONS).frameworks["eu-ai-act"]
    for control in act.controls:
        if control.scope == "system":
            assert control.applies.in_force is not None, control.id
            assert control.applies.in_force_source, control.id


def test_a_company_adds_a_framework_without_code(tmp_path):
    catalogue = load_catalogue([own(tmp_path, CONTROL)], POPULATIONS)
    assert [control.id for control in catalogue.chosen(["ours"])[0].controls] == ["X-1"]


def changed(**fields: Any) -> dict[str, Any]:
    return {**CONTROL, **fields}


def with_test(**fields: Any) -> dict[str, Any]:
    return changed(tests=[{**CONTROL["tests"][0], **fields}])


FAULTS = [
    (changed(sorce="S"), "controls.0.sorce: Extra inputs are not permitted"),
    (changed(populations=["cals"]), "X-1: cals is no population"),
    (changed(populations=[]), "its population calls is not among the control's"),
    (changed(tests=[]), "has no tests, nothing that a person supplies, and no not_testable"),
    (changed(not_testable="why"), "has tests and is not_testable"),
    (changed(tests=[*CONTROL["tests"], *CONTROL["tests"]]), "X-1: t stands twice"),
    (changed(crosswalk={"nist-ai-rmf": ["GOVERN 9.9"]}), "nist-ai-rmf has no GOVERN 9.9"),
    (changed(crosswalk={"unheard": ["1"]}), "crosswalk to unheard, which is not known"),
    (with_test(good={"clsed": True}), "calls has no column clsed"),
    (with_test(good={"closed": "yes"}), "closed is boolean, and 'yes' is not"),
    (with_test(of={"team": {"contains": "x"}}), "team is no list"),
    (with_test(of={"team": {}}), "team has an empty condition"),
    (with_test(good=None, highest="team", at_most=1), "team is no number of calls"),
    (with_test(good=None), "says one of good, highest, lowest and count"),
    (with_test(count=True, at_most=1), "says one of good, highest, lowest and count"),
    (with_test(good=None, count=True), "says neither at_least nor at_most"),
    (with_test(at_most=1), "the share of good rows is bounded by share_at_least"),
    (
        with_test(good=None, count=True, at_most=1, share_at_least="0.5"),
        "share_at_least and partial_at_least go with good",
    ),
    (with_test(share_at_least="1.5"), "String should match pattern"),
    (with_test(population="unheard"), "unheard is no population"),
]


@pytest.mark.parametrize(("control", "fault"), FAULTS, ids=[str(number) for number in range(len(FAULTS))])
def test_each_fault_is_named_with_its_file(tmp_path, control, fault):
    with pytest.raises(ComplianceError) as refused:
        load_catalogue([own(tmp_path, control)], POPULATIONS)
    assert fault in str(refused.value)
    assert "ours.yaml" in str(refused.value)


def test_a_framework_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(ComplianceError, match=r"soc2 is in soc2\.yaml already"):
        load_catalogue([own(tmp_path, CONTROL, framework="soc2")], POPULATIONS)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_text("framework: a\nframework: b\n")
    with pytest.raises(ComplianceError, match="the key 'framework' stands twice"):
        load_catalogue([tmp_path], POPULATIONS)


def test_a_framework_that_is_not_there_is_named_with_those_that_are(tmp_path):
    catalogue = load_catalogue([], POPULATIONS)
    with pytest.raises(ComplianceError, match="'soc3' is not known; there are: eu-ai-act, gdpr, soc2"):
        catalogue.chosen(["soc3"])
    with pytest.raises(ComplianceError, match="'iso-42001' has no controls of its own"):
        catalogue.chosen(["iso-42001"])
    with pytest.raises(ComplianceError, match="is no directory"):
        load_catalogue([tmp_path / "gone"], POPULATIONS)


def test_the_published_schema_is_of_this_version_and_takes_what_comes_along():
    published = json.loads((ROOT / "docs/schemas/compliance/framework.json").read_text())
    assert published == schema()
    for path in sorted((ROOT / "compliance/catalogue/data").glob("*.yaml")):
        document = json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))
        jsonschema.validate(document, published)
