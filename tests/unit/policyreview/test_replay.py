"""Replaying: every distinct call once, by what each revision itself says of the caller and the system."""

import signal
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.replaying import looked_up_anew
from gateway.policyreview import replay as replaying
from gateway.policyreview.recorded import RecordedCall
from gateway.policyreview.replay import Replayed, ReplayError, ReplayOptions, cases_of, replay
from gateway.policyreview.revisions import Revision
from tests.unit.policyreview.conftest import NOW, TABLES, call, recorded, revision

HOUR = 3600
BASE = revision()
CANDIDATE = revision(
    {
        "bindings": {"team:sales": ["reader"], "spiffe://t.test/agent/ann": ["auditor"]},
        "systems": {"assistant": {"risk": "prohibited", "data_classes": []}},
    }
)


def both(calls: Sequence[RecordedCall], base: Revision, candidate: Revision, **options: Any) -> list[Replayed]:
    cases = cases_of(calls, (base.policies, candidate.policies))
    return list(replay(cases, base.policies, candidate.policies, ReplayOptions(**options)))


def test_each_revision_decides_by_its_own_bindings_and_register() -> None:
    (one,) = both([recorded(call(roles=["whatever"]))], BASE, CANDIDATE, jobs=1)
    assert one.base.decision.allow
    assert one.base.roles == ("embedder", "reader")
    assert one.candidate.roles == ("auditor",)
    (other,) = both([recorded(call("bob", team="sales"))], BASE, CANDIDATE, jobs=1)
    assert other.base.decision.reasons == ("model_not_granted",)
    assert other.candidate.decision.reasons == ("system_prohibited",)


def test_as_recorded_keeps_the_recorded_roles_and_risk() -> None:
    (one,) = both([recorded(call("bob", team="sales"))], BASE, CANDIDATE, jobs=1, as_recorded=True)
    assert one.base.decision.allow
    assert one.candidate.decision.allow
    assert one.candidate.roles == ("reader",)


def test_a_chain_passes_only_if_every_link_does() -> None:
    chain = recorded(call(), call("bob", team="sales"))
    (one,) = both([chain], BASE, revision({"bindings": {"kind:agent": ["reader"]}}), jobs=1)
    assert not one.base.decision.allow
    assert one.candidate.decision.allow


def test_the_same_input_at_other_times_is_one_case_until_a_grant_begins_or_ends() -> None:
    grant = {
        "role": "reader", "not_before": "2027-01-15T08:00:00Z", "not_after": "2027-01-15T09:00:00Z", "reason": "r", "approved_by": "a",
    }  # fmt: skip
    granted = revision({"bindings": {"team:sales": [grant]}})
    start = 1_800_000_000  # 2027-01-15T08:00:00Z
    calls = [recorded(call("bob", team="sales"), time=start + offset) for offset in (-2, -1, 0, HOUR - 1, HOUR)]
    found = both(calls, BASE, granted, jobs=1)
    assert [(each.case.count, each.candidate.decision.allow) for each in found] == [(2, False), (2, True), (1, False)]
    (moved,) = both(calls[:2], BASE, granted, jobs=1, at=start)
    assert moved.candidate.decision.allow


def test_cases_sum_counts_tokens_and_recorded_decisions() -> None:
    calls = [
        recorded(call(), count=2, tokens=5, decision="allow"),
        recorded(call(), tokens=1, decision="deny", time=NOW + 9),
        recorded(call(), count=4),
    ]
    (case,) = cases_of(calls, (BASE.policies,))
    assert (case.count, case.tokens, case.allowed, case.denied, case.time, case.first) == (7, 6, 2, 1, NOW + 9, NOW)


def test_an_input_that_no_policy_decides_is_malformed() -> None:
    broken = revision(rego=_answering('"yes"', when='input.resource.id == "odd"'))
    (one,) = both([recorded(call(model="odd"))], broken, broken, jobs=1)
    assert one.base.malformed
    assert one.candidate.malformed


def test_processes_decide_as_one_does_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [
        recorded(call(f"a{number}", model=f"small-{number}", team=("research", "sales")[number % 2]))
        for number in range(40)
    ]
    alone = both(calls, BASE, CANDIDATE, jobs=1)
    monkeypatch.setattr(replaying, "IN_PROCESS", 0)
    monkeypatch.setattr(replaying, "CHUNK", 7)
    assert both(calls, BASE, CANDIDATE, jobs=2) == alone
    assert {each.base.decision.allow for each in alone} == {True, False}


def test_a_process_that_ends_is_an_error_and_no_shorter_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "IN_PROCESS", 0)
    base = replace(BASE.policies, revision=_EndsTheProcess())
    with pytest.raises(ReplayError, match="A process that decides ended"):
        list(replay(cases_of([recorded(call())], (base,)), base, CANDIDATE.policies, ReplayOptions(jobs=2)))


class _EndsTheProcess(str):
    """A text that ends whatever process unpickles it."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return signal.raise_signal, (int(signal.SIGKILL),)


def test_progress_adds_up_to_all_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "CHUNK", 2)
    cases = cases_of([recorded(call(f"a{number}")) for number in range(5)], (BASE.policies,))
    steps: list[int] = []
    assert len(list(replay(cases, BASE.policies, CANDIDATE.policies, ReplayOptions(jobs=1), steps.append))) == 5
    assert steps == [2, 2, 1]


def _answering(value: str, when: str) -> str:
    return f"""package govgateway.authz
odd if {when}
decision := {{"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}} if not odd
decision := answer if {{
	odd
	answer := {value}
}}
"""


ROLES = list(TABLES["roles"])
SUBJECTS = ["team:research", "team:sales", "kind:agent", "spiffe://t.test/agent/ann", "spiffe://t.test/agent/bob"]


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    roles = {
        name: {
            "permissions": [
                {
                    "actions": draw(st.lists(st.sampled_from(["model.infer", "model.embed"]), min_size=1, unique=True)),
                    "resources": draw(st.lists(st.sampled_from(["small-*", "*", "large", "small-chat"]), min_size=1)),
                }
            ]
        }
        for name in ROLES
    }
    bindings = draw(st.dictionaries(st.sampled_from(SUBJECTS), st.lists(st.sampled_from(ROLES), unique=True)))
    risk = draw(st.sampled_from(["limited", "prohibited"]))
    separation: dict[str, Any] = {"duties": []}  # nobody is refused for what hypothesis binds together
    systems = {"assistant": {"risk": risk, "data_classes": []}}
    return {"roles": roles, "bindings": bindings, "separation": separation, "systems": systems}


@settings(max_examples=40, deadline=None)
@given(
    tables(),
    tables(),
    st.lists(
        st.tuples(
            st.sampled_from(["ann", "bob", "eve"]),
            st.sampled_from(["research", "sales"]),
            st.sampled_from(["model.infer", "model.embed"]),
            st.sampled_from(["small-chat", "large", "other"]),
            st.text(max_size=3),
        ),
        max_size=12,
    ),
)
def test_the_decisions_are_those_of_engines_asked_one_by_one(
    one: dict[str, Any], other: dict[str, Any], made: list[tuple[str, str, str, str, str]]
) -> None:
    base, candidate = revision(one), revision(other)
    inputs = [
        call(who, team=team, action=action, model=model, attributes={"note": note})
        for who, team, action, model, note in made
    ]
    found = {each.case.chain: each for each in both([recorded(each) for each in inputs], base, candidate, jobs=1)}
    for each in inputs:
        replayed = found[recorded(each).chain]
        for side, verdict in ((base, replayed.base), (candidate, replayed.candidate)):
            fresh = EmbeddedEngine(side.policies)
            assert verdict.decision == fresh.decide_now(looked_up_anew(side.policies, each, NOW))
