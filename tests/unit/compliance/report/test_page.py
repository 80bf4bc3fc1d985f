"""The page for people: everything that was found is on it, escaped, without script and network."""

from collections.abc import Iterator
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from compliance.catalogue.loading import load_catalogue
from compliance.evaluation.evaluating import evaluate
from compliance.package.facts import CheckpointFacts, Commitment, Facts
from compliance.period import Period
from compliance.populations.registry import POPULATIONS
from compliance.register import load_register
from compliance.report.charts import STATUS_FILL, calls_chart
from compliance.report.page import render
from compliance.report.view import Bar
from tests.support.planted_log import SYSTEM, PlantedLog, intent

MARCH = Period(date(2027, 3, 1), date(2027, 3, 3))
HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def facts(tmp_path: Path) -> Iterator[Facts]:
    with PlantedLog(tmp_path) as log:
        log.call("2027-03-01T10:00:00")
        log.write("2027-03-02T10:00:00", "worker-1", intent())
        log.alive("2027-03-02")
        register = load_register({"systems": {"hiring": {**SYSTEM, "intended_purpose": HOSTILE}}})
        data = log.populations(MARCH, register)
        catalogue = load_catalogue([], POPULATIONS)
        yield Facts(
            evaluation=evaluate(data, catalogue.chosen([]), register, MARCH, "hiring", ()),
            system="hiring", register_entry={}, register={}, data=data, period=MARCH, origin="example.org/audit",
            gateway="example.org", checkpoint=CheckpointFacts(b"", 3, b"r" * 32, 1), seed=HOSTILE,
            commitment=Commitment("c" * 64, "e", 1), policies=(), keys=(), fingerprint="f" * 64,
            configuration_digest="d" * 64, unsafe_options=(), versions={"govgateway": "1"}, exporter="operator:ada",
            real_names=False, ipe=(), samples=(), spoilt=(), pseudonym=lambda name: name,
        )  # fmt: skip


class Page(HTMLParser):
    """Collects what a test asks about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_every_control_has_its_place_and_every_link_leads_to_one(facts):
    page = Page(render(facts).decode())
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"].removeprefix("#") for link in page.of("a")} <= set(ids)
    assert len(page.of("section")) == len(facts.evaluation.controls)


def test_nothing_is_loaded_and_nothing_runs(facts):
    page = Page(render(facts).decode())
    assert not page.of("script")
    assert not page.of("link")
    assert not [each for _, each in page.tags if "src" in each or any(name.startswith("on") for name in each)]
    assert page.of("meta")[2]["content"].startswith("default-src 'none'")


def test_what_somebody_wrote_stays_text(facts):
    assert HOSTILE not in render(facts).decode()
    assert "&lt;script&gt;alert(1)" in render(facts).decode()


def test_days_without_data_and_exceptions_are_named(facts):
    text = render(facts).decode()
    assert facts.evaluation.uncovered
    for day, why in facts.evaluation.uncovered:
        assert f"<tr><td>{day}</td><td>{why}</td></tr>" in text
    exceptions = [
        name for each in facts.evaluation.controls for test in each.tests for _, name in test.exceptions if name
    ]
    assert exceptions
    assert all(name in text for name in exceptions)


def test_the_same_facts_give_the_same_bytes(facts):
    assert render(facts) == render(facts)


def test_every_table_cell_that_heads_something_says_what(facts):
    for head in Page(render(facts).decode()).of("th"):
        assert head["scope"] in ("col", "row")


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", sorted(STATUS_FILL.values()))
def test_a_colour_stands_out_from_white(colour):
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5


def test_a_chart_without_calls_is_none_and_one_with_calls_says_each_day():
    assert calls_chart([Bar("2027-03-01", 0, 0)]) == ""
    chart = calls_chart([Bar("2027-03-01", 3, 0), Bar("2027-03-02", 0, 2)])
    assert "2027-03-01: 3 allowed" in chart
    assert "2027-03-02: 2 refused" in chart
