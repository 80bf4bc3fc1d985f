"""OSCAL documents say what was found, refer to each other without loose ends, and hold data as data."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.oscal import OSCAL
from compliance.oscal.words import control_id, line, prose, token
from compliance.package.facts import Facts
from compliance.package.output import Output
from compliance.period import Period
from tests.support.evidence_facts import facts_of
from tests.support.planted_log import PlantedLog

MARCH = Period(date(2027, 3, 1), date(2027, 3, 3))
TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")


@pytest.fixture
def facts(tmp_path: Path) -> Iterator[Facts]:
    with PlantedLog(tmp_path) as log:
        yield facts_of(log, MARCH)


def written(facts: Facts, directory: Path) -> dict[str, Any]:
    directory.mkdir()
    OSCAL.write(facts, Output(directory))
    return {path.name: orjson.loads(path.read_bytes()) for path in sorted((directory / "oscal").iterdir())}


def every(value: Any, key: str) -> Iterator[Any]:
    """Yield what stands under a key, anywhere."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == key:
                yield each
            yield from every(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from every(each, key)


def test_each_control_that_was_judged_has_a_finding_with_its_status_and_no_other_has(facts, tmp_path):
    controls = list(facts.evaluation.controls)
    places = [place for place, each in enumerate(controls) if each.status in ("fail", "partial")]
    for place, status in zip(places, ("pass", "attested"), strict=False):
        controls[place] = replace(controls[place], status=status)
    facts = replace(facts, evaluation=replace(facts.evaluation, controls=tuple(controls)))
    results = written(facts, tmp_path / "out")["assessment-results.json"]["assessment-results"]["results"]
    found = {}
    for result in results:
        for each in result.get("findings", []):
            status = next(prop["value"] for prop in each["props"] if prop["name"] == "status")
            found[each["target"]["target-id"], result["title"]] = (status, each["target"]["status"]["state"])
    judged = {
        (f"{control_id(each.framework, each.control)}_obj", each.system or "The whole organisation"): (
            each.status,
            "satisfied" if each.status in ("pass", "attested") else "not-satisfied",
        )
        for each in facts.evaluation.controls
        if each.status not in ("not-applicable", "not-testable")
    }
    assert found == judged
    assert {status for status, _ in judged.values()} == {"fail", "partial", "pass", "attested"}


def test_every_reference_leads_to_something(facts, tmp_path):
    documents = written(facts, tmp_path / "out")
    controls = {each["id"] for name, it in documents.items() if "catalog" in it for each in it["catalog"]["controls"]}
    parts = {part["id"] for it in documents.values() for part_list in every(it, "parts") for part in part_list}
    known = {uuid for it in documents.values() for uuid in every(it, "uuid")}
    for name, document in documents.items():
        for each in every(document, "control-id"):
            assert each in controls, name
        for each in every(document, "target-id"):
            assert each in parts, name
        for key in ("observation-uuid", "risk-uuid", "finding-uuid", "component-uuid", "activity-uuid", "actor-uuid"):
            for each in every(document, key):
                assert each in known, (name, key)
    for source in every(documents["component-definition.json"], "source"):
        assert source in documents
    assert documents["assessment-results.json"]["assessment-results"]["import-ap"]["href"] in documents
    resource = documents["assessment-plan.json"]["assessment-plan"]["import-ssp"]["href"].removeprefix("#")
    assert resource in known


def test_identifiers_are_used_once_within_a_document(facts, tmp_path):
    for name, document in written(facts, tmp_path / "out").items():
        ids = [*every(document, "uuid")]
        assert len(ids) == len(set(ids)), name


def test_what_does_not_hold_is_in_the_plan_of_action(facts, tmp_path):
    items = written(facts, tmp_path / "out")["plan-of-action-and-milestones.json"]["plan-of-action-and-milestones"]
    still_open = [each for each in facts.evaluation.controls if each.status in ("fail", "partial")]
    assert still_open
    assert len(items["poam-items"]) == len(items["risks"]) == len(items["findings"]) == len(still_open)


def test_without_anything_to_mend_there_is_no_plan_of_action(facts, tmp_path):
    well = tuple(each for each in facts.evaluation.controls if each.status not in ("fail", "partial"))
    facts = replace(facts, evaluation=replace(facts.evaluation, controls=well))
    assert "plan-of-action-and-milestones.json" not in written(facts, tmp_path / "out")


def test_no_list_is_empty_and_every_title_is_one_line(facts, tmp_path):
    def look(value: Any) -> None:
        if isinstance(value, dict):
            for name, each in value.items():
                assert each not in ([], {}, None, "") or name == "include-all", name
                if name in ("title", "value"):
                    assert "\n" not in each
                    assert each == each.strip()
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(written(facts, tmp_path / "out"))


def test_the_same_facts_give_the_same_documents(facts, tmp_path):
    assert written(facts, tmp_path / "one") == written(facts, tmp_path / "two")


def test_another_tree_gives_other_identifiers(facts, tmp_path):
    one = written(facts, tmp_path / "one")
    two = written(replace(facts, checkpoint=replace(facts.checkpoint, root=b"s" * 32)), tmp_path / "two")
    ours = {*every(one["assessment-results.json"], "uuid")}
    assert ours.isdisjoint(every(two["assessment-results.json"], "uuid"))


@given(st.text())
def test_any_text_becomes_a_line_and_a_token_of_oscal(text):
    assert TOKEN.fullmatch(token(text))
    assert re.fullmatch(r"\S(.*\S)?", line(text))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", prose(text))


@given(st.text(max_size=6), st.text(max_size=6))
def test_two_texts_have_two_tokens(one, two):
    assert (token(one) == token(two)) == (one == two)


def test_markup_in_data_stays_data():
    assert prose("<b>*x*</b> [a](b) `c`") == r"\<b\>\*x\*\</b\> \[a\](b) \`c\`"
