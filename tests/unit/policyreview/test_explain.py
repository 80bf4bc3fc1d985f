"""Explanations and suggestions: what is suggested allows the call, and nothing less does."""

from itertools import combinations
from typing import Any

import orjson
import pytest

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_set
from gateway.policyreview import suggestions as module
from gateway.policyreview.explain import explain
from gateway.policyreview.suggestions import suggestions
from gateway.starter import starter_policies
from tests.unit.authorization.conftest import call


@pytest.fixture(scope="module")
def policies() -> LoadedPolicySet:
    return load_policy_set(starter_policies())


DENIALS = {
    "no role": (call(principal={"roles": []}), "bind the role chat-user to the agent or its team"),
    "not active": (call(principal={"status": "suspended"}), "have the agent activated"),
    "risk tier": (call(principal={"risk_tier": "minimal"}), "register the agent for the risk tier limited"),
    "class of data": (call(request={"data_classes": ["nonsense"]}), "leave out data of the class nonsense"),
    "region": (
        call(resource={"region": "us"}, request={"data_classes": ["personal"]}),
        "serve the model in the region eu-west",
    ),
    "separated duties": (call(principal={"roles": ["chat-user", "platform-admin"]}), "take the role platform-admin"),
}


@pytest.mark.parametrize("case", DENIALS)
def test_the_obvious_change_is_among_the_suggestions(policies, case):
    document, expected = DENIALS[case]
    explained = explain(policies, document)
    assert not explained.decision.allow
    assert any(len(each) == 1 and each[0].startswith(expected) for each in explained.changes), explained.changes


@pytest.mark.parametrize("case", DENIALS)
def test_what_is_suggested_allows_and_no_part_of_it_does(policies, case):
    document, _ = DENIALS[case]
    by_text = {each.text: each for each in module._candidates(policies, document)}

    def allowed(texts: tuple[str, ...]) -> bool:
        return module._allows(policies, document, [by_text[text] for text in texts], tuple(range(len(texts))), {})

    found = suggestions(policies, document)
    assert found
    for each in found:
        assert allowed(each)
        parts = [part for size in range(len(each)) for part in combinations(each, size)]
        assert not any(allowed(part) for part in parts)


def test_two_things_that_are_wrong_need_two_changes(policies):
    found = suggestions(policies, call(principal={"roles": [], "status": "suspended"}))
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
    explained = explain(policies, document)
    assert "oversight_missing" in [each.code for each in explained.reasons]
    assert all(each.place.startswith("govgateway/authz/") for each in explained.reasons), explained.reasons
    assert any("overseer" in " ".join(each) for each in explained.changes)


def test_a_prohibited_practice_has_no_way(policies):
    scoring = policies.system("scoring")
    document = call(resource={"system": "scoring", "risk": scoring.risk, "data_classes": list(scoring.data_classes)})
    explained = explain(policies, document)
    assert "system_prohibited" in [each.code for each in explained.reasons]
    assert explained.changes == ()


def test_an_allowed_call_says_which_permission_grants_it_and_suggests_nothing(policies):
    explained = explain(policies, call())
    assert explained.decision.allow
    assert explained.changes == ()
    (role,) = explained.roles
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
    suggestions(policies, document)
    assert document == before
    assert policies.data_json == data
    assert not EmbeddedEngine(policies).decide_now(document).allow
