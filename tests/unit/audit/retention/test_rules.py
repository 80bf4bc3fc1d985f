from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.retention import (
    LEGAL_DAYS,
    Covers,
    Facts,
    Hold,
    RetentionError,
    RetentionRules,
    Rule,
    facts_of,
    holding,
    legal_end,
)

DAY_NS = 86_400_000_000_000

names = st.sampled_from(["", "credit", "triage", "chat"])
types = st.sampled_from(["access.intent", "access.outcome", "policy.activated", "content.sealed"])
facts = st.builds(
    Facts,
    event_id=st.just("e"),
    type=types,
    time_ns=st.integers(0, 4_000_000_000 * 10**9),
    system=names,
    system_elsewhere=st.booleans(),
    principals=st.frozensets(st.sampled_from("abc"), max_size=2),
)
patterns = st.lists(st.sampled_from(["access.*", "policy.activated", "*", "x"]), max_size=2).map(tuple)
systems = st.lists(st.sampled_from(["credit", "triage", "c*"]), max_size=2).map(tuple)


def rules(least: int) -> st.SearchStrategy[Rule]:
    return st.builds(Rule, days=st.integers(least, 4000), types=patterns, systems=systems)


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@given(record=facts, given_rules=st.lists(rules(LEGAL_DAYS), max_size=4), default=st.integers(LEGAL_DAYS, 1000))
def test_nothing_is_ever_kept_less_than_six_calendar_months(
    record: Facts, given_rules: list[Rule], default: int
) -> None:
    until = RetentionRules(given_rules, default).keep_until(record)
    begin = datetime.fromtimestamp(record.time_ns // 10**9, UTC)
    end = datetime.fromtimestamp(until // 10**9, UTC)
    months = (end.year - begin.year) * 12 + end.month - begin.month
    assert months > 6 or (months == 6 and (end.day > begin.day or (end - begin) >= timedelta(days=LEGAL_DAYS)))


@given(record=facts, given_rules=st.lists(rules(0), max_size=4), default=st.integers(0, 1000))
def test_the_longest_rule_that_applies_counts(record: Facts, given_rules: list[Rule], default: int) -> None:
    until = RetentionRules(given_rules, default, unsafe_shorter_than_law=True).keep_until(record)
    applying = [rule.days for rule in given_rules if rule.applies(record)]
    assert until == record.time_ns + (max(applying) if applying else default) * DAY_NS


@given(record=facts, rule=rules(0))
def test_a_record_whose_system_is_elsewhere_is_kept_as_one_of_any_system(record: Facts, rule: Rule) -> None:
    if rule.applies(record):
        unknown = Facts(record.event_id, record.type, record.time_ns, "", True, record.principals)
        assert rule.applies(unknown)


@given(days=st.integers(0, LEGAL_DAYS - 1))
def test_less_than_the_law_needs_the_unsafe_option(days: int) -> None:
    with pytest.raises(RetentionError, match="unsafe_shorter_than_law"):
        RetentionRules([Rule(days)])
    with pytest.raises(RetentionError, match="19"):
        RetentionRules(default_days=days)
    assert "below the legal minimum" in RetentionRules([Rule(days)], unsafe_shorter_than_law=True).words()


@pytest.mark.parametrize("days", [-1, 10**9])
def test_a_number_of_days_that_is_none_is_refused(days: int) -> None:
    with pytest.raises(RetentionError, match="number of days"):
        RetentionRules(default_days=days, unsafe_shorter_than_law=True)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("2026-01-15T00:00:00", "2026-07-16T12:00:00"),
        ("2026-08-31T23:59:59", "2027-03-01T12:00:00"),
        ("2027-08-31T10:00:00", "2028-03-01T12:00:00"),
        ("2026-12-31T12:00:00", "2027-07-01T12:00:00"),
    ],
)
def test_six_months_end_with_the_whole_last_day_everywhere(begin: str, end: str) -> None:
    assert legal_end(ns(begin)) == ns(end)


@given(time_ns=st.integers(0, 4_000_000_000 * 10**9))
def test_the_longest_six_months_are_the_days_that_a_rule_must_have(time_ns: int) -> None:
    midnight = time_ns - time_ns % DAY_NS
    assert 181 * DAY_NS <= legal_end(time_ns) - midnight - 3 * DAY_NS // 2 <= LEGAL_DAYS * DAY_NS


covers = st.builds(
    Covers,
    types=st.lists(types, max_size=2).map(tuple),
    systems=st.lists(names, max_size=2).map(tuple),
    principals=st.lists(st.sampled_from("abc"), max_size=2).map(tuple),
    since=st.integers(0, 4_000_000_000),
    until=st.integers(0, 4_000_000_000),
)


@given(record=facts, hold=covers)
def test_a_hold_covers_what_meets_all_its_criteria(record: Facts, hold: Covers) -> None:
    seconds = record.time_ns / 10**9
    wanted = (
        (record.type in hold.types or hold.types == ())
        and (record.system in hold.systems or record.system_elsewhere or hold.systems == ())
        and (bool(record.principals & set(hold.principals)) or hold.principals == ())
        and hold.since <= seconds
        and (hold.until == 0 or seconds < hold.until)
    )
    assert hold.covers(record) is wanted
    assert Covers.from_document(hold.to_document()) == hold


@given(record=facts)
def test_a_hold_without_criteria_covers_everything(record: Facts) -> None:
    hold = Hold("h", Covers(), "anna", "suit", 0)
    assert holding([hold], record) == hold
    assert holding([], record) is None


def test_facts_are_read_from_where_records_have_them() -> None:
    base = {"event_id": "e", "type": "access.intent", "time": "5"}
    assert facts_of({**base, "system": "chat", "principal": "p", "delegation": ["d"]}) == Facts(
        "e", "access.intent", 5, "chat", False, frozenset({"p", "d"})
    )
    assert facts_of({**base, "resource": {"system": "chat"}}).system == "chat"
    assert facts_of({**base, "agent": "a", "principal": "operator:o"}).principals == {"a", "operator:o"}
    assert facts_of({**base, "intent": "e0"}).system_elsewhere
    assert facts_of({**base, "of": "e0"}).system_elsewhere
    assert not facts_of(base).system_elsewhere
    assert not facts_of({**base, "intent": "e0", "system": "chat"}).system_elsewhere
