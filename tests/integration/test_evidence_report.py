"""The report as people meet it: in Chromium, by keyboard, by the rules of axe-core, on paper; and the PDF of the same."""

import json
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from compliance.period import Period
from compliance.report.page import render
from compliance.report.pdf import render_pdf
from compliance.report.view import WORDS
from tests.support.evidence_facts import facts_of
from tests.support.planted_log import PlantedLog

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".interop" / "browser" / "bin" / "python"
LOOK = ROOT / "tests" / "interop" / "browser" / "look.py"
MARCH = Period(date(2027, 3, 1), date(2027, 3, 3))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The page and the PDF of a package with failures and hostile texts, and what a browser says of the page."""
    directory = tmp_path_factory.mktemp("report")
    with PlantedLog(directory) as log:
        facts = facts_of(log, MARCH, seed="<img src=x onerror=alert(1)>")
        (directory / "index.html").write_bytes(render(facts))
        (directory / "report.pdf").write_bytes(render_pdf(facts))
        controls = [(each.control.id, WORDS[each.status]) for each in facts.evaluation.controls]
    assert PYTHON.exists(), "run deploy/interop.sh"
    done = subprocess.run(
        [PYTHON, LOOK, directory / "index.html", directory], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "controls": controls, "directory": directory}


def test_the_page_says_nothing_on_the_console_and_asks_nothing_of_any_network(made):
    assert made["console"] == []
    assert made["requests"] == [(made["directory"] / "index.html").as_uri()]
    assert made["language"] == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_it(made, scheme):
    assert made["violations"][scheme] == []


def test_everything_that_can_be_used_is_reached_and_seen_by_keyboard(made):
    stops = made["keyboard"]["stops"]
    assert made["keyboard"]["reachable"] == len(stops) > len(made["controls"])
    assert stops[0]["href"] == "#controls", "first the way past the summary"
    assert [each for each in stops if not each["outline"] or not each["seen"]] == []
    assert len({(each["tag"], each["text"], each["href"]) for each in stops}) > len(made["controls"])


def test_nothing_stands_out_of_a_narrow_screen(made):
    assert made["wider_by"] == 0


def test_each_control_begins_a_page_when_printed(made):
    pages = made["pages"]
    for control, word in made["controls"]:
        (page,) = (text for text in pages if text.lstrip().startswith(f"{control}:"))
        assert word in page


def test_the_pdf_is_sound_and_has_a_page_a_control(made):
    path = made["directory"] / "report.pdf"
    checked = subprocess.run(["qpdf", "--check", path], capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    read = (
        "import json, sys, pypdf; it = pypdf.PdfReader(sys.argv[1]);"
        "print(json.dumps([[each.extract_text() for each in it.pages], len(it.outline), it.metadata.title]))"
    )
    done = subprocess.run([PYTHON, "-c", read, path], capture_output=True, text=True, check=True, timeout=60)
    pages, outline, title = json.loads(done.stdout)
    for control, word in made["controls"]:
        (page,) = (text for text in pages if text.startswith(f"{control}:"))
        assert word in page
    assert all(f"{number} of {len(pages)}" in text for number, text in enumerate(pages, 1))
    assert outline > 2
    assert title == "Evidence: hiring, 2027-03-01 to 2027-03-03 (UTC)"
