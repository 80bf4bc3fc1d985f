"""Times one policy decision: cached, and fresh with 100, 1,000 and 10,000 role bindings in the data, in both engines.

Run: python bench/policy_decision.py [--opa PROGRAM] [--json FILE]. Prints tables in Markdown; raw numbers go to the
file. OPA runs as a child and is asked over a Unix socket; a decision through it costs processor time in both processes.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path
from time import perf_counter, perf_counter_ns, process_time
from typing import Any

import structlog
import uvloop
import yaml

from gateway.authorization.bundle import write_bundle
from gateway.authorization.cache import CachingEngine, DecisionCache
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.input import model_input
from gateway.authorization.manifest import Manifest
from gateway.authorization.opa import OpaEngine, OpaProcess
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_set
from gateway.authorization.policy_tree import read_policy_tree
from gateway.clock import system_clock
from gateway.protocols.base import Call
from gateway.starter import starter_policies
from identity.registry import Agent

BINDINGS = (100, 1_000, 10_000)
ROUNDS, CALLS = 30, 200
OPA_CALLS, AT_ONCE = 6_000, 16
OPA = Path(__file__).resolve().parents[1] / ".interop" / "bin" / "opa"
NOW = 1_796_000_000
"""Any moment; the roles of the benchmark are bound for good (UNIX seconds)."""

AGENT = Agent(
    id="spiffe://example.org/agent/reader",
    kind="agent",
    team="research",
    owner="ada@example.org",
    status="active",
    risk_tier="limited",
    # Brings the input to about 1 kB, as attributes of real inventories do.
    attributes={f"attribute-{number}": "a value of forty characters, more or less" for number in range(7)},
)


def policies_with(bindings: int, directory: Path) -> LoadedPolicySet:
    """Return the starter policies with this many bindings of agents, the caller's team among them."""
    shutil.copytree(starter_policies(), directory)
    subjects = {f"spiffe://example.org/agent/a{number}": ["chat-user"] for number in range(bindings - 1)}
    path = directory / "govgateway" / "bindings" / "data.yaml"
    path.write_text(yaml.safe_dump({**subjects, "team:research": ["chat-user"]}))
    return load_policy_set(directory)


def document(policies: LoadedPolicySet, model: str = "example-chat") -> dict[str, Any]:
    """Return the policy input of one chat call, built as the pipeline builds it."""
    call = Call("openai", "chat.completions", "model.infer", "model", model, "/chat/completions", stream=True)
    roles = policies.roles_of(AGENT.id, AGENT.team, AGENT.kind, now=NOW)
    broken = policies.break_glass_of(AGENT.id, AGENT.team, AGENT.kind, now=NOW)
    return model_input(AGENT, roles, call, policies.system("assistant"), "local", "local", "test", (), broken)


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


def measure(directory: Path) -> dict[str, dict[str, float]]:
    """Return microseconds for each line of the table."""
    results: dict[str, dict[str, float]] = {}
    for count in BINDINGS:
        start = perf_counter_ns()
        policies = policies_with(count, directory / str(count))
        loaded = round((perf_counter_ns() - start) / 1000, 2)
        engine = EmbeddedEngine(policies)
        allowed, denied = document(policies), document(policies, "other")
        if not engine.decide_now(allowed).allow or engine.decide_now(denied).allow:
            raise RuntimeError("the starter policies do not decide as this benchmark expects")
        results[f"fresh, allowed, {count:,} bindings"] = microseconds(partial(engine.decide_now, allowed))
        results[f"fresh, refused, {count:,} bindings"] = microseconds(partial(engine.decide_now, denied))
        results[f"roles of the caller, {count:,} bindings"] = microseconds(
            partial(policies.roles_of, AGENT.id, AGENT.team, AGENT.kind, now=NOW)
        )
        results[f"load and check the policies, {count:,} bindings"] = {"best": loaded, "median": loaded}
    cached = CachingEngine(engine, DecisionCache(10_000), system_clock, policies)
    asyncio.run(cached.decide(allowed))
    results["cached"] = microseconds(drive(cached, allowed))
    results["build the input"] = microseconds(partial(document, policies))
    return results


async def measure_opa(program: Path, directory: Path) -> dict[str, dict[str, float]]:
    """Return for each number of bindings: µs of one decision alone, decisions/s, and processor time (µs) of both."""
    results = {}
    for count in BINDINGS:
        policies = directory / str(count)
        bundle = directory / f"{count}.tar.gz"
        bundle.write_bytes(write_bundle(read_policy_tree(policies), Manifest("bench", ("govgateway",))))
        process = OpaProcess(program, bundle, directory / "opa.sock")
        await process.start()
        engine = OpaEngine(f"unix://{directory}/opa.sock", timeout_seconds=10, expected_revision="bench")
        results[f"{count:,} bindings"] = await _ask(engine, process, document(load_policy_set(policies)))
        engine.close()
        await process.stop()
    return results


async def _ask(engine: OpaEngine, process: OpaProcess, policy_input: dict[str, Any]) -> dict[str, float]:
    async def ask(calls: int) -> None:
        for _ in range(calls):
            if not (await engine.decide(policy_input)).allow:
                raise RuntimeError("OPA does not decide as this benchmark expects")

    await ask(OPA_CALLS // 10)
    start = perf_counter()
    await ask(OPA_CALLS // 4)
    alone = (perf_counter() - start) / (OPA_CALLS // 4)
    start, ours, theirs = perf_counter(), process_time(), _processor_seconds(process.pid)
    await asyncio.gather(*(ask(OPA_CALLS // AT_ONCE) for _ in range(AT_ONCE)))
    asked = OPA_CALLS // AT_ONCE * AT_ONCE
    spent = perf_counter() - start
    ours, theirs = process_time() - ours, _processor_seconds(process.pid) - theirs
    return {
        "alone_us": round(alone * 1e6, 1),
        "per_second": round(asked / spent),
        "gateway_us": round(ours / asked * 1e6, 1),
        "opa_us": round(theirs / asked * 1e6, 1),
        "per_core": round(asked / (ours + theirs)),
    }


def _processor_seconds(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def print_opa(results: dict[str, dict[str, float]]) -> None:
    print(f"\nThrough OPA over a Unix socket, {AT_ONCE} at once\n")
    print("| data | one alone, µs | decisions/s | gateway, CPU µs | OPA, CPU µs | decisions/s per core of both |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, numbers in results.items():
        print(
            f"| {name} | {numbers['alone_us']:,.0f} | {numbers['per_second']:,} | {numbers['gateway_us']:,.0f} "
            f"| {numbers['opa_us']:,.0f} | {numbers['per_core']:,} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file for the raw numbers")
    parser.add_argument("--opa", type=Path, default=OPA, help="OPA's program (default: what `make interop` installs)")
    arguments = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with tempfile.TemporaryDirectory() as directory:
        results = measure(Path(directory))
        opa = uvloop.run(measure_opa(arguments.opa, Path(directory))) if shutil.which(arguments.opa) else {}
    wheel = packages_distributions()["regorus"][0]
    engine = f"{wheel} {version(wheel)}"
    print(f"One policy decision, µs ({engine}, Python {sys.version.split()[0]})\n")
    print("| step | best | median |\n| --- | ---: | ---: |")
    for name, timing in results.items():
        print(f"| {name} | {timing['best']:,.1f} | {timing['median']:,.1f} |")
    if opa:
        print_opa(opa)
    else:
        print(f"\nOPA was not measured: there is no {arguments.opa}; `make interop` installs it.")
    if arguments.json:
        raw = {"engine": engine, "microseconds": results, "opa": opa}
        arguments.json.write_text(json.dumps(raw, indent=2) + "\n")


if __name__ == "__main__":
    main()
