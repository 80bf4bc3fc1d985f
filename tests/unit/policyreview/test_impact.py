"""The impact report: what is known to have changed, and nothing else."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.replaying import looked_up_anew
from gateway.policyreview.impact import assess
from gateway.policyreview.impact_obligations import LOOSER, TIGHTER
from gateway.policyreview.impact_totals import totals_by
from gateway.policyreview.replay import ReplayOptions, cases_of, replay
from tests.unit.policyreview.conftest import NOW, REGO, TABLES, Assess, call, recorded, revision

BASE = revision()
ANN = ("spiffe://t.test/agent/ann", "research", "agent")
BOB = ("spiffe://t.test/agent/bob", "sales", "agent")


def roles(**changes: Any) -> dict[str, Any]:
    return {"roles": {**TABLES["roles"], **changes}}


def test_the_same_revision_changes_nothing(assessed: Assess) -> None:
    report = assessed(BASE, revision(), recorded(call(), count=3, tokens=5), recorded(call("bob", team="sales")))
    assert report.counts() == {**dict.fromkeys(report.counts(), 0), "recorded": 4}
    assert not report.differences


def test_binding_a_role_allows_what_was_refused_and_says_through_which_role(assessed: Assess) -> None:
    candidate = revision({"bindings": {**TABLES["bindings"], "team:sales": ["reader"]}})
    report = assessed(
        BASE, candidate, recorded(call("bob", team="sales"), count=3), recorded(call("bob", team="sales", model="large")), recorded(call())
    )  # fmt: skip
    (flip,) = report.flips
    assert (flip.change, flip.who, flip.action, flip.resource) == ("deny-to-allow", BOB, "model.infer", "small-chat")
    assert (flip.reasons, flip.roles, flip.count.decisions) == (("model_not_granted",), ("reader",), 3)
    assert [(each.granted.subject, each.granted.role, each.decisions) for each in report.new_access] == [
        ("team:sales", "reader", 3)
    ]
    assert report.counts() == {
        **dict.fromkeys(report.counts(), 0), "recorded": 5, "deny_to_allow": 3, "new_access": 1,
    }  # fmt: skip


def test_access_that_nobody_asked_for_is_new_all_the_same(assessed: Assess) -> None:
    candidate = revision({"bindings": {**TABLES["bindings"], "kind:pipeline": ["auditor"]}})
    (new,) = assessed(BASE, candidate, recorded(call())).new_access
    assert (new.granted.subject, new.granted.action, new.granted.resource, new.decisions) == (
        "kind:pipeline",
        "object.read",
        "*",
        0,
    )


def test_removing_a_permission_refuses_and_takes_the_model_away(assessed: Assess) -> None:
    narrower = {"permissions": [{"actions": ["model.infer"], "resources": ["small-code"]}], "max_output_tokens": 1000}
    report = assessed(
        BASE, revision(roles(reader=narrower)), recorded(call(), count=2, tokens=50), recorded(call(model="small-code"))
    )
    (flip,) = report.flips
    assert (flip.change, flip.who, flip.reasons, flip.roles) == (
        "allow-to-deny",
        ANN,
        ("model_not_granted",),
        ("reader",),
    )
    assert (flip.count.decisions, flip.count.tokens) == (2, 50)
    (lost,) = report.lost_access
    assert (lost.who, lost.model, lost.count.decisions) == (ANN, "small-chat", 2)
    assert report.counts()["tokens"] == 50


def test_a_model_is_not_lost_while_one_recorded_way_to_it_is_left(assessed: Assess) -> None:
    gone = {"permissions": [{"actions": ["model.infer"], "resources": ["none"]}]}
    report = assessed(BASE, revision(roles(reader=gone)), recorded(call()), recorded(call(action="model.embed")))
    assert report.counts()["allow_to_deny"] == 1
    assert report.lost_access == ()


def test_a_lower_clamp_is_a_tighter_obligation_and_no_flip(assessed: Assess) -> None:
    tighter = {**TABLES["roles"]["reader"], "max_output_tokens": 500}
    looser = {"permissions": TABLES["roles"]["reader"]["permissions"]}
    for role, after, direction in ((tighter, 500, TIGHTER), (looser, None, LOOSER)):
        report = assessed(BASE, revision(roles(reader=role)), recorded(call(), count=4, tokens=9))
        (change,) = report.obligations
        assert (change.type, change.before, change.after, change.direction) == (
            "clamp_max_tokens",
            1000,
            after,
            direction,
        )
        assert (change.decisions, change.tokens) == (4, 9)
        assert report.flips == ()


def test_an_approval_that_is_newly_asked_for_is_a_tighter_obligation(assessed: Assess) -> None:
    both = '"obligations": array.concat(clamps, [{"type": "require_approval"}]),'
    with_approval = revision(rego=REGO.replace('"obligations": clamps,', both))
    for base, candidate, direction in ((BASE, with_approval, TIGHTER), (with_approval, BASE, LOOSER)):
        (change,) = assessed(base, candidate, recorded(call())).obligations
        assert (change.type, change.direction) == ("require_approval", direction)


def test_limits_are_reported_for_the_principals_they_count(assessed: Assess) -> None:
    candidate = revision({"limits": {"quota": [{"name": "all", "scope": "agent", "tokens_per_day": 10}, {"name": "sales", "scope": "team", "match": {"team": "sales"}, "concurrent_streams": 2}]}})  # fmt: skip
    report = assessed(BASE, candidate, recorded(call()), recorded(call("bob", team="sales")))
    assert [(each.name, each.before, each.after, each.direction, each.principals) for each in report.limits] == [
        ("all-tokens-per-day", 1000, 10, TIGHTER, (ANN[0], BOB[0])),
        ("sales-concurrent-streams", None, 2, TIGHTER, (BOB[0],)),
    ]
    assert report.counts()["limits"] == 3


def test_roles_kept_apart_that_one_principal_comes_to_hold_are_a_new_violation(assessed: Assess) -> None:
    candidate = revision({"bindings": {**TABLES["bindings"], "kind:agent": ["auditor"]}})
    (violation,) = assessed(BASE, candidate, recorded(call()), recorded(call("bob", team="sales"))).violations
    assert (violation.who, violation.duties, violation.roles, violation.new) == (
        ANN,
        "inspection",
        ("auditor", "reader"),
        True,
    )
    (before,) = assessed(candidate, candidate, recorded(call())).violations
    assert not before.new
    assert assessed(candidate, candidate, recorded(call())).counts()["separation_of_duties"] == 0


def test_inputs_that_neither_revision_decides_are_named(assessed: Assess) -> None:
    broken = revision(rego=REGO + '\nobjections contains 7 if input.resource.id == "small-odd"\n')
    report = assessed(broken, broken, recorded(call(model="small-odd"), count=2), recorded(call()))
    (undecided,) = report.undecided
    assert (undecided.who, undecided.resource, undecided.count.decisions) == (ANN, "small-odd", 2)
    assert report.flips == ()
    (flip,) = assessed(BASE, broken, recorded(call(model="small-odd"))).flips
    assert flip.reasons == ("policy_malformed",)


def test_a_base_that_did_not_make_the_recorded_decisions_is_noticed(assessed: Assess) -> None:
    report = assessed(
        BASE, BASE, recorded(call(), count=5, decision="allow"), recorded(call(model="small-x"), decision="deny")
    )
    assert (report.reproduced, report.departing) == (5, 1)


def test_totals_add_up_by_principal_resource_and_rule(assessed: Assess) -> None:
    gone = revision({"bindings": {"team:sales": ["reader"]}})
    report = assessed(
        BASE,
        gone,
        recorded(call(), count=2, tokens=7),
        recorded(call(model="small-x")),
        recorded(call("bob", team="sales")),
    )
    assert [(each.name, each.allow_to_deny, each.deny_to_allow) for each in totals_by(report, "principal")] == [
        (ANN[0], 3, 0),
        (BOB[0], 0, 1),
    ]
    assert [
        (each.name, each.allow_to_deny, each.deny_to_allow, each.tokens) for each in totals_by(report, "resource")
    ] == [("small-chat", 2, 1, 7), ("small-x", 1, 0, 0)]
    assert [(each.name, each.allow_to_deny, each.deny_to_allow) for each in totals_by(report, "rule")] == [
        ("model_not_granted", 3, 1)
    ]


SUBJECTS = ["team:research", "team:sales", "kind:agent", "spiffe://t.test/agent/ann"]
BINDINGS = st.dictionaries(st.sampled_from(SUBJECTS), st.lists(st.sampled_from(["reader", "embedder"]), unique=True))
CALLS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["research", "sales"]),
        st.sampled_from(["model.infer", "model.embed"]),
        st.sampled_from(["small-chat", "large"]),
        st.integers(1, 5),
    ),
    max_size=10,
)


@settings(max_examples=60, deadline=None)
@given(BINDINGS, BINDINGS, CALLS)
def test_the_flips_are_those_that_counting_one_by_one_finds(
    one: dict[str, list[str]], other: dict[str, list[str]], made: list[tuple[str, str, str, str, int]]
) -> None:
    base, candidate = revision({"bindings": one}), revision({"bindings": other})
    expected: dict[tuple[str, str, str, str, str], int] = {}
    calls = []
    for who, team, action, model, count in made:
        document = call(who, team=team, action=action, model=model)
        calls.append(recorded(document, count=count))
        before, after = (
            EmbeddedEngine(each.policies).decide_now(looked_up_anew(each.policies, document, NOW)).allow
            for each in (base, candidate)
        )
        if before != after:
            key = ("allow-to-deny" if before else "deny-to-allow", document["principal"]["id"], team, action, model)
            expected[key] = expected.get(key, 0) + count
    cases = cases_of(calls, (base.policies, candidate.policies))
    report = assess(replay(cases, base.policies, candidate.policies, ReplayOptions(jobs=1)), base, candidate, now=NOW)
    found = {(e.change, e.who[0], e.who[1], e.action, e.resource): e.count.decisions for e in report.flips}
    assert found == expected
    assert report.counts()["recorded"] == sum(count for *_, count in made)
