"""The starter policies in the engine that decides."""

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.rego_tests import run_rego_tests
from tests.unit.authorization.conftest import call


def test_every_rego_test_passes_in_the_embedded_engine(starter: LoadedPolicySet) -> None:
    results = run_rego_tests(starter)
    assert len(results) >= 38
    assert [result for result in results if not result.passed] == []


def test_research_team_may_chat_with_a_clamp(starter: LoadedPolicySet) -> None:
    decision = EmbeddedEngine(starter).decide_now(call())
    assert decision == Decision(True, (), ({"type": "clamp_max_tokens", "max_tokens": 2048},), 300)


def test_hiring_system_is_refused_for_want_of_an_overseer(starter: LoadedPolicySet) -> None:
    document = call(
        principal={"risk_tier": "high"},
        resource={"id": "example-hiring", "system": "hiring", "risk": "high", "data_classes": ["personal"]},
    )
    assert EmbeddedEngine(starter).decide_now(document).reasons == ("oversight_missing",)


def test_scoring_system_is_refused_as_prohibited(starter: LoadedPolicySet) -> None:
    document = call(
        principal={"risk_tier": "high"},
        resource={"id": "example-scoring", "system": "scoring", "risk": "prohibited"},
    )
    assert EmbeddedEngine(starter).decide_now(document).reasons == ("system_prohibited",)


def test_unknown_and_ungranted_model_get_the_same_decision(starter: LoadedPolicySet) -> None:
    engine = EmbeddedEngine(starter)
    unknown = call(resource={"id": "nothing", "system": "", "risk": "", "data_classes": []})
    unknown_but_covered = call(resource={"id": "example-none", "system": "", "risk": "", "data_classes": []})
    ungranted = call(resource={"id": "other", "system": "scoring", "risk": "prohibited"})
    assert (
        engine.decide_now(unknown)
        == engine.decide_now(unknown_but_covered)
        == engine.decide_now(ungranted)
        == Decision(False, ("model_not_granted",), (), 60)
    )


def test_roles_of_the_first_day_are_bound_to_teams(starter: LoadedPolicySet) -> None:
    assert starter.roles_of("spiffe://example.org/a", "research", "agent", now=0) == ("chat-user",)
    assert starter.roles_of("spiffe://example.org/a", "platform", "human", now=0) == ("platform-admin",)
    assert starter.roles_of("spiffe://example.org/a", "other", "agent", now=0) == ()


def test_every_limit_of_the_first_day_is_listed(starter: LoadedPolicySet) -> None:
    assert [(limit["name"], limit["scope"]) for limit in starter.limits()] == [
        ("agent-default", "agent"),
        ("team-default", "team"),
    ]
