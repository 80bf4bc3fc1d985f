"""The decision cache: bounded, exact, and never different from a fresh decision."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.authorization.cache import CachingEngine, DecisionCache, Revision
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision, PolicyInput
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.rego import Module
from gateway.clock import NANOSECONDS
from tests.unit.authorization.conftest import call


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


names = st.sampled_from(["tiny", "example-chat", "example-hiring", "example-scoring", "other", ""])
systems = st.sampled_from(
    [("assistant", "limited"), ("hiring", "high"), ("scoring", "prohibited"), ("", ""), ("unknown", "minimal")]
)
inputs = st.builds(
    lambda roles, tier, status, action, name, system, region, classes, tokens: call(
        principal={"roles": roles, "risk_tier": tier, "status": status},
        action=action,
        resource={"id": name, "system": system[0], "risk": system[1], "region": region, "data_classes": classes},
        request={"max_tokens": tokens},
    ),
    st.lists(st.sampled_from(["chat-user", "embedding-user", "platform-admin", "none"]), unique=True),
    st.sampled_from(["minimal", "limited", "high", ""]),
    st.sampled_from(["active", "suspended"]),
    st.sampled_from(["model.infer", "model.embed", "model.list", "admin.status.read", "tool.call"]),
    names,
    systems,
    st.sampled_from(["", "local", "us-east"]),
    st.lists(st.sampled_from(["internal", "personal", "special-category", "unheard-of"]), unique=True),
    st.integers(0, 3),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(inputs, st.integers(0, 400)), min_size=1, max_size=25))
async def test_cached_and_fresh_decision_never_differ(
    starter: LoadedPolicySet, steps: list[tuple[dict[str, Any], int]]
) -> None:
    clock = Clock()
    cached = CachingEngine(EmbeddedEngine(starter), DecisionCache(4), clock, starter)
    for policy_input, seconds in steps + steps:
        clock.now += seconds * NANOSECONDS
        fresh = await EmbeddedEngine(starter).decide(policy_input)
        assert await cached.decide(policy_input) == fresh
