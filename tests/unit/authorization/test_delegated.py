"""A chain of delegation may do what each of its links may do: never more than its parent, whatever the policies say."""

import asyncio
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.authorization.delegated import REGIONS_CONFLICT, intersection
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision
from gateway.authorization.input import model_input
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_set
from gateway.protocols.base import Call

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


# tables of any content


@dataclass(frozen=True)
class Agent:
    """An agent as the policies see one."""

    id: str
    team: str
    risk_tier: str
    status: str = "active"
    kind: str = "agent"
    owner: str = "ada@example.org"
    attributes: dict = field(default_factory=dict)


AGENTS = [f"spiffe://example.org/agent/{name}" for name in "abcde"]
TEAMS = ["red", "blue"]
ROLE_NAMES = ["reader", "writer", "indexer"]
SYSTEM_NAMES = ["assistant", "scoring"]
REGIONS = ["local", "eu", "us"]
BOUND = st.integers(1, 5000)
SOME_REGIONS = st.lists(st.sampled_from(REGIONS), min_size=1, unique=True)
ACTIONS = ["model.infer", "model.embed", "model.list"]
"""The tables below mostly allow: chains that are refused at their first link show nothing."""

PERMISSION = st.fixed_dictionaries(
    {
        "actions": st.sampled_from([ACTIONS, ACTIONS, ACTIONS[:1], ACTIONS[1:]]),
        "resources": st.sampled_from([["*"], ["*"], ["example-*"], ["example-chat"], ["tiny"]]),
    }
)
PERMISSIONS = st.lists(PERMISSION, min_size=1, max_size=2)
BOUNDED = st.fixed_dictionaries({"permissions": PERMISSIONS, "max_output_tokens": BOUND})
UNBOUNDED = st.fixed_dictionaries({"permissions": PERMISSIONS})
ROLE_TABLES = st.fixed_dictionaries({"reader": BOUNDED, "writer": BOUNDED, "indexer": UNBOUNDED})
SOME_ROLES = st.lists(st.sampled_from(ROLE_NAMES), min_size=1, unique=True)
BINDINGS = st.fixed_dictionaries(
    {f"team:{team}": SOME_ROLES for team in TEAMS},
    optional=dict.fromkeys([*AGENTS, "kind:agent"], SOME_ROLES),
)
SYSTEM_TABLES = st.fixed_dictionaries(
    {
        name: st.fixed_dictionaries(
            {
                "risk": st.sampled_from(["minimal", "minimal", "limited", "limited", "high", "prohibited"]),
                "data_classes": st.lists(st.sampled_from(["public", "internal", "personal"]), unique=True),
                "oversight": st.sampled_from([{"overseers": ["ada"]}, {"overseers": ["ada"]}, {"overseers": []}]),
                "instructions_for_use": st.just("IFU-1"),
            },
            optional={"regions": SOME_REGIONS, "max_output_tokens": BOUND},
        )
        for name in SYSTEM_NAMES
    }
)
PEOPLE = st.permutations(AGENTS).flatmap(
    lambda ids: st.tuples(
        *(
            st.builds(
                Agent,
                id=st.just(each),
                team=st.sampled_from(TEAMS),
                risk_tier=st.sampled_from(["high", "limited", "high", "limited", "minimal"]),
                status=st.sampled_from(["active"] * 9 + ["suspended"]),
            )
            for each in ids[:4]
        )
    )
)
MODEL_CALLS = st.builds(
    lambda action, model, stream: Call("openai", "x", action, "model", model, "/x", stream=stream),
    st.sampled_from(["model.infer", "model.infer", "model.embed"]),
    st.sampled_from(["example-chat", "tiny"]),
    st.booleans(),
)


def policies_with(starter_directory: Path, **tables: dict) -> LoadedPolicySet:
    """Load the starter policies with other tables."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(shutil.copytree(starter_directory, Path(directory, "policies")))
        for test in copy.rglob("*_test.rego"):
            test.unlink()
        # Of the roles of the starter tables, none may be left.
        for name, table in {"separation": {}, **tables}.items():
            (copy / "govgateway" / name / "data.yaml").write_text(json.dumps(table))
        return load_policy_set(copy)


@settings(max_examples=60, deadline=None)
@given(
    roles=ROLE_TABLES,
    bindings=BINDINGS,
    systems=SYSTEM_TABLES,
    people=PEOPLE,
    call=MODEL_CALLS,
    system=st.sampled_from(SYSTEM_NAMES),
    region=st.sampled_from(["", "", "local", "eu", "us"]),
)
def test_whatever_the_tables_say_a_longer_chain_may_do_no_more_and_just_what_all_its_links_may(
    starter_directory: Path, roles, bindings, systems, people, call, system, region
):
    policies = policies_with(starter_directory, roles=roles, bindings=bindings, systems=systems)
    engine = EmbeddedEngine(policies)

    def decided(agent: Agent, delegation: list[str]) -> Decision:
        own = policies.roles_of(agent.id, agent.team, agent.kind, now=0)
        called = model_input(agent, own, call, policies.system(system), region, "local", "test", delegation)
        return asyncio.run(engine.decide(called))

    def chain(links: tuple[Agent, ...]) -> tuple[Decision, list[Decision]]:
        """Decide as the pipeline does: the one who acts first, then those before it, each with those before them."""
        ids = [link.id for link in links]
        *above, acting = [decided(link, ids[:place]) for place, link in enumerate(links)]
        return intersection([acting, *above]), [acting, *above]

    shorter, _ = chain(people[:1])
    for length in range(2, len(people) + 1):
        longer, each = chain(people[:length])
        alone = [decided(link, []) for link in people[:length]]
        assert longer.allow == all(decision.allow for decision in each) == all(decision.allow for decision in alone)
        if longer.allow:
            assert shorter.allow
            assert clamp(longer) == min(map(clamp, alone)) <= clamp(shorter)
            assert {str(wanted) for wanted in shorter.obligations} <= {str(wanted) for wanted in longer.obligations}
        else:
            assert longer.reasons
        shorter = longer
