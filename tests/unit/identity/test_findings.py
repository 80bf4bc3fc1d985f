"""Findings over the inventory: each at its threshold and not before, and bindings that are tight and no looser."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.entries import Entry
from identity.findings import Permission, Rules, UnknownCaller, find, tighter_binding, unused_permissions
from identity.registry import Agent, Usage

A = "spiffe://home.test/agent/a"
DAY = 86_400
NOW = 1_800_000_000
RULES = Rules()
MAY = (Permission("user", ("model.infer", "model.embed"), ("example-*", "tiny")),)


def agent(**changes):
    given = {
        "id": A, "kind": "agent", "team": "blue", "owner": "kim", "status": "active", "risk_tier": "limited",
        "created_at": NOW - 20 * DAY, "last_seen": NOW, "last_reviewed": NOW - DAY,
    }  # fmt: skip
    return Agent(**{**given, **changes})


def found(*agents, usage=(), permissions=None, **rest):
    return [(each.finding, each.id) for each in find(agents, usage, permissions or {}, NOW, **rest)]


def test_an_identity_in_order_has_no_finding():
    assert found(agent(), owners=["Kim"], usage=[Usage(A, "tiny", "model.infer", 1, NOW)]) == []


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"last_seen": NOW - 30 * DAY, "created_at": NOW - 60 * DAY}, "dormant"),
        ({"last_seen": NOW - 30 * DAY + 1, "created_at": NOW - 60 * DAY}, None),
        ({"last_seen": 0, "created_at": NOW - 30 * DAY}, "dormant"),
        ({"last_seen": 0, "created_at": NOW - 30 * DAY + 1}, None),
        ({"last_seen": 0, "created_at": NOW - 60 * DAY, "status": "suspended"}, None),
        ({"expires_at": NOW + 14 * DAY}, "expiring"),
        ({"expires_at": NOW + 14 * DAY + 1}, None),
        ({"expires_at": NOW - 1}, "expiring"),
        ({"expires_at": NOW - 1, "status": "retired"}, None),
        ({"review_due": NOW}, "unreviewed"),
        ({"review_due": NOW + 1}, None),
        ({"last_reviewed": NOW - 180 * DAY, "created_at": NOW - 300 * DAY}, "unreviewed"),
        ({"last_reviewed": NOW - 180 * DAY + 1, "created_at": NOW - 300 * DAY}, None),
        ({"owner": "gone"}, "orphaned"),
        ({"owner": "gone", "status": "quarantined"}, "orphaned"),
        ({"owner": "gone", "status": "retired"}, None),
    ],
)
def test_each_finding_begins_at_its_threshold(changes, finding):
    assert found(agent(**changes), owners=["kim"]) == ([(finding, A)] if finding else [])


def test_without_a_list_of_owners_nobody_is_an_orphan():
    assert found(agent(owner="gone")) == []
    assert found(agent(owner="gone"), owners=[]) == [("orphaned", A)]


def test_an_entry_that_ends_soon_is_told_with_its_id():
    entry = Entry("e-1", A, "spiffe://home.test/gateway", frozenset({"unix:uid:1"}), expires_at=NOW + DAY)
    (finding,) = find([agent()], [], {}, NOW, entries=[entry])
    assert finding.finding == "expiring"
    assert "e-1 ends in 1 days" in finding.detail


def test_a_caller_that_is_not_registered_is_told_once_with_all_its_calls():
    other = "spiffe://away.test/x"
    findings = find(
        [agent()], [Usage(other, "m", "a", 2, NOW), Usage(A, "m", "a", 2, NOW)], {}, NOW,
        unknown=[UnknownCaller(other, 3, NOW)],
    )  # fmt: skip
    assert [(each.finding, each.id) for each in findings] == [("unknown-caller", other)]
    assert "5 times" in findings[0].detail


def test_what_is_never_used_is_listed_and_a_binding_to_what_is_used_proposed():
    (finding,) = find([agent()], [Usage(A, "example-chat", "model.infer", 9, NOW)], {A: MAY}, NOW)
    assert finding.finding == "over-privileged"
    assert finding.unused == ("model.embed example-*", "model.embed tiny", "model.infer tiny")
    assert finding.proposal == {
        "roles": {
            "agent-a-used": {
                "description": f"What {A} uses.",
                "permissions": [{"actions": ["model.infer"], "resources": ["example-chat"]}],
            }
        },
        "bindings": {A: ["agent-a-used"]},
    }


def test_what_calls_do_not_tell_is_neither_unused_nor_taken_away():
    renew = Permission("renewer", ("identity.renew",), ("/v1/svid",))
    call = Usage(A, "tiny", "model.infer", 1, NOW)
    assert unused_permissions([renew], [call]) == ()
    (role,) = tighter_binding(A, [*MAY, renew], [call])["roles"].values()
    assert {"actions": ["identity.renew"], "resources": ["/v1/svid"]} in role["permissions"]


def test_an_identity_that_is_new_or_silent_is_not_over_privileged():
    usage = [Usage(A, "example-chat", "model.infer", 9, NOW)]
    new = agent(created_at=NOW - RULES.observation + 1)
    assert found(new, usage=usage, permissions={A: MAY}) == []
    assert found(agent(), usage=[], permissions={A: MAY}) == []


actions = st.sampled_from(["model.infer", "model.embed", "tool.call"])
names = st.text("ab-", min_size=1, max_size=3)
patterns = st.text("ab-*", min_size=1, max_size=3)
grants = st.lists(
    st.builds(Permission, st.just("r"), st.tuples(actions), st.lists(patterns, min_size=1, max_size=3).map(tuple)),
    max_size=4,
)
calls = st.lists(st.builds(Usage, st.just(A), names, actions, st.just(1), st.just(NOW)), max_size=5)


def allows(permissions, action, resource):
    return any(
        action in permission.actions and any(fnmatchcase(resource, pattern) for pattern in permission.resources)
        for permission in permissions
    )


@given(grants, calls, actions, names)
def test_a_proposed_binding_allows_every_granted_call_that_was_made_and_nothing_else(granted, made, action, resource):
    role = next(iter(tighter_binding(A, granted, made)["roles"].values()))
    proposed = [Permission("p", tuple(p["actions"]), tuple(p["resources"])) for p in role["permissions"]]
    was_made = any((call.action, call.resource) == (action, resource) for call in made)
    assert allows(proposed, action, resource) == (was_made and allows(granted, action, resource))


@given(grants, calls)
def test_a_permission_is_unused_if_no_call_needed_it(granted, made):
    plain = {
        f"{action} {pattern}"
        for permission in granted
        for action in permission.actions
        for pattern in permission.resources
        if not any(call.action == action and fnmatchcase(call.resource, pattern) for call in made)
    }
    assert unused_permissions(granted, made) == tuple(sorted(plain))
