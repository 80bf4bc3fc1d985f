"""A chain of delegation may do what each of its links may do: never more than its parent, whatever the policies say."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.authorization.delegated import REGIONS_CONFLICT, intersection
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision
from gateway.authorization.policy_set import LoadedPolicySet

CLAMPS = st.builds(lambda bound: {"type": "clamp_max_tokens", "max_tokens": bound}, st.integers(1, 4096))
ROUTES = st.builds(lambda region: {"type": "route_region", "region": region}, st.sampled_from(["eu", "us"]))
DECISIONS = st.one_of(
    st.builds(
        lambda obligations, seconds: Decision(allow=True, obligations=tuple(obligations), cache_seconds=seconds),
        st.lists(st.one_of(CLAMPS, ROUTES), max_size=3),
        st.integers(0, 300),
    ),
    st.builds(
        lambda reason, seconds: Decision(allow=False, reasons=(reason,), cache_seconds=seconds),
        st.sampled_from(["model_not_granted", "oversight_missing"]),
        st.integers(0, 300),
    ),
)
CHAINS = st.lists(DECISIONS, min_size=1, max_size=4)


def clamp(decision: Decision) -> int:
    bounds = [each["max_tokens"] for each in decision.obligations if each["type"] == "clamp_max_tokens"]
    return min(bounds, default=10_000)


@given(CHAINS, DECISIONS)
def test_a_further_link_never_widens_a_chain(chain, link):
    shorter, longer = intersection(chain), intersection([*chain, link])
    if longer.allow:
        assert shorter.allow
        assert link.allow
        assert clamp(longer) <= min(clamp(shorter), clamp(link))
        assert {str(each) for each in shorter.obligations} <= {str(each) for each in longer.obligations}
    assert longer.cache_seconds <= shorter.cache_seconds


@given(CHAINS)
def test_a_chain_is_allowed_only_if_each_link_is_and_says_why_not(chain):
    decision = intersection(chain)
    regions = {each["region"] for link in chain for each in link.obligations if each["type"] == "route_region"}
    assert decision.allow == (all(link.allow for link in chain) and (len(chain) == 1 or len(regions) < 2))
    if not decision.allow:
        assert decision.reasons
        refused = [link for link in chain if not link.allow]
        assert decision.reasons == (refused[0].reasons if refused else (REGIONS_CONFLICT,))


ROLES = st.lists(
    st.sampled_from(["chat-user", "embedding-user", "platform-admin", "delegate"]), unique=True, max_size=3
)
PRINCIPALS = st.fixed_dictionaries(
    {
        "roles": ROLES.map(sorted),
        "status": st.sampled_from(["active", "suspended"]),
        "risk_tier": st.sampled_from(["minimal", "limited", "high"]),
    }
)
CALLS = st.fixed_dictionaries(
    {
        "action": st.sampled_from(["model.infer", "model.embed"]),
        "resource": st.fixed_dictionaries(
            {
                "id": st.sampled_from(["example-chat", "tiny", "other"]),
                "system": st.sampled_from(["assistant", "hiring", "scoring", ""]),
                "risk": st.sampled_from(["minimal", "limited", "high", "prohibited"]),
            }
        ),
    }
)


def policy_input(principal: dict, call: dict, name: str) -> dict:
    return {
        "principal": {
            "id": f"spiffe://example.org/agent/{name}", "kind": "agent", "team": "t", "owner": "o",
            "delegation": [], "attributes": {}, **principal,
        },
        "action": call["action"],
        "resource": {"type": "model", "region": "", "data_classes": [], **call["resource"]},
        "request": {"protocol": "openai", "stream": False, "max_tokens": 0, "tools": [], "data_classes": []},
        "context": {"region": "local", "environment": "test"},
    }  # fmt: skip


GOOD = {"roles": ["chat-user"], "status": "active", "risk_tier": "limited"}
FINE = {"action": "model.infer", "resource": {"id": "example-chat", "system": "assistant", "risk": "limited"}}
LIKELY_PRINCIPALS = st.one_of(st.just(GOOD), PRINCIPALS)
"""Chains are only worth looking at if many of them are allowed."""


async def test_a_chain_of_those_who_may_is_allowed(starter: LoadedPolicySet):
    engine = EmbeddedEngine(starter)
    decisions = [await engine.decide(policy_input(GOOD, FINE, name)) for name in "abc"]
    assert intersection(decisions).allow


@settings(max_examples=100, deadline=None)
@given(
    parents=st.lists(LIKELY_PRINCIPALS, min_size=1, max_size=3),
    child=LIKELY_PRINCIPALS,
    call=st.one_of(st.just(FINE), CALLS),
)
def test_a_sub_agent_never_holds_more_than_its_parents_under_the_starter_policies(
    starter: LoadedPolicySet, parents, child, call
):
    engine = EmbeddedEngine(starter)

    async def decide() -> list[Decision]:
        people = [*parents, child]
        return [await engine.decide(policy_input(each, call, str(place))) for place, each in enumerate(people)]

    *above, own = asyncio.run(decide())
    chain = intersection([*above, own])
    if chain.allow:
        assert own.allow
        assert all(each.allow for each in above)
        assert clamp(chain) <= min(map(clamp, [*above, own]))
    assert not (chain.allow and any(each["status"] != "active" for each in [*parents, child]))
