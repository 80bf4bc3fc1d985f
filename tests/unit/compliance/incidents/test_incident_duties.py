"""The table of duties: deadlines of the laws, and what a company adds."""

import pytest

from compliance.errors import ComplianceError
from compliance.incidents import load_duties

DAY, HOUR = 86_400, 3600


@pytest.mark.parametrize(
    ("classes", "deadlines"),
    [
        (["serious-harm"], {"ai-act-73": 15 * DAY}),
        (["fundamental-rights"], {"ai-act-73": 15 * DAY}),
        (["widespread"], {"ai-act-73": 2 * DAY}),
        (["critical-infrastructure"], {"ai-act-73": 2 * DAY}),
        (["death"], {"ai-act-73": 10 * DAY}),
        (["death", "critical-infrastructure", "serious-harm"], {"ai-act-73": 2 * DAY}),
        (["personal-data-breach"], {"gdpr-33": 72 * HOUR}),
        (["personal-data-breach", "serious-harm"], {"gdpr-33": 72 * HOUR, "ai-act-73": 15 * DAY}),
        (["security"], {}),
        (["none"], {}),
    ],
)
def test_the_shortest_deadline_of_all_classes_of_an_incident_holds(classes, deadlines):
    assert load_duties().brought_by(classes, 1000) == {name: 1000 + each for name, each in deadlines.items()}


def test_every_deadline_names_its_article_and_every_duty_its_source():
    for duty in load_duties().duties.values():
        assert duty.source
        for deadline in duty.deadlines.values():
            assert deadline.article.startswith(duty.article)


@pytest.mark.parametrize(
    ("classes", "said"), [(["deth"], "unknown class: deth"), (["none", "death"], "of no other class")]
)
def test_classes_that_cannot_be_are_refused(classes, said):
    with pytest.raises(ComplianceError, match=said):
        load_duties().check_classes(classes)


OWN = """
version: acme-1
classes:
  bank: {title: A payment was wrong}
duties:
  dora-19:
    title: Major incident
    law: Regulation (EU) 2022/2554
    article: "19"
    whose: the financial entity
    to: the competent authority
    applies_from: "2025-01-17"
    source: our lawyers
    deadlines:
      bank: {hours: 24, article: "19(4)"}
"""


def test_a_company_adds_duties_of_its_own(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    table = load_duties(path)
    assert table.brought_by(["bank"], 0) == {"dora-19": DAY}
    assert table.brought_by(["death"], 0) == {"ai-act-73": 10 * DAY}
    assert "acme-1" in table.version


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("bank: {title", "death: {title", "taken already: death"),
        ("dora-19:", "gdpr-33:", "taken already: gdpr-33"),
        ("bank: {hours: 24,", "bank: {", "one of them"),
        ("bank: {hours: 24,", "bank: {hours: 24, days: 1,", "one of them"),
        ("bank: {hours: 24,", "nobody: {hours: 24,", "unknown classes: nobody"),
        ("bank: {hours: 24,", "none: {hours: 24,", "brings none"),
        ("    source: our lawyers\n", "", "source"),
        ("duties:", "- duties:", "own.yaml"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_its_fault(tmp_path, old, new, said):
    path = tmp_path / "own.yaml"
    assert old in OWN
    path.write_text(OWN.replace(old, new))
    with pytest.raises(ComplianceError, match=said):
        load_duties(path)
