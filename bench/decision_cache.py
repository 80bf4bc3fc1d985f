"""Times the decision cache, and counts its hits: keys of what the rules read beside keys of the whole input.

Run: python bench/decision_cache.py [--json FILE]. Prints tables in Markdown; raw numbers go to the file. The input is
about 1 kB. The calls of the hit rate come from agents of a few teams, each with its own identity, owner and
attributes, with token bounds and tools as they happen to be.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import orjson

from gateway.authorization.cache import CachingEngine, DecisionCache
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.input import model_input
from gateway.authorization.input_paths import WHOLE_INPUT, InputPaths, input_paths
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_set
from gateway.clock import system_clock
from gateway.protocols.base import Call
from gateway.starter import starter_policies
from identity.registry import Agent

ROUNDS, CALLS = 30, 500
AGENTS, TRAFFIC, ENTRIES = 500, 20_000, 10_000
MODELS = (("example-chat", "assistant"), ("tiny", "assistant"), ("other", "assistant"), ("example-hiring", "hiring"))
TOKENS = (0, 256, 1024, 4096)
ROLES = (("chat-user",), ("chat-user", "embedding-user"), ("embedding-user",))


def document(policies: LoadedPolicySet, number: int, source: random.Random) -> dict[str, Any]:
    """Return the policy input of one call by an agent."""
    agent = Agent(
        id=f"spiffe://example.org/agent/a{number}",
        kind="agent",
        team=f"team-{number % 7}",
        owner=f"owner-{number}@example.org",
        status="active",
        risk_tier=("minimal", "limited", "high")[number % 3],
        attributes={f"attribute-{each}": f"{number}: a value of forty characters, or so" for each in range(7)},
    )
    model, system = source.choice(MODELS)
    tokens, tools = source.choice(TOKENS), source.sample(["search", "mail", "run"], source.randrange(3))
    call = Call(
        protocol="openai",
        operation="chat.completions",
        action="model.infer",
        resource_type="model",
        resource_id=model,
        upstream_path="/chat/completions",
        stream=True,
        max_tokens=tokens,
        tools=tuple(tools),
    )
    return model_input(agent, ROLES[number % len(ROLES)], call, policies.system(system), "local", "local", "test")


def traffic(policies: LoadedPolicySet) -> Iterator[dict[str, Any]]:
    """Yield the inputs of calls: few agents make most of them."""
    source = random.Random(7)
    for _ in range(TRAFFIC):
        yield document(policies, min(int(source.expovariate(10 / AGENTS)), AGENTS - 1), source)


def microseconds(work: Callable[[], object]) -> dict[str, float]:
    """Return the best and the median round, microseconds per call."""
    rounds = []
    for _ in range(ROUNDS):
        start = perf_counter_ns()
        for _ in range(CALLS):
            work()
        rounds.append((perf_counter_ns() - start) / CALLS / 1000)
    return {"best": round(min(rounds), 2), "median": round(statistics.median(rounds), 2)}


def drive(engine: CachingEngine, policy_input: dict[str, Any]) -> Callable[[], object]:
    """Return a function that runs one decision without an event loop, as an await in a running task costs."""

    def work() -> None:
        try:
            engine.decide(policy_input).send(None)
        except StopIteration:
            return
        raise RuntimeError("the decision did not complete at once")

    return work


def digest(content: bytes) -> bytes:
    """Return what the cache makes of a key's content."""
    return blake2b(content, digest_size=32).digest()


async def rates(policies: LoadedPolicySet, paths: InputPaths) -> dict[str, float]:
    """Return how the cache does under the traffic, and check each answer of it."""
    engine = EmbeddedEngine(policies)
    cached = CachingEngine(engine, DecisionCache(ENTRIES), system_clock, policies, paths)
    for policy_input in traffic(policies):
        hits = cached.cache.hits
        decision = await cached.decide(policy_input)
        if cached.cache.hits > hits and decision != engine.decide_now(policy_input):
            raise RuntimeError(f"the cache answered otherwise than the engine: {policy_input}")
    lengths = [len(paths.project(policy_input)) for policy_input in traffic(policies)]
    rate = cached.cache.hits / TRAFFIC
    return {"hit rate": rate, "decisions kept": len(cached.cache), "bytes in the key": statistics.mean(lengths)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file for the raw numbers")
    arguments = parser.parse_args()
    policies = load_policy_set(starter_policies())
    start = perf_counter_ns()
    read = input_paths(policies)
    analysis = (perf_counter_ns() - start) / 1e6
    policy_input = document(policies, 1, random.Random(1))
    times, hits = {}, {}
    for name, paths in (("whole input", WHOLE_INPUT), ("what is read", read)):
        cached = CachingEngine(EmbeddedEngine(policies), DecisionCache(ENTRIES), system_clock, policies, paths)
        asyncio.run(cached.decide(policy_input))
        if not len(cached.cache):
            raise RuntimeError("the starter policies let this decision not be kept")
        projection = bytes(32) + paths.project(policy_input)
        times[f"cached decision, {name}"] = microseconds(drive(cached, policy_input))
        times[f"of it the projection, {name}"] = microseconds(partial(paths.project, policy_input))
        times[f"of it the digest, {name}"] = microseconds(partial(digest, projection))
        hits[name] = asyncio.run(rates(policies, paths))
    times["fresh decision"] = microseconds(partial(EmbeddedEngine(policies).decide_now, policy_input))
    size = len(orjson.dumps(policy_input))
    print(f"One decision, µs (input of {size:,} bytes, Python {sys.version.split()[0]})\n")
    print("| step | best | median |\n| --- | ---: | ---: |")
    for step, timing in times.items():
        print(f"| {step} | {timing['best']:,.1f} | {timing['median']:,.1f} |")
    print(f"\n{TRAFFIC:,} calls of {AGENTS} agents, cache of {ENTRIES:,}; rules analysed in {analysis:.1f} ms\n")
    print("| key of | hit rate | decisions kept | bytes in the key |\n| --- | ---: | ---: | ---: |")
    for name, row in hits.items():
        print(f"| {name} | {row['hit rate']:.1%} | {row['decisions kept']:,} | {row['bytes in the key']:.0f} |")
    print(f"\nRead: {', '.join('.'.join(path) for path in read.paths)}")
    if arguments.json:
        raw = {"microseconds": times, "traffic": hits, "analysis_milliseconds": analysis, "paths": read.paths}
        arguments.json.write_text(json.dumps(raw, indent=2) + "\n")


if __name__ == "__main__":
    main()
