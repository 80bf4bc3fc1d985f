"""govctl incident: what it says, holds, puts on record, and with which exit status it leaves."""

from datetime import UTC, datetime, timedelta
from typing import Any


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat(timespec="seconds")


def opened(govctl: Any, *arguments: str, aware_at: str = "") -> dict[str, Any]:
    answer = govctl(
        "incident", "open", "--title", "Answers in the wrong tongue", "--aware-at", aware_at or ago(hours=1),
        "--reason", "a complaint", "--json", *arguments,
    )  # fmt: skip
    found: dict[str, Any] = answer.json
    return found


def test_opening_sets_a_hold_on_the_system_that_closing_leaves(govctl):
    incident = opened(govctl, "--system", "assistant")
    (hold,) = govctl("audit", "hold", "list", "--json").json
    assert hold["hold"] == incident["hold"]
    assert hold["covers"]["systems"] == ["assistant"]
    assert incident["aware_at"] - hold["covers"]["since"] == 30 * 86_400
    assert incident["incident"] in hold["cause"]
    name = incident["incident"]
    govctl("incident", "assess", name, "--class", "none", "--reason", "as it should be")
    closed = govctl("incident", "close", name, "--reason", "nothing was wrong")
    assert f"govctl audit hold lift {hold['hold']}" in closed.out
    assert len(govctl("audit", "hold", "list", "--json").json) == 1
    (record,) = govctl.records("incident.closed")
    assert (record["principal"], record["hold"]) == ("operator:alex", hold["hold"])


def test_a_passed_deadline_is_told_by_the_exit_status(govctl):
    assert "Nothing is due" in govctl("incident", "list", "--due").out
    name = opened(govctl, aware_at=ago(hours=73))["incident"]
    late = govctl("incident", "list", "--due", code=2)
    assert "overdue by 1 day 1 hour" in late.out
    govctl("incident", "assess", name, "--class", "death", "--reason", "it came out")
    assert govctl("incident", "list", "--due", "--json").json[0]["to_do"] == "report ai-act-73"
    govctl("incident", "assess", name, "--class", "personal-data-breach", "--reason", "more came out")
    (found,) = govctl("incident", "list", "--due", "--json", code=2).json
    assert found["overdue"]
    assert found["seconds_left"] < 0
    report = ("incident", "report", name, "--duty", "gdpr-33", "--to", "the authority")
    assert "--late-because" in govctl(*report, code=1).err
    assert "reported late" in govctl(*report, "--late-because", "nobody saw it").out
    assert "Nothing is due" in govctl("incident", "list", "--due").out
    assert govctl.records("incident.reported")[0]["in_time"] is False


def test_a_time_without_its_zone_is_refused_and_with_one_is_shown_in_it(govctl):
    start = ("incident", "open", "--title", "t", "--reason", "r", "--aware-at", "2026-01-02T09:30")
    assert "time zone" in govctl(*start, code=1).err
    told = govctl(*start, "--zone", "Europe/Berlin").out
    assert "2026-01-04 08:30 UTC (2026-01-04 09:30 CET)" in told
    (record,) = govctl.records("incident.opened")
    assert record["aware_text"] == "2026-01-02T09:30:00+01:00"


def test_an_unknown_system_or_call_opens_nothing(govctl):
    start = ("incident", "open", "--title", "t", "--reason", "r", "--aware-at", ago(hours=1))
    assert "known are: assistant" in govctl(*start, "--system", "asistant", code=1).err
    assert "no record" in govctl(*start, "--call", "0190d3a0-0000-7000-8000-000000000000", code=1).err
    assert govctl("audit", "hold", "list", "--json").json == []


def test_show_tells_the_whole_story(govctl):
    name = opened(govctl, "--class", "death")["incident"]
    assess = ("incident", "assess", name, "--class", "death", "--class", "personal-data-breach", "--reason", "seen")
    govctl(*assess, "--not-reported", "gdpr-33=no risk for anybody")
    govctl("incident", "report", name, "--duty", "ai-act-73", "--to", "the authority", "--incomplete")
    told = govctl("incident", "show", name, "--zone", "Europe/Berlin").out
    for part in ("Answers in the wrong tongue", "need not be reported: no risk", "still to follow", "First report to"):
        assert part in told
    assert "--not-reported" in govctl(*assess, "--not-reported", "gdpr-33", code=1).err


def test_the_classes_are_listed_with_their_deadlines_and_articles(govctl):
    told = govctl("incident", "classes").out
    assert "ai-act-73: 10 days (Regulation (EU) 2024/1689, Article 73(4))" in told
    assert govctl("incident", "classes", "--json").json["duties"]["gdpr-33"]["source"]
