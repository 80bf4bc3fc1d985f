"""What the policy tables refuse: grants, duties kept apart, and the AI Act's contradictions."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.authorization.bindings import expired_grants
from gateway.authorization.policy_data import PolicyData, check_policy_data
from gateway.authorization.policy_data_base import seconds_of
from gateway.authorization.policy_set import load_policy_set
from gateway.errors import ConfigError

READ = [{"actions": ["admin.status.read"], "resources": ["*"]}]
ADA, TEAM = "spiffe://example.org/operator/ada", "team:research"
TABLES: dict[str, Any] = {
    "roles": {
        "viewer": {"permissions": READ},
        "auditor": {"permissions": READ},
        "runner": {"permissions": READ, "kinds": ["pipeline"]},
        "emergency": {"permissions": READ, "max_grant_days": 2},
    },
    "separation": {"duties": [{"name": "audit", "roles": ["viewer", "auditor"], "why": "Nobody audits themselves."}]},
    "systems": {"assistant": {"risk": "limited"}},
    "regions": {"data_classes": {"public": {}}},
    "ai_act": {
        "practices": {
            "social-scoring": {
                "article": "5(1)(c)",
                "description": "Rates people.",
                "applies_from": "2025-02-02",
                "source": "the Regulation",
            }
        },
        "annex_iii": {"employment": {"point": "4", "description": "Recruitment.", "fria": "public"}},
    },
}
GRANT = {
    "role": "viewer",
    "not_before": "2026-11-23T00:00:00Z",
    "not_after": "2026-11-24T00:00:00Z",
    "reason": "The usual operator is away.",
    "approved_by": "grace@example.org",
}
EXCEPTION = {"article": "6(3)", "reason": "Sorts mail by address.", "assessed_by": "grace@example.org"}


def checked(**tables: Any) -> PolicyData:
    return check_policy_data(Path("p"), {"govgateway": copy.deepcopy({**TABLES, **tables})})


def refused(**tables: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        checked(**tables)
    return str(caught.value)


def grant(**changes: Any) -> dict[str, Any]:
    """Return a grant with these keys changed, or left out where None."""
    return {key: value for key, value in {**GRANT, **changes}.items() if value is not None}


def bound(*bindings: Any, subject: str = ADA) -> dict[str, Any]:
    return {"bindings": {subject: list(bindings)}}


def test_grant_and_plain_role_are_bound_side_by_side() -> None:
    tables = checked(**bound("runner", grant(ticket="OPS-1"), grant(break_glass=True)))
    assert [getattr(each, "role", each) for each in tables.bindings[ADA]] == ["runner", "viewer", "viewer"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"not_after": None}, r"bindings/data.yaml: spiffe://.*ada.0.not_after: this key is required"),
        ({"reason": None}, r"ada.0.reason: this key is required"),
        ({"reason": "  "}, r"ada.0.reason: this text is empty"),
        ({"approved_by": None}, r"ada.0.approved_by: this key is required"),
        ({"approved_by": ADA}, r"approved by its own subject"),
        ({"approved_by": ADA.replace("ada", "Ada")}, r"approved by its own subject"),
        ({"approved_by": f"{ADA} "}, r"is not written plainly: .* write 'spiffe://example.org/operator/ada'"),
        ({"approved_by": f"{ADA}\u200b"}, r"ada.0.approved_by: '.*\\u200b' is not written plainly"),
        ({"approved_by": "ｇrace@example.org"}, r"is not written plainly: .* write 'grace@example.org'"),
        ({"approved_by": "\u3164"}, r"ada.0.approved_by: this text is empty"),
        ({"reason": "\u200b\u2060"}, r"ada.0.reason: this text is empty"),
        ({"role": "veiwer"}, r"there is no role 'veiwer'; did you mean 'viewer'"),
        ({"until": "2026-11-24T00:00:00Z"}, r"ada.0.until: unknown key"),
        ({"not_after": "2026-11-24"}, r"ada.0.not_after: '2026-11-24' is not a time in UTC; write it as"),
        ({"not_after": "2026-11-24T00:00:00+01:00"}, r"is not a time in UTC"),
        ({"not_after": "2026-11-31T00:00:00Z"}, r"is not a time: day is out of range"),
        ({"not_before": "2026-11-24T00:00:00Z"}, r"the grant of viewer ends before it starts"),
        ({"break_glass": True, "reason": None}, r"ada.0.reason: this key is required"),
        ({"break_glass": True, "approved_by": None}, r"ada.0.approved_by: this key is required"),
        ({"break_glass": True, "not_before": None}, r"the break-glass grant of viewer needs not_before"),
        ({"break_glass": True, "not_after": "2026-11-24T00:00:01Z"}, r"lasts longer than 24 hours"),
        ({"break_glass": "yes"}, r"ada.0.break_glass: .*valid boolean"),
        ({"role": "emergency", "not_before": None}, r"'emergency' needs not_before: .* at most 2 days"),
        ({"role": "emergency", "not_after": "2026-11-25T00:00:01Z"}, r"longer than the 2 days its role allows"),
    ],
)
def test_grant_that_cannot_be_used_names_subject_and_key(change: dict[str, Any], expected: str) -> None:
    assert re.search(expected, refused(**bound(grant(**change))))


def test_role_with_a_longest_grant_is_bound_by_a_grant_with_an_end() -> None:
    assert "granted for at most 2 days, so this grant needs an end" in refused(**bound("emergency"))
    checked(**bound(grant(role="emergency", not_after="2026-11-25T00:00:00Z")))


def test_time_without_quotes_is_refused_before_the_tables_are_read(starter_copy: Path) -> None:
    text = yaml.safe_dump({ADA: [grant(role="platform-viewer")]}).replace("'", "")
    (starter_copy / "govgateway/bindings/data.yaml").write_text(text)
    with pytest.raises(ConfigError, match="quote it"):
        load_policy_set(starter_copy)


def spans(*periods: str, **changes: Any) -> dict[str, Any]:
    """Return grants to Ada for periods such as `23T00 24T12` (day of November and hour)."""
    made = []
    for period in periods:
        start, end = (f"2026-11-{moment}:00:00Z" for moment in period.split())
        made.append(grant(not_before=start, not_after=end, **changes))
    return bound(*made)


@pytest.mark.parametrize(
    ("periods", "hours"),
    [
        (("23T00 24T00", "24T00 25T00"), "48"),
        (("23T00 24T00", "24T23 25T00"), "25"),
        (("23T00 23T20", "23T10 24T10"), "34"),
        (("23T00 23T20", "24T00 24T02", "25T01 25T04"), "25"),
        (("25T00 26T00", "23T00 24T00", "24T12 24T13"), "49"),
        (("23T00 23T20", "23T01 23T02", "24T19 24T23", "25T00 25T01"), "25"),
    ],
)
def test_break_glass_grants_without_a_pause_between_them_count_as_one(periods: tuple[str, ...], hours: str) -> None:
    message = refused(**spans(*periods, break_glass=True))
    assert f"together they last {hours} h, longer than the 24 h that one may" in message
    assert "bindings/data.yaml: spiffe://example.org/operator/ada: the break-glass grants of 'viewer' (2026-" in message
    assert all(f"2026-11-{each.split()[0]}:00:00Z to " in message for each in periods)


@pytest.mark.parametrize(
    "periods",
    [
        ("23T00 24T00", "25T00 26T00"),
        ("23T00 23T12", "23T12 24T00"),
        ("23T00 23T20", "23T10 24T00"),
        ("23T00 24T00", "23T00 24T00"),
        ("23T00 24T00", "25T00 25T12", "26T12 27T12"),
    ],
)
def test_break_glass_grants_with_a_pause_or_of_a_day_together_are_taken(periods: tuple[str, ...]) -> None:
    checked(**spans(*periods, break_glass=True))


def test_grants_of_a_role_with_a_longest_grant_count_together_and_break_glass_among_them() -> None:
    periods = ("23T00 25T00", "25T12 25T13")
    for change in ({}, {"break_glass": False}):
        message = refused(**spans(*periods, role="emergency", **change))
        assert "the grants of 'emergency'" in message
        assert "together they last 49 h, longer than the 48 h" in message
    mixed = [grant(role="emergency", not_after="2026-11-25T00:00:00Z")]
    mixed += spans("25T00 25T01", role="emergency", break_glass=True)["bindings"][ADA]
    assert "the grants of 'emergency'" in refused(**bound(*mixed))
    checked(**spans("23T00 25T00", "26T00 28T00", role="emergency"))


def test_grants_of_other_roles_or_of_an_unbounded_one_do_not_count_together() -> None:
    checked(**spans("23T00 24T00", "24T00 25T00"))
    runner = spans("24T00 25T00", role="runner", break_glass=True)["bindings"][ADA]
    checked(**bound(grant(break_glass=True), *runner))


def test_the_pause_between_grants_is_configured() -> None:
    duties = TABLES["separation"]["duties"]
    grants = spans("23T00 24T00", "25T00 26T00", break_glass=True)
    longer = {"duties": duties, "grant_pause_hours": 25}
    assert "with less than 25 h between them" in refused(**grants, separation=longer)
    checked(**spans("23T00 24T00", "24T01 25T01", break_glass=True), separation={"grant_pause_hours": 1})
    assert "grant_pause_hours" in refused(separation={"grant_pause_hours": 0})


def test_team_is_written_plainly() -> None:
    for subject in ("team:research ", "team: research", "team:re\u200bsearch", "team:ｒesearch"):
        assert "is not written plainly; write 'team:research'" in refused(**bound("viewer", subject=subject))


def test_role_bound_to_a_kind_it_is_not_for_is_refused() -> None:
    assert "is for pipeline and grants nothing to agent" in refused(**bound("runner", subject="kind:agent"))
    checked(**bound("runner", subject="kind:pipeline"))


def test_expired_grant_is_no_error_and_is_listed() -> None:
    tables = checked(**bound(grant()))
    end = seconds_of("2026-11-24T00:00:00Z")
    assert expired_grants(tables, end - 1) == []
    assert [(each.subject, each.grant.role) for each in expired_grants(tables, end)] == [(ADA, "viewer")]


@pytest.mark.parametrize(
    "bindings",
    [
        ["viewer", "auditor"],
        ["auditor", grant()],
        [grant(), grant(role="auditor", not_before="2026-11-23T23:59:59Z", not_after="2026-11-30T00:00:00Z")],
        [grant(), grant(role="auditor", not_before=None)],
        ["auditor", grant(break_glass=True)],
    ],
)
def test_subject_bound_to_duties_that_are_kept_apart_is_refused(bindings: list[Any]) -> None:
    message = refused(**bound(*bindings, subject=TEAM))
    assert "bindings/data.yaml: team:research: the roles" in message
    assert "are kept apart (audit): Nobody audits themselves" in message


def test_grants_one_after_the_other_are_no_conflict() -> None:
    later = grant(role="auditor", not_before="2026-11-24T00:00:00Z", not_after="2026-11-30T00:00:00Z")
    checked(**bound(grant(), later))


@pytest.mark.parametrize(
    ("duties", "expected"),
    [
        ([{"name": "a", "roles": ["viewer", "owner"], "why": "x"}], "duties.a: there is no role 'owner'"),
        ([{"name": "a", "roles": ["viewer"], "why": "x"}], "duties.0.roles: "),
        ([{"name": "a", "roles": ["viewer", "viewer"], "why": "x"}], "duties.a: a role is named twice"),
        ([{"name": "a", "roles": ["viewer", "auditor"]}], "duties.0.why: this key is required"),
        ([{"name": "a", "roles": ["viewer", "auditor"], "why": "x"}] * 2, "duties: a is given twice"),
    ],
)
def test_separation_that_cannot_be_used_is_refused(duties: list[Any], expected: str) -> None:
    assert f"separation/data.yaml: {expected}" in refused(separation={"duties": duties})


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ({"risk": "limited", "annex_iii": "employment"}, r"systems/data.yaml: s.risk: 'limited' understates it"),
        ({"risk": "minimal", "annex_iii": "employment"}, r"s.risk: 'minimal' understates it"),
        ({"risk": "high", "annex_iii": "employmnt"}, r"s.annex_iii: .*did you mean 'employment'"),
        ({"risk": "high", "practices": ["scoring"]}, r"s.practices: .*did you mean 'social-scoring'"),
        ({"risk": "limited", "exception": EXCEPTION}, r"s.exception: there is nothing to except"),
        (
            {"risk": "limited", "annex_iii": "employment", "exception": EXCEPTION, "profiling": True},
            r"s.exception: a system that profiles people is never excepted",
        ),
        (
            {"risk": "limited", "annex_iii": "employment", "exception": {**EXCEPTION, "article": "6(2)"}},
            r"s.exception.article: ",
        ),
        (
            {"risk": "limited", "annex_iii": "employment", "exception": {"article": "6(3)", "reason": "x"}},
            r"s.exception.assessed_by: this key is required",
        ),
        ({"risk": "high", "instructions_for_use": " "}, r"s.instructions_for_use: this text is empty"),
        ({"risk": "high", "deployer": "state"}, r"s.deployer: "),
        ({"risk": "limited", "transparency": "yes"}, r"s.transparency: "),
    ],
)
def test_entry_of_the_register_that_contradicts_itself_is_refused(system: dict[str, Any], expected: str) -> None:
    assert re.search(expected, refused(systems={"s": system}))


@pytest.mark.parametrize(
    "system",
    [
        {"risk": "high", "annex_iii": "employment"},
        {"risk": "prohibited", "annex_iii": "employment"},
        {"risk": "limited", "annex_iii": "employment", "exception": EXCEPTION},
        {"risk": "high", "annex_iii": "employment", "exception": EXCEPTION},
        {"risk": "minimal", "practices": ["social-scoring"]},
        {"risk": "high", "owner": "people", "note": "keys of one's own are attributes"},
    ],
)
def test_entry_of_the_register_that_makes_sense_is_taken(system: dict[str, Any]) -> None:
    assert checked(systems={"s": system}).systems["s"].risk == system["risk"]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"data_classes": ["secret"]}, "models/data.yaml: m: data_classes: 'secret' is not in the table of regions"),
        ({"systems": ["asistant"]}, "m: systems: there is no system 'asistant'; did you mean 'assistant'?"),
        ({"regions": []}, "m.regions: "),
        ({"region": "eu"}, "m.region: unknown key"),
    ],
)
def test_bounds_of_a_model_that_cannot_be_used_are_refused(bounds: dict[str, Any], expected: str) -> None:
    assert expected in refused(models={"m": bounds})


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"rules": {"system_prohibited": {"enforce": False}}}, "rules.system_prohibited"),
        (
            {"practices": {"x": {"article": "5", "description": "x", "applies_from": "soon", "source": "x"}}},
            "not a day",
        ),
        ({"annex_iii": {"x": {"point": "1", "description": "x", "fria": "sometimes"}}}, "annex_iii.x.fria"),
    ],
)
def test_table_of_the_act_is_closed(table: dict[str, Any], expected: str) -> None:
    assert expected in refused(ai_act=table)
