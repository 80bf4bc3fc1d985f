"""The PDF: the same bytes for the same facts, and no text that it fails at."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.package.facts import Facts
from compliance.period import Period
from compliance.report.paper import LONGEST, Paper
from compliance.report.pdf import render_pdf
from compliance.report.view import Standing, standings
from tests.support.evidence_facts import CHECKPOINT_NS, facts_of
from tests.support.planted_log import PlantedLog

MARCH = Period(date(2027, 3, 1), date(2027, 3, 3))
PAPER = Paper("Title", CHECKPOINT_NS)


@pytest.fixture
def facts(tmp_path: Path) -> Iterator[Facts]:
    with PlantedLog(tmp_path) as log:
        yield facts_of(log, MARCH, seed="\u0627\u0644 日本 \U0001f600 \u202e")


def test_the_same_facts_give_the_same_bytes_of_the_time_of_the_log(facts):
    made = render_pdf(facts)
    assert made == render_pdf(facts)
    assert made.startswith(b"%PDF-")
    assert b"D:2027030" in made, "the creation date is that of the signed tree"


def test_each_control_has_a_page(facts):
    pages = max(int(each) for each in re.findall(rb"/Count (\d+)", render_pdf(facts)))
    assert pages > len(facts.evaluation.controls)


@given(st.text())
@settings(max_examples=200)
def test_every_text_is_shown_or_named(text):
    shown = PAPER.showable(text)
    assert len(shown) <= 9 * LONGEST
    assert all(ord(each) in PAPER._known for each in shown)


def test_what_the_font_lacks_is_named_by_its_code_point():
    assert PAPER.showable("Ж é 日") == "Ж é [U+65E5]"


def test_a_long_text_says_how_much_is_cut():
    assert PAPER.showable("x" * (LONGEST + 5)).endswith("(and 5 characters more)")


def test_a_control_stands_on_a_day_as_its_worst_test_does(facts):
    found = standings(facts.evaluation.controls)
    tested = sum(1 for each in facts.evaluation.controls if any(test.days for test in each.tests))
    assert [each.day for each in found] == [day.isoformat() for day in MARCH.days()]
    assert all(sum(count for _, count in each.counts) == tested for each in found)
    assert standings([]) == []
    assert isinstance(found[0], Standing)
