"""The obligation: its form, its defaults, and the strictest of several."""

import pickle

import pytest

from gateway.approvals.model import Terms, demanded
from gateway.authorization.decision_form import MalformedDecisionError, parse_decision
from gateway.authorization.delegated import intersection
from gateway.authorization.engine import Decision

ASKED = {"type": "require_approval"}


def decided(*obligations: dict) -> Decision:
    return parse_decision({"allow": True, "reasons": [], "obligations": list(obligations), "cache_seconds": 0})


def test_a_decision_without_it_asks_for_none():
    assert demanded(decided({"type": "clamp_max_tokens", "max_tokens": 5})) is None


@pytest.mark.parametrize(
    ("more", "terms"),
    [
        ({}, Terms(3600, 0, False)),
        ({"valid_seconds": 60, "wait_seconds": 5, "four_eyes": True}, Terms(60, 5, True)),
    ],
)
def test_what_it_leaves_out_has_a_default(more, terms):
    assert demanded(decided({**ASKED, **more})) == terms


def test_of_those_of_several_links_the_strictest_terms_hold():
    links = [decided({**ASKED, "four_eyes": True, "wait_seconds": 9}), decided({**ASKED, "valid_seconds": 60})]
    assert demanded(intersection(links)) == Terms(60, 0, True)


@pytest.mark.parametrize(
    "more",
    [
        {"valid_seconds": 0},
        {"valid_seconds": 604_801},
        {"valid_seconds": True},
        {"valid_seconds": 1.5},
        {"wait_seconds": -1},
        {"wait_seconds": 301},
        {"wait_seconds": "5"},
        {"four_eyes": 1},
        {"approvers": ["ada"]},
    ],
)
def test_another_form_is_a_deny(more):
    with pytest.raises(MalformedDecisionError):
        decided({**ASKED, **more})


def test_a_decision_knows_whether_it_asks_for_an_approval_however_it_came_about():
    asking = decided(ASKED)
    assert asking.needs_approval
    assert intersection([decided(), asking]).needs_approval
    assert not decided({"type": "route_region", "region": "eu"}).needs_approval
    assert pickle.loads(pickle.dumps(asking)).needs_approval  # noqa: S301 - made a moment ago
    assert asking == Decision(allow=True, obligations=(ASKED,))
