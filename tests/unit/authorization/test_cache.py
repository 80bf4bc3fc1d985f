"""The decision cache: bounded, exact, and never different from a fresh decision."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.authorization.cache import CachingEngine, DecisionCache, Revision
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision, PolicyInput
from gateway.authorization.input_paths import WHOLE_INPUT, InputPaths
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_set
from gateway.authorization.rego import Module
from gateway.clock import NANOSECONDS
from tests.unit.authorization.conftest import WritePolicies, call


class Clock:
    def __init__(self) -> None:
        self.now = 1_000 * NANOSECONDS

    def __call__(self) -> int:
        return self.now


class Counting:
    """An engine that counts, and allows for `seconds`."""

    def __init__(self, seconds: int) -> None:
        self.asked = 0
        self.seconds = seconds

    async def decide(self, policy_input: PolicyInput) -> Decision:
        self.asked += 1
        return Decision(True, (), (), self.seconds)


READS_ALL = "package govgateway.authz\ndecision := input\n"


class Policies:
    def __init__(self, revision: str = "r1", data_digest: str = "d1", rules: str = READS_ALL) -> None:
        self.revision = revision
        self.data_digest = data_digest
        self.modules = (Module("a.rego", rules),)
        self.tests: tuple[Module, ...] = ()


def caching(
    engine: Any, clock: Clock, cache: DecisionCache | None = None, policies: Revision | None = None
) -> CachingEngine:
    return CachingEngine(engine, DecisionCache(10) if cache is None else cache, clock, policies or Policies())


async def test_decision_is_reused_until_its_time_is_over() -> None:
    clock, engine = Clock(), Counting(60)
    cached = caching(engine, clock)
    await cached.decide(call())
    clock.now += 60 * NANOSECONDS - 1
    await cached.decide(call())
    assert engine.asked == 1
    clock.now += 1
    await cached.decide(call())
    assert engine.asked == 2
    assert (cached.cache.hits, cached.cache.misses) == (1, 2)


async def test_clock_set_back_does_not_lengthen_a_decisions_life() -> None:
    clock, engine = Clock(), Counting(60)
    cached = caching(engine, clock)
    await cached.decide(call())
    clock.now -= 1
    await cached.decide(call())
    assert engine.asked == 2


async def test_decision_that_says_so_is_never_kept() -> None:
    clock, engine = Clock(), Counting(0)
    cached = caching(engine, clock)
    await cached.decide(call())
    await cached.decide(call())
    assert engine.asked == 2
    assert len(cached.cache) == 0


async def test_order_of_keys_does_not_matter_any_value_does() -> None:
    clock, engine = Clock(), Counting(60)
    cached = caching(engine, clock)
    await cached.decide({"a": 1, "b": {"c": 1, "d": 2}})
    await cached.decide({"b": {"d": 2, "c": 1}, "a": 1})
    assert engine.asked == 1
    for other in ({"a": 1, "b": {"c": 1, "d": 3}}, {"a": True, "b": {"c": 1, "d": 2}}, {"a": "1", "b": {}}):
        await cached.decide(other)
    assert engine.asked == 4


async def test_other_policies_or_other_data_never_see_the_decisions_of_these() -> None:
    clock, engine, cache = Clock(), Counting(60), DecisionCache(10)
    for policies in (
        Policies(),
        Policies(revision="r2"),
        Policies(data_digest="d2"),
        Policies("r1d", "1"),
        Policies(rules=READS_ALL + "# otherwise the same\n"),
    ):
        await caching(engine, clock, cache, policies).decide(call())
    assert engine.asked == 5
    await caching(engine, clock, cache, Policies()).decide(call())
    assert engine.asked == 5


async def test_cache_is_bounded_and_forgets_what_was_unused_for_longest() -> None:
    clock, engine = Clock(), Counting(60)
    cached = caching(engine, clock, DecisionCache(2))
    for name in ("a", "b", "a", "c"):
        await cached.decide({"name": name})
    assert len(cached.cache) == 2
    assert engine.asked == 3
    await cached.decide({"name": "a"})
    assert engine.asked == 3
    await cached.decide({"name": "b"})
    assert engine.asked == 4


async def test_cache_without_entries_keeps_nothing() -> None:
    clock, engine = Clock(), Counting(60)
    cached = caching(engine, clock, DecisionCache(0))
    await cached.decide(call())
    await cached.decide(call())
    assert engine.asked == 2
    assert len(cached.cache) == 0


async def test_malformed_answers_and_inputs_are_asked_again(starter: LoadedPolicySet) -> None:
    engine = EmbeddedEngine(starter)
    cached = caching(engine, Clock(), policies=starter)
    for _ in range(2):
        decision = await cached.decide({"a": object()})
        assert decision.reasons == ("policy_malformed",)
    assert engine.malformed == 2


async def test_failure_of_the_engine_behind_is_passed_on_and_not_kept() -> None:
    class Away(Counting):
        async def decide(self, policy_input: PolicyInput) -> Decision:
            self.asked += 1
            raise ConnectionError

    engine = Away(60)
    cached = caching(engine, Clock())
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await cached.decide(call())
    assert engine.asked == 2


async def test_calls_that_differ_only_in_what_no_rule_reads_share_a_decision() -> None:
    clock, engine = Clock(), Counting(60)
    rules = "package govgateway.authz\ndecision := {r | some r in input.principal.roles} if input.resource[`id`]\n"
    cached = caching(engine, clock, policies=Policies(rules=rules))
    for unread in (
        {},
        {"principal": {"id": "spiffe://example.org/other", "attributes": {"a": 1}}},
        {"request": {"tools": ["t"], "max_tokens": 9}},
        {"resource": {"risk": "high"}, "unheard_of": [1]},
    ):
        await cached.decide(call(**unread))
    assert engine.asked == 1
    await cached.decide(call(principal={"roles": ["other"]}))
    await cached.decide(call(resource={"id": "other"}))
    assert engine.asked == 3


async def test_input_that_the_engine_refuses_for_what_no_rule_reads_is_refused_from_the_cache(
    policy_directory: WritePolicies,
) -> None:
    rules = """package govgateway.authz
default decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 60}
decision := {"allow": true, "reasons": [], "obligations": [], "cache_seconds": 60} if input.action == "a"
"""
    policies = load_policy_set(policy_directory(**{"govgateway/authz/a.rego": rules}))
    cached = caching(EmbeddedEngine(policies), Clock(), policies=policies)
    assert (await cached.decide({"action": "a", "other": 1})).allow
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    for refused in (object(), 2**70, deep):
        assert (await cached.decide({"action": "a", "other": refused})).reasons == ("policy_malformed",)
    assert (await cached.decide({"action": "a", "other": 2})).allow
    assert cached.cache.hits == 1


async def test_obligation_that_repeats_the_input_is_the_one_of_this_input(policy_directory: WritePolicies) -> None:
    rules = """package govgateway.authz
default decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 60}
decision := {"allow": true, "reasons": [], "obligations": [bound], "cache_seconds": 60} if input.action == "a"
bound := {"type": "clamp_max_tokens", "max_tokens": input.request.max_tokens}
"""
    policies = load_policy_set(policy_directory(**{"govgateway/authz/a.rego": rules}))
    cached = caching(EmbeddedEngine(policies), Clock(), policies=policies)
    for tokens in (1, 2, 1, 2):
        decision = await cached.decide(call(action="a", request={"max_tokens": tokens}))
        assert decision.obligations == ({"type": "clamp_max_tokens", "max_tokens": tokens},)
    assert (cached.cache.hits, cached.cache.misses) == (2, 2)


async def test_sets_of_policies_with_the_same_revision_do_not_mix_in_one_cache() -> None:
    clock, cache = Clock(), DecisionCache(10)
    asked = []
    # The last reads the same value at another path: its projection has the same bytes.
    for path in ("action", "resource.id", "principal.id"):
        engine = Counting(60)
        policies = Policies(rules=f"package govgateway.authz\ndecision := input.{path}\n")
        for _ in range(2):
            await caching(engine, clock, cache, policies).decide(
                call(action="x", resource={"id": "x"}, principal={"id": "x"})
            )
        asked.append(engine.asked)
    assert asked == [1, 1, 1]


async def test_engine_that_may_know_other_rules_gets_keys_of_the_whole_input() -> None:
    engine, policies = Counting(60), Policies(rules="package govgateway.authz\ndecision := input.action\n")
    narrow = caching(engine, Clock(), DecisionCache(10), policies)
    wide = CachingEngine(engine, narrow.cache, Clock(), policies, WHOLE_INPUT)
    for cached, expected in ((narrow, 1), (wide, 3)):
        for tokens in (1, 2):
            await cached.decide(call(request={"max_tokens": tokens}))
        assert engine.asked == expected


async def test_key_names_the_paths_that_its_values_come_from() -> None:
    engine, cache, policies = Counting(60), DecisionCache(10), Policies()
    for path in ("a", "b"):
        await CachingEngine(engine, cache, Clock(), policies, InputPaths([(path,)])).decide({"a": 1, "b": 1})
    assert engine.asked == 2


json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b", "roles"]), inner, max_size=2)
    ),
    max_leaves=4,
)
roles = st.lists(st.sampled_from(["chat-user", "embedding-user", "platform-admin", "auditor", "none"]), unique=True)
classes = st.lists(st.sampled_from(["internal", "personal", "special-category", "unheard-of"]), unique=True)
text = st.sampled_from(["", "a", "local"])
parts: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "principal": {
        "id": text,
        "kind": st.sampled_from(["agent", "human", "pipeline", "service", ""]),
        "team": text,
        "owner": text,
        "status": st.sampled_from(["active", "suspended"]),
        "risk_tier": st.sampled_from(["minimal", "limited", "high", ""]),
        "roles": roles,
        "break_glass": roles,
        "delegation": st.lists(text, max_size=2),
        "attributes": st.dictionaries(text, json, max_size=2),
    },
    "resource": {
        "type": text,
        "id": st.sampled_from(["tiny", "example-chat", "example-hiring", "example-scoring", "other", ""]),
        "system": st.sampled_from(["assistant", "hiring", "scoring", "unknown", ""]),
        "risk": st.sampled_from(["minimal", "limited", "high", "prohibited", ""]),
        "region": st.sampled_from(["", "local", "us-east"]),
        "data_classes": classes,
    },
    "request": {
        "protocol": text,
        "stream": st.booleans(),
        "max_tokens": st.integers(0, 3),
        "tools": st.lists(text, max_size=2),
        "data_classes": classes,
    },
    "context": {"region": st.sampled_from(["local", "us-east"]), "environment": text},
}
actions = st.sampled_from(["model.infer", "model.embed", "model.list", "admin.status.read", "tool.call"])


@st.composite
def inputs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an input: one that is allowed, with some fields changed, added, emptied or taken away."""
    document = call()
    for part, fields in parts.items():
        document[part].update(draw(st.fixed_dictionaries({}, optional=fields)))
    document["action"] = draw(actions)
    if draw(st.integers(0, 3)) == 0:
        place = document[draw(st.sampled_from(sorted(parts)))]
        field = draw(st.sampled_from([*place, "unheard_of"]))
        if draw(st.booleans()):
            place[field] = draw(json)
        else:
            place.pop(field, None)
    if draw(st.integers(0, 7)) == 0:
        document[draw(st.sampled_from(["action", "unheard_of", *parts]))] = draw(json)
    return document


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(inputs(), st.integers(0, 400)), min_size=1, max_size=12))
async def test_cached_and_fresh_decision_never_differ(
    starter: LoadedPolicySet, steps: list[tuple[dict[str, Any], int]]
) -> None:
    clock = Clock()
    cached = CachingEngine(EmbeddedEngine(starter), DecisionCache(6), clock, starter)
    fresh = EmbeddedEngine(starter)
    for policy_input, seconds in steps + steps:
        clock.now += seconds * NANOSECONDS
        expected = fresh.decide_now(policy_input)
        assert await cached.decide(policy_input) == expected
        assert fresh.decide_now(cached.paths.reduce(policy_input)) == expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inputs(), st.dictionaries(st.sampled_from(["unheard_of", "input", "roles"]), json, min_size=1))
async def test_field_that_no_starter_policy_knows_changes_no_key(
    starter: LoadedPolicySet, policy_input: dict[str, Any], unknown: dict[str, Any]
) -> None:
    cached = caching(Counting(60), Clock(), policies=starter)
    await cached.decide(policy_input)
    await cached.decide({**policy_input, **unknown})
    assert cached.cache.hits == 1
