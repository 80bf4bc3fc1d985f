"""Explanations and suggestions: what is suggested allows the call, and nothing less does."""

from itertools import combinations
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_set
from gateway.policyreview.candidates import candidates
from gateway.policyreview.explain import bounds, explain, explain_call
from gateway.policyreview.suggestions import Trial, suggestions
from gateway.starter import starter_policies
from tests.unit.authorization.conftest import call
from tests.unit.policyreview.conftest import REGO, TABLES, revision


@pytest.fixture(scope="module")
def policies() -> LoadedPolicySet:
    return load_policy_set(starter_policies())


DENIALS = {
    "no role": (call(principal={"roles": []}), "bind the role chat-user to the agent or its team"),
    "not active": (call(principal={"status": "suspended"}), "have the agent activated"),
    "risk tier": (call(principal={"risk_tier": "minimal"}), "register the agent for the risk tier limited"),
    "class of data": (
        call(request={"data_classes": ["nonsense"]}),
        "leave data of the class nonsense out of the request",
    ),
    "region": (
        call(resource={"region": "us"}, request={"data_classes": ["personal"]}),
        "serve the model in the region eu-west",
    ),
    "separated duties": (call(principal={"roles": ["chat-user", "platform-admin"]}), "take the role platform-admin"),
}


@pytest.mark.parametrize("case", DENIALS)
def test_the_obvious_change_is_among_the_suggestions(policies, case):
    document, expected = DENIALS[case]
    explained = explain_call(policies, [document])
    assert not explained.decision.allow
    assert any(len(each) == 1 and each[0].startswith(expected) for each in explained.changes), explained.changes


@pytest.mark.parametrize("case", DENIALS)
def test_what_is_suggested_allows_and_no_part_of_it_does(policies, case):
    document, _ = DENIALS[case]
    by_text = {each.text: each for each in candidates(policies, [document])}
    trial = Trial(policies, [document])

    def allowed(texts: tuple[str, ...]) -> bool:
        return trial.allows([by_text[text] for text in texts])

    found = suggestions(policies, [document])
    assert found
    for each in found:
        assert allowed(each)
        parts = [part for size in range(len(each)) for part in combinations(each, size)]
        assert not any(allowed(part) for part in parts)


def test_two_things_that_are_wrong_need_two_changes(policies):
    found = suggestions(policies, [call(principal={"roles": [], "status": "suspended"})])
    assert ("have the agent activated", "bind the role chat-user to the agent or its team") in found
    assert all(len(each) == 2 for each in found)


def test_a_high_risk_system_without_overseer_needs_what_the_law_asks_for(policies):
    hiring = policies.system("hiring")
    document = call(
        principal={"risk_tier": "high"},
        resource={
            "system": "hiring",
            "risk": hiring.risk,
            "data_classes": list(hiring.data_classes),
            "region": "local",
        },
    )
    explained = explain_call(policies, [document])
    assert "oversight_missing" in [each.code for each in explained.reasons]
    assert all(each.places for each in explained.reasons), explained.reasons
    assert any("overseer" in " ".join(each) for each in explained.changes)


def test_a_prohibited_practice_has_no_way(policies):
    scoring = policies.system("scoring")
    document = call(resource={"system": "scoring", "risk": scoring.risk, "data_classes": list(scoring.data_classes)})
    explained = explain_call(policies, [document])
    assert "system_prohibited" in [each.code for each in explained.reasons]
    assert explained.changes == ()


def test_an_allowed_call_says_which_permission_grants_it_and_suggests_nothing(policies):
    explained = explain_call(policies, [call()])
    assert explained.decision.allow
    assert explained.changes == ()
    (role,) = explained.links[0].roles
    assert "model.infer on example-*" in role.grants


def test_roles_that_do_not_cover_the_call_say_what_they_cover(policies):
    explained = explain(policies, call(resource={"id": "other"}, principal={"roles": ["chat-user", "gone"]}))
    named = {role.name: role for role in explained.roles}
    assert named["chat-user"].grants == ()
    assert "only on tiny, example-*" in named["chat-user"].misses[0]
    assert "do not know" in named["gone"].misses[0]


def test_nothing_that_was_asked_is_changed(policies):
    document = call(principal={"roles": []})
    before: Any = orjson.loads(orjson.dumps(document))
    data = policies.data_json
    suggestions(policies, [document])
    assert document == before
    assert policies.data_json == data
    assert not EmbeddedEngine(policies).decide_now(document).allow


def test_a_prohibited_practice_is_not_answered_with_another_model(policies):
    scoring = policies.system("scoring")
    document = call(resource={"system": "scoring", "risk": scoring.risk, "data_classes": list(scoring.data_classes)})
    explained = explain_call(policies, [document], [call()["resource"]])
    assert explained.prohibited
    assert explained.changes == ()


def test_another_model_that_would_do_is_suggested(policies):
    document = call(resource={"id": "large"})
    others = [{**call()["resource"], "id": name} for name in ("large", "example-chat", "unknown")]
    found = explain_call(policies, [document], others).changes
    assert ("use the model example-chat instead",) in found
    assert not any("unknown" in text or "large" in text for each in found for text in each)


def test_each_code_is_placed_at_the_definition_that_gave_it(policies):
    lines = {
        file: (starter_policies() / "govgateway" / "authz" / file).read_text().splitlines()
        for file in ("high_risk.rego", "risk.rego", "decision.rego", "agent.rego")
    }

    def line(file: str, start: str) -> str:
        return f"govgateway/authz/{file}:{1 + next(i for i, each in enumerate(lines[file]) if each.startswith(start))}"

    hiring = policies.system("hiring")
    resource = {"system": "hiring", "risk": hiring.risk, "data_classes": list(hiring.data_classes), "region": "local"}
    document = call(principal={"status": "suspended"}, resource=resource)
    places = {each.code: each.places for each in explain(policies, document).reasons}
    assert places == {
        "agent_not_active": (line("agent.rego", 'objections contains "agent_not_active"'),),
        "oversight_missing": (line("high_risk.rego", 'lacking contains "oversight_missing"'),),
        "risk_tier_exceeded": (line("risk.rego", 'objections contains "risk_tier_exceeded"'),),
    }
    (model,) = explain(policies, call(principal={"roles": []})).reasons
    assert model.places == (line("decision.rego", 'not_granted := "model_not_granted"'),)
    (other,) = explain(policies, call(action="object.read")).reasons
    assert other.places == (line("decision.rego", "default not_granted"),)


SEVERAL = (
    REGO
    + """
objections contains "twice" if input.resource.id == "small-a"

objections contains "twice" if {
	input.action == "model.infer"
	input.context.region == "nowhere"
}

objections contains "twice" if {
	startswith(input.resource.id, "small-")
	input.request.stream
}

objections contains code if some code in told

told contains data.govgateway.told[input.resource.id]
"""
)


def test_of_several_definitions_of_one_code_those_that_gave_it_are_named():
    tables = {"told": {"small-b": "from_data"}, "reasons": {**TABLES["reasons"], "twice": {"message": "No."}}}
    policies = revision(tables, SEVERAL).policies
    first = SEVERAL[: SEVERAL.index('objections contains "twice"')].count("\n") + 1

    def places(**changes: Any) -> dict[str, tuple[str, ...]]:
        document = call(principal={"roles": ["reader"]}, **changes)
        return {each.code: each.places for each in explain(policies, document).reasons}

    file = "govgateway/authz/decision.rego"
    assert places(resource={"id": "small-a"}) == {"twice": (f"{file}:{first}",)}
    assert places(resource={"id": "small-c"}, request={"stream": True}) == {"twice": (f"{file}:{first + 7}",)}
    both = places(resource={"id": "small-a"}, request={"stream": True})
    assert both == {"twice": (f"{file}:{first}", f"{file}:{first + 7}")}
    # A code that comes from the data stands nowhere as a text: what passes it on is named.
    assert places(resource={"id": "small-b"}) == {"from_data": (f"{file}:{first + 12}", f"{file}:{first + 14}")}


def test_the_data_that_mattered_are_named(policies):
    explained = explain(policies, call(request={"data_classes": ["personal", "nonsense"]}, resource={"region": "us"}))
    assert explained.system is not None
    assert explained.system["risk"] == "limited"
    assert explained.data_classes["nonsense"] is None
    assert dict(bounds(explained)) == {"data personal": ("local", "eu-central", "eu-west")}


def test_each_link_of_a_chain_is_explained_and_the_chain_as_a_whole(policies):
    explained = explain_call(policies, [call(), call(principal={"status": "suspended"})])
    assert [each.decision.allow for each in explained.links] == [True, False]
    assert [each.code for each in explained.reasons] == ["agent_not_active"]
    assert explained.reasons[0].places


def test_links_that_exclude_each_other_are_explained_though_each_alone_is_allowed(policies):
    east = call(request={"data_classes": ["personal"]}, context={"region": "eu-west"})
    west = call(request={"data_classes": ["personal"]}, context={"region": "eu-central"})
    explained = explain_call(policies, [east, west])
    assert all(each.decision.allow for each in explained.links)
    assert [each.code for each in explained.reasons] == ["delegation_regions_conflict"]
    assert explained.reasons[0].message == policies.reason("delegation_regions_conflict").message


def test_a_role_that_may_not_be_held_beside_another_is_not_suggested_even_where_no_rule_says_so():
    kept_apart = revision({"roles": {**TABLES["roles"], "auditor": TABLES["roles"]["reader"]}}).policies
    document = call(principal={"roles": ["auditor"]}, action="model.embed", resource={"id": "small-a"})
    found = suggestions(kept_apart, [document])
    assert found == [("bind the role embedder to the agent or its team",)]
    reader = call(principal={"roles": ["reader"]}, action="object.read", resource={"id": "x"})
    assert ("bind the role auditor to the agent or its team",) not in suggestions(revision().policies, [reader])


def test_a_role_that_is_only_granted_for_a_time_is_suggested_as_that(policies):
    document = call(
        principal={"kind": "human", "roles": []}, action="admin.policy.rollback", resource={"type": "control-plane"}
    )
    assert ("grant the role emergency-admin to the agent for a time, at most 1 day",) in suggestions(
        policies, [document]
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pending", [("have the agent activated",)]),
        ("suspended", [("have the agent activated",)]),
        ("quarantined", [("have the agent taken out of quarantine and activated",)]),
        ("retired", []),
    ],
)
def test_an_agent_is_only_to_be_activated_as_the_inventory_lets_it(policies, status, expected):
    assert suggestions(policies, [call(principal={"status": status})]) == expected


def link(name: str, **principal: Any) -> dict[str, Any]:
    return call(principal={"id": f"spiffe://gateway.test/agent/{name}", **principal})


def test_what_is_suggested_for_a_chain_allows_every_link_of_it(policies):
    chain = [link("caller", status="suspended"), link("behind", roles=[])]
    found = explain_call(policies, chain).changes
    assert (
        "for spiffe://gateway.test/agent/caller: have the agent activated",
        "for spiffe://gateway.test/agent/behind: bind the role chat-user to the agent or its team",
    ) in found
    by_text = {each.text: each for each in candidates(policies, chain)}
    trial = Trial(policies, chain)
    for each in found:
        assert len(each) == 2
        assert trial.allows([by_text[text] for text in each])
        assert not any(trial.allows([by_text[text]]) for text in each)


def test_a_change_of_one_principal_is_made_in_every_link_that_it_has(policies):
    chain = [link("caller", status="suspended"), link("behind"), link("caller", status="suspended")]
    found = explain_call(policies, chain).changes
    assert found == (("for spiffe://gateway.test/agent/caller: have the agent activated",),)


def test_another_model_is_suggested_for_a_chain_only_if_every_link_may_use_it(policies):
    other = [call()["resource"]]
    chain = [link("caller"), link("behind")]
    for each in chain:
        each["resource"] = {**each["resource"], "id": "large"}
    assert ("use the model example-chat instead",) in explain_call(policies, chain, other).changes
    chain[1]["principal"]["roles"] = []
    found = explain_call(policies, chain, other).changes
    assert ("use the model example-chat instead",) not in found
    assert any("use the model example-chat instead" in each and len(each) == 2 for each in found)


def test_more_links_that_need_a_change_than_are_combined_have_no_suggestion(policies):
    chain = [link(name, status="suspended") for name in "abc"]
    assert explain_call(policies, chain).changes == ()


def test_in_a_long_chain_what_is_refused_at_its_end_is_still_found(policies):
    chain = [link(f"a{number}") for number in range(64)]
    chain[62]["principal"]["status"] = "suspended"
    chain[63]["principal"]["roles"] = []
    found = explain_call(policies, chain).changes
    named = "for spiffe://gateway.test/agent/"
    assert (
        f"{named}a62: have the agent activated",
        f"{named}a63: bind the role chat-user to the agent or its team",
    ) in found


def test_links_that_exclude_each_other_are_reconciled_by_one_region(policies):
    chain = [
        call(request={"data_classes": ["personal"]}, context={"region": "eu-west"}),
        call(request={"data_classes": ["personal"]}, context={"region": "eu-central"}),
    ]
    found = explain_call(policies, chain).changes
    assert ("serve the model in the region eu-west",) in found
    assert ("leave data of the class personal out of the request",) in found


ROLES = st.lists(st.sampled_from(["chat-user", "embedding-user", "platform-admin", "policy-author"]), unique=True)
CLASSES = st.lists(st.sampled_from(["internal", "personal", "special-category", "nonsense"]), unique=True, max_size=2)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    roles=ROLES,
    classes=CLASSES,
    status=st.sampled_from(["active", "suspended", "pending"]),
    tier=st.sampled_from(["minimal", "limited", "high"]),
    system=st.sampled_from(["assistant", "hiring", "scoring", ""]),
    region=st.sampled_from(["", "local", "us"]),
    action=st.sampled_from(["model.infer", "model.embed", "object.read", "admin.status.read"]),
    name=st.sampled_from(["example-chat", "tiny", "other"]),
)
def test_whatever_is_asked_suggestions_allow_and_are_as_small_as_can_be(
    policies, roles, classes, status, tier, system, region, action, name
):
    registered = policies.system(system)
    document = call(
        principal={"roles": sorted(roles), "status": status, "risk_tier": tier},
        action=action,
        resource={
            "id": name,
            "system": system,
            "risk": registered.risk if registered else "",
            "data_classes": list(registered.data_classes) if registered else [],
            "region": region,
        },
        request={"data_classes": classes},
    )
    explained = explain_call(policies, [document], [call()["resource"]])
    for reason in explained.reasons:
        assert reason.places, reason
        for place in reason.places:
            file, _, number = place.rpartition(":")
            assert f'"{reason.code}"' in (starter_policies() / file).read_text().splitlines()[int(number) - 1]
    if explained.decision.allow or explained.prohibited:
        assert explained.changes == ()
        return
    by_text = {each.text: each for each in candidates(policies, [document], [call()["resource"]])}
    trial = Trial(policies, [document])
    for each in explained.changes:
        assert trial.allows([by_text[text] for text in each])
        for size in range(len(each)):
            assert not any(trial.allows([by_text[text] for text in part]) for part in combinations(each, size))
    if not explained.changes:
        assert not any(trial.allows([each]) for each in by_text.values())
