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
    assert chain_of(chain[0], act_claim(chain), "example.org") == chain


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
        chain_of(A, claims, "example.org")
    assert caught.value.rule == rule


AWAY, AWAY_TOO = "spiffe://away.test/agent/a", "spiffe://away.test/agent/b"


@pytest.mark.parametrize(
    "chain", [(AWAY, A), (AWAY, A, AWAY_TOO), (AWAY, AWAY_TOO, A), (AWAY, "spiffe://third.test/agent/a")]
)
def test_another_trust_domain_does_not_say_who_of_ours_acts(chain):
    with pytest.raises(SvidError) as caught:
        chain_of(chain[0], act_claim(chain), "example.org")
    assert caught.value.rule == "delegation-foreign"


@pytest.mark.parametrize("chain", [(AWAY,), (AWAY, AWAY_TOO), (A, AWAY), (A, AWAY, B)])
def test_a_trust_domain_vouches_for_its_members_and_ours_for_whom_it_exchanged_a_token(chain):
    assert chain_of(chain[0], act_claim(chain), "example.org") == chain


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | IDS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["sub", "act", "iss"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_the_claim_is_the_answer_is_a_chain_without_repetition_or_a_refusal(act):
    try:
        chain = chain_of(A, {"act": act}, "example.org")
    except SvidError:
        return
    assert chain[0] == A
    assert len(set(chain)) == len(chain) <= LONGEST + 1
    assert act_claim(chain) == ({} if act is None else {"act": _without_none(act)})


def _without_none(act):
    """`act: null` says the same as no `act`."""
    inner = act.get("act")
    return {"sub": act["sub"]} if inner is None else {"sub": act["sub"], "act": _without_none(inner)}
