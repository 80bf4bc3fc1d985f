"""Generated documents say what register and log say, mark what is missing, and hold data as data."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import docx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.catalogue.loading import load_catalogue
from compliance.documents import DOCUMENTS
from compliance.documents.incidents import left
from compliance.documents.markdown import markdown
from compliance.documents.model import Document, Missing, Section, paragraph, table
from compliance.documents.word import word
from compliance.evaluation.evaluating import evaluate
from compliance.package.facts import Facts
from compliance.package.output import Output
from compliance.period import Period
from compliance.populations.registry import POPULATIONS
from compliance.register import load_register
from tests.support.evidence_facts import CHECKPOINT_NS, HOSTILE, facts_of
from tests.support.planted_log import SYSTEM, PlantedLog

MARCH = Period(date(2027, 3, 1), date(2027, 3, 3))
PROVIDER = {**SYSTEM, "roles": ["provider", "deployer"], "deployer": "public", "intended_purpose": HOSTILE}
DAY = 86_400 * 1_000_000_000
HEADINGS = {
    "annex-iv-technical-documentation": [f"{number}." for number in range(1, 10)],
    "article-12-and-19-logging": ["What is recorded", "Integrity", "How long"],
    "article-26-deployer-record": ["Use as the instructions say", "Who oversees it", "Monitoring", "Logs"],
    "article-27-fundamental-rights-impact-assessment": [f"({letter})" for letter in "abcdef"],
    "annex-v-declaration-of-conformity": [f"{number}." for number in range(1, 8)],
    "annex-viii-registration": ["Who", "What", "State"],
    "article-72-monitoring-report": ["Plan", "Each day", "Incidents"],
    "article-73-serious-incident-1": ["Deadline", "What happened", "Evidence"],
    "soc-2-control-matrix": ["Tests", "Criteria", "Exceptions", "Management's assertion"],
    "gdpr-article-30-record": [],
}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PlantedLog]:
    with PlantedLog(tmp_path) as made:
        yield made


@pytest.fixture
def facts(log: PlantedLog) -> Facts:
    """A package of a system that we provide and deploy, with a serious incident that nobody reported."""
    common: dict[str, Any] = {"principal": "operator:ada", "incident": "i-1"}
    aware = CHECKPOINT_NS // 1_000_000_000 - 20 * 86_400
    log.write(
        "2027-03-02T11:00:00", "control",
        ("incident.opened", {**common, "title": HOSTILE, "system": "hiring", "aware_at": aware, "hold": "h-1"}),
        ("incident.assessed", {
            **common, "classes": ["serious-harm"], "reason": "harm", "duties": [
                {"duty": "ai-act-73", "must_report": True, "deadline": aware + 15 * 86_400},
            ],
        }),
    )  # fmt: skip
    made = facts_of(log, MARCH)
    register = load_register({"systems": {"hiring": PROVIDER}})
    evaluation = evaluate(made.data, load_catalogue([], POPULATIONS).chosen([]), register, MARCH, "hiring", ())
    return replace(made, evaluation=evaluation, register={"hiring": PROVIDER}, register_entry=PROVIDER)


def written(facts: Facts, directory: Path) -> dict[str, bytes]:
    directory.mkdir()
    DOCUMENTS.write(facts, Output(directory))
    return {path.name: path.read_bytes() for path in sorted((directory / "documents").iterdir())}


def headings(text: str) -> list[str]:
    return [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]


def test_every_document_of_a_provider_who_deploys_is_there_with_its_headings(facts, tmp_path):
    files = written(facts, tmp_path / "out")
    assert {name.removesuffix(".md") for name in files if name.endswith(".md")} == {*HEADINGS, "README"}
    for name, wanted in HEADINGS.items():
        found = headings(files[f"{name}.md"].decode().replace("\\", ""))
        for each in wanted:
            assert any(heading.startswith(each) for heading in found), (name, each, found)


def test_word_and_markdown_say_the_same(facts, tmp_path):
    files = written(facts, tmp_path / "out")
    for name in HEADINGS:
        plain = re.sub(r"\\(.)", r"\1", files[f"{name}.md"].decode())
        opened = docx.Document(io.BytesIO(files[f"{name}.docx"]))
        for each in opened.paragraphs:
            assert each.text in plain, (name, each.text)
        for made in opened.tables:
            for row in made.rows:
                assert "| " + " | ".join(cell.text for cell in row.cells) + " |" in plain, name


def test_what_the_register_lacks_is_marked_with_its_key(facts, tmp_path):
    files = written(facts, tmp_path / "out")
    marked = files["annex-iv-technical-documentation.md"].decode().replace("\\", "")
    for key in ("provider", "instructions_for_use", "data_sets", "risk_file", "monitoring_plan"):
        assert f"(key `{key}` of the register)" in marked
    assert "To be written by a person" not in marked.split("## 1.")[0]


def test_what_the_register_has_is_filled_in(facts, tmp_path):
    entry = {**PROVIDER, "risk_file": {"reference": "RM-7"}, "instructions_for_use": "IFU-3"}
    files = written(replace(facts, register_entry=entry), tmp_path / "out")
    marked = files["annex-iv-technical-documentation.md"].decode()
    assert "RM-7" in marked
    assert "IFU-3" in marked


def test_a_deployer_gets_no_documents_of_a_provider_and_reads_why(log, tmp_path):
    files = written(facts_of(log, MARCH), tmp_path / "out")
    assert "article-26-deployer-record.md" in files
    assert "annex-iv-technical-documentation.md" not in files
    assert "it binds provider, and the company is deployer" in files["README.md"].decode()


def test_a_package_of_the_organisation_has_the_matrix_and_the_record(log, tmp_path):
    files = written(facts_of(log, MARCH, ""), tmp_path / "out")
    assert {name for name in files if name.endswith(".md")} == {
        "README.md", "gdpr-article-30-record.md", "soc-2-control-matrix.md",
    }  # fmt: skip


def test_the_matrix_has_every_test_of_soc_2_and_hides_no_exception(facts, tmp_path):
    matrix = written(facts, tmp_path / "out")["soc-2-control-matrix.md"].decode().replace("\\", "")
    for each in facts.evaluation.controls:
        if each.framework == "soc2":
            assert f"| {each.control.id} |" in matrix
            for test in each.tests:
                assert test.test.says in matrix


def test_the_same_facts_give_the_same_bytes(facts, tmp_path):
    assert written(facts, tmp_path / "one") == written(facts, tmp_path / "two")


def test_nothing_of_the_maker_of_the_library_is_in_the_properties(facts, tmp_path):
    for name, content in written(facts, tmp_path / "out").items():
        if name.endswith(".docx"):
            properties = docx.Document(io.BytesIO(content)).core_properties
            assert (properties.author, properties.comments) == ("govgateway", "")
            assert int(properties.created.timestamp()) == CHECKPOINT_NS // 1_000_000_000


@pytest.mark.parametrize(
    ("deadline", "reported", "says"),
    [
        (None, None, "begins to be counted when the incident is assessed"),
        (5 * DAY, None, "5 days 0 hours were left"),
        (-2 * DAY, None, "passed 2 days 0 hours before the last record"),
        (0, -DAY, "reported 1 days 0 hours before the deadline"),
        (0, DAY, "reported 1 days 0 hours late"),
    ],
)
def test_a_deadline_is_counted_as_of_the_signed_log(deadline, reported, says):
    row = {
        "deadline": None if deadline is None else CHECKPOINT_NS + deadline,
        "reported_at": None if reported is None else CHECKPOINT_NS + reported,
    }
    assert says in left(row, CHECKPOINT_NS)


@given(st.text("ab|\\`\n\x07é<", max_size=30), st.text(max_size=60))
def test_no_text_breaks_either_form(one, two):
    document = Document(
        "x", "Title", "Purpose", (Section("S", (paragraph(one), table(("A", "B"), [(one, two)], ""), Missing("m"))),)
    )
    rows = [line for line in markdown(document).decode().splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) == 2
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
    opened = docx.Document(io.BytesIO(word(document, CHECKPOINT_NS)))
    assert len(opened.tables) == 1
    assert len(opened.tables[0].rows) == 2


def test_markup_in_the_register_stays_text(facts, tmp_path):
    for name, content in written(facts, tmp_path / "out").items():
        if name.endswith(".md"):
            text = content.decode()
            assert "<script" not in re.sub(r"\\.", "", text), name
            assert "\u202e" not in text, name
