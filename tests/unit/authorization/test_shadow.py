"""A candidate beside the active revision: counted exactly, bounded, and never in the way of a call."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.authorization import shadow as shadow_module
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_set
from gateway.authorization.shadow import OTHERS, Shadow, compare
from gateway.clock import system_clock
from tests.unit.authorization.conftest import call

PATIENCE = 20.0
CLAMP = {"type": "clamp_max_tokens", "max_tokens": 5}


@pytest.fixture
def without_research(starter_copy: Path) -> LoadedPolicySet:
    """The starter policies, without any role for the team research."""
    path = starter_copy / "govgateway/bindings/data.yaml"
    path.write_text(yaml.safe_dump({"team:other": ["chat-user"]}))
    return load_policy_set(starter_copy)


def caller(name: str, team: str = "research") -> dict[str, Any]:
    return call(principal={"id": f"spiffe://example.org/agent/{name}", "team": team})


def watched(shadow: Shadow, count: int) -> dict[str, Any]:
    """Wait until the candidate has decided so many calls, and return what was seen."""
    end = time.monotonic() + PATIENCE
    while shadow.seen < count:
        assert time.monotonic() < end
        time.sleep(0.01)
    shadow.stop()
    return shadow.report()


def test_differences_are_counted_by_caller_resource_and_reason(starter, without_research):
    engine = EmbeddedEngine(starter)
    shadow = Shadow(without_research, "digest", system_clock)
    for each in [caller("a"), caller("a"), caller("b"), caller("c", team="other")]:
        shadow.offer([each], engine.decide_now(each))
    report = watched(shadow, 4)
    assert (report["decided"], report["skipped"], report["malformed"]) == (4, 0, 0)
    counts = Counter({each["principal"][-1]: each["count"] for each in report["differences"]})
    # The input of `c` was recorded with the role of another team: its roles are looked up anew.
    assert counts == {"a": 2, "b": 1}
    assert {each["change"] for each in report["differences"]} == {"allow-to-deny"}
    assert {each["reason"] for each in report["differences"]} == {"model_not_granted"}
    sample = report["samples"][0]
    assert sample["active"]["allow"] is True
    assert sample["candidate"]["allow"] is False


def test_the_same_policies_differ_in_nothing(starter):
    engine = EmbeddedEngine(starter)
    shadow = Shadow(starter, "digest", system_clock)
    calls = [caller("a"), call(resource={"id": "nothing"}), call(principal={"status": "suspended"})]
    for each in calls:
        shadow.offer([each], engine.decide_now(each))
    report = watched(shadow, 3)
    assert report["differences"] == []
    assert report["decided"] == 3


def test_a_chain_is_decided_by_all_of_its_links(starter, without_research):
    shadow = Shadow(without_research, "digest", system_clock)
    shadow.offer([caller("c", team="other"), caller("parent")], Decision(allow=True, cache_seconds=0))
    (difference,) = watched(shadow, 1)["differences"]
    assert difference["change"] == "allow-to-deny"


def test_a_candidate_that_cannot_decide_counts_as_a_deny_and_is_named(starter, misbehaving):
    broken = misbehaving('"nonsense"')
    shadow = Shadow(broken._policies, "digest", system_clock)
    shadow.offer([call(resource={"id": "bad"})], Decision(allow=True))
    report = watched(shadow, 1)
    assert report["malformed"] == 1
    assert report["differences"][0]["reason"] == "policy_malformed"


def test_what_the_candidate_cannot_keep_up_with_is_left_out_and_counted(starter, monkeypatch):
    monkeypatch.setattr(shadow_module, "QUEUED", 5)
    gate = []

    def slow(*arguments: Any) -> Decision:
        while not gate:
            time.sleep(0.001)
        return Decision(allow=True)

    monkeypatch.setattr(shadow_module, "decided_anew", slow)
    shadow = Shadow(starter, "digest", system_clock)
    for _ in range(100):
        shadow.offer([caller("a")], Decision(allow=True))
    gate.append(True)
    report = watched(shadow, 94)
    assert report["skipped"] >= 94
    assert report["decided"] <= 6


def test_kinds_of_difference_are_bounded(starter, without_research, monkeypatch):
    monkeypatch.setattr(shadow_module, "GROUPS", 3)
    shadow = Shadow(without_research, "digest", system_clock)
    for number in range(10):
        shadow.offer([caller(f"n{number}")], Decision(allow=True))
    report = watched(shadow, 10)
    assert sum(each["count"] for each in report["differences"]) == 10
    assert {each["principal"]: each["count"] for each in report["differences"]}[OTHERS] == 7


DECISIONS = st.builds(
    Decision,
    st.booleans(),
    st.lists(st.sampled_from(["a", "b"]), min_size=1, unique=True).map(tuple),
    st.lists(st.just(CLAMP), max_size=1).map(tuple),
    st.integers(0, 60),
)


@given(DECISIONS, DECISIONS)
def test_two_decisions_are_the_same_exactly_if_the_call_fares_the_same(one, other):
    found = compare(one, other)
    same = one.allow == other.allow and set(one.reasons) == set(other.reasons)
    if one.allow and other.allow:
        same = same and one.obligations == other.obligations
    assert (found is None) == same
    if found is not None and one.allow != other.allow:
        assert found[0] == ("allow-to-deny" if one.allow else "deny-to-allow")
        assert found[1] == (other if one.allow else one).reasons[0]
