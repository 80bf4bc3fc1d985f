"""The starter policies in the engine that decides."""

from pathlib import Path

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision
from gateway.authorization.policy_data_base import seconds_of
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_set
from gateway.authorization.reason_codes import reason_codes
from gateway.authorization.rego_tests import run_rego_tests
from tests.unit.authorization.conftest import call


def test_every_rego_test_passes_in_the_embedded_engine(starter: LoadedPolicySet) -> None:
    results = run_rego_tests(starter)
    assert len(results) >= 60
    assert [result for result in results if not result.passed] == []


def test_research_team_may_chat_with_a_clamp(starter: LoadedPolicySet) -> None:
    decision = EmbeddedEngine(starter).decide_now(call())
    bound, notice = {"type": "clamp_max_tokens", "max_tokens": 2048}, {"type": "watermark_notice"}
    assert decision == Decision(True, (), (bound, notice), 300)


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
    assert starter.roles_of("spiffe://example.org/a", "platform", "human", now=0) == (
        "platform-admin",
        "policy-approver",
    )
    assert starter.roles_of("spiffe://example.org/a", "other", "agent", now=0) == ()


def test_one_administrator_of_the_first_day_may_reload_and_activate(starter: LoadedPolicySet) -> None:
    engine = EmbeddedEngine(starter)
    roles = list(starter.roles_of("spiffe://example.org/operator/ada", "platform", "human", now=0))
    plane = {"type": "control-plane", "id": "/v1/policy", "system": "", "risk": "", "data_classes": []}
    for action in ("admin.config.reload", "admin.policy.read", "admin.policy.activate", "admin.policy.rollback"):
        document = call(principal={"kind": "human", "roles": roles}, action=action, resource=plane)
        assert engine.decide_now(document) == Decision(True, (), (), 300)
    machine = call(principal={"roles": roles}, action="admin.policy.activate", resource=plane)
    assert engine.decide_now(machine).reasons == ("action_not_granted",)


def test_break_glass_grant_is_named_in_the_decision_while_it_lasts(starter_copy: Path) -> None:
    ada = "spiffe://example.org/operator/ada"
    (starter_copy / "govgateway/bindings/data.yaml").write_text(
        f"{ada}: [{{role: emergency-admin, not_before: '2026-11-23T18:00:00Z', not_after: '2026-11-24T06:00:00Z', "
        "reason: outage, approved_by: grace@example.org, break_glass: true}]\n"
    )
    policies = load_policy_set(starter_copy)
    engine = EmbeddedEngine(policies)
    plane = {"type": "control-plane", "id": "/v1/agents", "system": "", "risk": "", "data_classes": []}
    decided = {}
    for name, time in {"during": "2026-11-24T05:59:59Z", "after": "2026-11-24T06:00:00Z"}.items():
        now = seconds_of(time)
        held = {
            "roles": list(policies.roles_of(ada, "", "human", now=now)),
            "break_glass": list(policies.break_glass_of(ada, "", "human", now=now)),
        }
        document = call(principal={"kind": "human", **held}, action="admin.agent.write", resource=plane)
        decided[name] = engine.decide_now(document)
    assert decided["during"] == Decision(True, ("break_glass",), (), 10)
    assert decided["after"] == Decision(False, ("action_not_granted",), (), 60)


def test_pairs_that_are_kept_apart_are_refused_at_run_time(starter: LoadedPolicySet) -> None:
    engine = EmbeddedEngine(starter)
    plane = {"type": "control-plane", "id": "/v1/policy", "system": "", "risk": "", "data_classes": []}
    for duties in starter.tables.separation.duties:
        action = starter.tables.roles[duties.roles[-1]].permissions[0].actions[0]
        document = call(principal={"kind": "human", "roles": sorted(duties.roles)}, action=action, resource=plane)
        assert engine.decide_now(document).reasons == ("duties_not_separated",)


def test_every_reason_that_the_rules_can_give_is_explained_with_a_remedy(starter: LoadedPolicySet) -> None:
    codes = reason_codes(starter)
    assert {"break_glass", "default_deny", "duties_not_separated", "fria_missing", "model_not_granted"} <= codes
    explained = starter.tables.reasons
    of_the_gateway = {"delegation_regions_conflict", "policy_malformed"}
    assert set(explained) == codes | of_the_gateway
    assert [code for code, entry in explained.items() if not entry.remedy] == []


def test_rule_without_an_explanation_is_found(starter_copy: Path) -> None:
    (starter_copy / "govgateway/authz/extra.rego").write_text(
        'package govgateway.authz\n\nobjections contains "no_streams_here" if input.request.stream\n'
    )
    policies = load_policy_set(starter_copy)
    assert reason_codes(policies) - set(policies.tables.reasons) == {"no_streams_here"}


def test_every_limit_of_the_first_day_is_listed(starter: LoadedPolicySet) -> None:
    assert [(limit["name"], limit["scope"]) for limit in starter.limits()] == [
        ("agent-default", "agent"),
        ("team-default", "team"),
    ]
