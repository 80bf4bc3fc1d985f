"""The reports: bounded, inert whatever they show, and of the form that their readers expect."""

import io
import re
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from gateway.policyreview.differences import differences
from gateway.policyreview.impact import Count, Flip, Impact
from gateway.policyreview.inert import code, plain
from gateway.policyreview.report_json import MAX_ITEMS, impact_document
from gateway.policyreview.report_markdown import MARK, MAX_CHARACTERS, differences_markdown, impact_markdown
from gateway.policyreview.report_sarif import impact_sarif
from gateway.policyreview.report_terminal import print_differences, print_impact
from gateway.policyreview.thresholds import Crossed, Threshold
from tests.unit.policyreview.conftest import TABLES, Assess, call, recorded, revision

BASE = revision()
CANDIDATE = revision({"bindings": {"team:sales": ["reader"], "kind:agent": ["auditor"]}})

NASTY = [
    "@everyone", "#1", "`@everyone`", "`` ` ``", "a|b", "a\\|b\\", "<img src=x onerror=alert(1)>", "<!-- x", "</details>",
    "[x](https://evil.test)", "https://evil.test", "**bold**", "line\nbreak\r\n# title", "\x1b[31mred", "\u202eevil", "a" * 5000,
    "[bold red]rich[/]", "![i](https://evil.test/i.png)", "\u2028", "&lt;",
]  # fmt: skip


def text_of(print_it: Any, *arguments: Any) -> str:
    file = io.StringIO()
    print_it(Console(file=file, width=200, force_terminal=True, color_system="standard"), *arguments)
    return file.getvalue()


def outside_code(markdown: str) -> str:
    """Return what is not in a code span; a span ends at the next backtick of its line."""
    return "\n".join(re.sub(r"`[^`]*`", "", line) for line in markdown.splitlines())


@pytest.fixture
def report(assessed: Assess) -> Impact:
    return assessed(
        BASE, CANDIDATE, recorded(call(), count=3, tokens=500), recorded(call("bob", team="sales")), recorded(call("eve", model="x"))
    )  # fmt: skip


@pytest.fixture
def nasty(assessed: Assess) -> Impact:
    calls = [recorded(call(f"{text} {place}", model=text, team=text)) for place, text in enumerate(NASTY)]
    allowing = revision({
        "roles": {**TABLES["roles"], "all": {"permissions": [{"actions": ["model.infer"], "resources": ["*"]}]}},
        "bindings": {"kind:agent": ["all"]},
    })  # fmt: skip
    return assessed(BASE, allowing, *calls)


@given(st.text())
def test_a_code_span_ends_where_it_should_and_stays_in_its_cell(text: str) -> None:
    span = code(text)
    if span != "—":
        assert span.startswith("`")
        assert span.endswith("`")
        assert "`" not in span[1:-1]
        assert "|" not in span
    assert span.isprintable()
    assert len(plain(text, 10)) <= 100


@pytest.mark.parametrize("text", NASTY)
def test_names_in_a_comment_are_inert(nasty: Impact, text: str) -> None:
    markdown = impact_markdown(nasty, [])
    assert any(text == flip.resource for flip in nasty.flips)
    bare = outside_code(markdown.replace(MARK, ""))
    assert not re.search(r"[@\[\]\x1b\u202e\u2028]|https?:|<(?!/?details>|/?summary>)|&lt;|\*\*bold|alert", bare)
    assert bare.count("<details>") == bare.count("</details>") == bare.count("<summary>")


def test_a_reader_of_markdown_finds_no_names_outside_of_code(nasty: Impact) -> None:
    reader = MarkdownIt("commonmark").enable("table")
    allowed = re.compile(r"<!-- govgateway policy impact -->|</?details>(<summary>[A-Za-z →:]+</summary>)?")
    shown: set[str] = set()
    for block in reader.parse(impact_markdown(nasty, [])):
        assert block.type not in {"fence", "code_block", "blockquote_open", "link_open", "bullet_list_open"}
        if block.type == "html_block":
            assert allowed.fullmatch(block.content.strip())
        for inline in block.children or ():
            assert inline.type in {"text", "code_inline", "softbreak"}
            shown |= {inline.content} if inline.type == "code_inline" else set()
            assert inline.type != "text" or not re.search(r"@|evil|#\d", inline.content)
    assert {"@everyone", "[x](https://evil.test)", "<img src=x onerror=alert(1)>", "a\\x7cb"} <= shown


def test_every_row_of_a_comment_has_the_columns_of_its_table(nasty: Impact) -> None:
    width = 0
    for line in impact_markdown(nasty, []).splitlines():
        if line.startswith("|"):
            width = width or line.count("|")
            assert line.count("|") == width
        else:
            width = 0


def test_names_on_a_terminal_are_inert(nasty: Impact) -> None:
    shown = text_of(print_impact, nasty, [])
    assert "\x1b[31mred" not in shown
    assert "\u202e" not in shown
    assert "[bold red]rich[/]" in re.sub(r"\s+", "", shown).replace("boldredrich", "bold redrich").replace(
        "[boldred]", "[bold red]"
    )


def test_a_comment_stays_short_when_thousands_flip(report: Impact) -> None:
    flips = tuple(
        Flip("allow-to-deny", (f"spiffe://t.test/{'x' * 100}/{number}", "t", "agent"), "model.infer", "m|" * 60, ("r",), (), Count(9, 1, 1))
        for number in range(20_000)
    )  # fmt: skip
    markdown = impact_markdown(replace(report, flips=flips), [Crossed(Threshold("allow-to-deny"), 180_000)])
    assert len(markdown) < MAX_CHARACTERS
    assert "| allowed → refused | 180,000 |" in markdown
    assert "**Threshold crossed**: allow-to-deny: 180000" in markdown
    assert markdown.index("| allowed → refused |") < markdown.index("### ") < markdown.index("<details>")
    assert re.search(r"… and 19,9\d\d more\.", markdown)


def test_a_comment_says_so_when_nothing_changes(assessed: Assess) -> None:
    markdown = impact_markdown(assessed(BASE, BASE, recorded(call())), [])
    assert markdown.startswith(MARK)
    assert "No recorded call is decided otherwise." in markdown
    assert "###" not in markdown


def test_a_comment_folds_the_details_and_tells_what_changed(report: Impact) -> None:
    markdown = impact_markdown(report, [], price_per_1k=2.0)
    assert "<summary>Allowed → refused</summary>" in markdown
    assert "<summary>What changed: subjects</summary>" in markdown
    assert "| tokens of calls that would be refused | 500 |" in markdown
    assert "| their cost | 1.00 |" in markdown


def test_the_terminal_shows_the_same_figures(report: Impact) -> None:
    shown = text_of(print_impact, report, [Crossed(Threshold("lost-access"), 1)])
    for words in ("Models lost that were used", "spiffe://t.test/agent/ann", "Threshold crossed: lost-access"):
        assert words in shown


def test_the_json_report_has_a_stable_form(report: Impact) -> None:
    document = orjson.loads(orjson.dumps(impact_document(report, [Crossed(Threshold("lost-access"), 1)], 3.0)))
    assert document["schema"] == "govgateway.policy-impact/1"
    assert set(document) == {
        "schema", "base", "candidate", "counts", "recorded", "totals", "crossed", "left_out", "flips", "obligations", "limits",
        "lost_access", "new_access", "separation_of_duties", "undecided", "cost",
    }  # fmt: skip
    assert document["counts"] == report.counts()
    assert document["cost"] == {"price_per_1k": 3.0, "affected": 1.5}
    assert document["crossed"] == [{"figure": "lost-access", "tolerated": 0, "found": 1}]
    flip = next(each for each in document["flips"] if each["change"] == "allow-to-deny")
    assert (flip["principal"], flip["reasons"], flip["decisions"]) == (
        "spiffe://t.test/agent/ann",
        ["model_not_granted"],
        3,
    )
    (example,) = flip["examples"]
    assert example["input"] == call()
    assert (example["base"]["allow"], example["candidate"]["roles"]) == (True, ["auditor"])


def test_the_json_report_says_what_it_leaves_out(report: Impact) -> None:
    flips = tuple(replace(report.flips[0], resource=str(number)) for number in range(MAX_ITEMS + 7))
    document = impact_document(replace(report, flips=flips), [])
    assert len(document["flips"]) == MAX_ITEMS
    assert document["left_out"] == {"flips": 7}


def test_sarif_has_one_result_a_group_at_a_file_of_the_policies(report: Impact) -> None:
    document = orjson.loads(orjson.dumps(impact_sarif(report, CANDIDATE)))
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["version"]
    expected = (
        len(report.flips)
        + len(report.lost_access)
        + len(report.new_access)
        + len(report.limits)
        + len(report.obligations)
    )
    assert len(run["results"]) == expected + sum(each.new for each in report.violations)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"error", "warning", "note"}
        assert result["message"]["text"]
        (place,) = result["locations"]
        physical = place["physicalLocation"]
        file = physical["artifactLocation"]["uri"].removeprefix("policies/")
        assert 1 <= physical["region"]["startLine"] <= len(CANDIDATE.tree.files[file].splitlines())
    prints = [result["partialFingerprints"]["policyImpact/v1"] for result in run["results"]]
    assert len(set(prints)) == len(prints)


def test_sarif_points_at_the_binding_that_lets_calls_through(report: Impact) -> None:
    results = impact_sarif(report, CANDIDATE)["runs"][0]["results"]
    allowed = next(each for each in results if each["ruleId"] == "policy-impact/deny-to-allow")
    physical = allowed["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"]["uri"] == "policies/govgateway/bindings/data.yaml"
    lines = CANDIDATE.tree.files["govgateway/bindings/data.yaml"].decode().splitlines()
    assert lines[physical["region"]["startLine"] - 1] == "team:sales:"


def test_differences_are_shown_in_both_forms() -> None:
    changes = differences(BASE, CANDIDATE)
    for shown in (differences_markdown(changes), text_of(print_differences, changes)):
        for words in ("team:sales", "team:research", "model.infer on small-*"):
            assert words in shown
    nothing = differences(BASE, BASE)
    assert "only layout, comments or tests differ" in differences_markdown(nothing)
    assert "only layout, comments or tests differ" in text_of(print_differences, nothing)
