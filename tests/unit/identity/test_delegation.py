"""Chains of delegation in a token's claims."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.delegation import LONGEST, act_claim, chain_of, extend
from identity.errors import SvidError

IDS = st.integers(0, 30).map(lambda number: f"spiffe://example.org/agent/{number}")
CHAINS = st.lists(IDS, min_size=1, max_size=6, unique=True).map(tuple)
A, B, C = (f"spiffe://example.org/agent/{name}" for name in "abc")


@given(CHAINS)
def test_a_chain_survives_its_claims(chain):
    assert chain_of(chain[0], act_claim(chain)) == chain


@given(CHAINS, IDS, st.integers(1, 8))
def test_a_chain_grows_by_one_at_its_end_or_not_at_all(chain, actor, depth):
    rule = "delegation-cycle" if actor in chain else "delegation-too-deep" if len(chain) > depth else ""
    if rule:
        with pytest.raises(SvidError) as caught:
            extend(chain, actor, depth)
        assert caught.value.rule == rule
        return
    longer = extend(chain, actor, depth)
    assert longer == (*chain, actor)
    assert len(longer) - 1 <= depth
    assert len(set(longer)) == len(longer)


def test_the_outermost_actor_is_the_one_who_acts_now():
    assert act_claim((A, B, C)) == {"act": {"sub": C, "act": {"sub": B}}}
    assert act_claim((A,)) == {}


def deep(levels: int) -> dict:
    act: dict = {"sub": "spiffe://example.org/agent/0"}
    for number in range(1, levels):
        act = {"sub": f"spiffe://example.org/agent/{number}", "act": act}
    return {"act": act}


@pytest.mark.parametrize(
    ("claims", "rule"),
    [
        ({"act": "somebody"}, "delegation-malformed"),
        ({"act": []}, "delegation-malformed"),
        ({"act": {}}, "delegation-malformed"),
        ({"act": {"sub": 7}}, "delegation-malformed"),
        ({"act": {"sub": "nobody"}}, "delegation-malformed"),
        ({"act": {"sub": "spiffe://example.org"}}, "delegation-malformed"),
        ({"act": {"sub": B, "iss": "x"}}, "delegation-malformed"),
        ({"act": {"sub": B, "act": {"sub": C, "act": "x"}}}, "delegation-malformed"),
        ({"act": {"sub": A}}, "delegation-cycle"),
        ({"act": {"sub": B, "act": {"sub": B}}}, "delegation-cycle"),
        (deep(LONGEST + 1), "delegation-too-deep"),
        (deep(900), "delegation-too-deep"),
    ],
)
def test_claims_that_are_no_chain_are_refused_by_their_rule(claims, rule):
    with pytest.raises(SvidError) as caught:
        chain_of(A, claims)
    assert caught.value.rule == rule
