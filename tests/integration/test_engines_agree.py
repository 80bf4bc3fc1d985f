"""The embedded engine and the real OPA decide the same, on generated inputs and on policies made to tell them apart.

Where they do not, the loader refuses the policy. The few differences that it cannot see are listed here.
"""

import asyncio
import json
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.authorization.bundle import read_bundle, write_bundle
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.manifest import Manifest
from gateway.authorization.opa import OpaEngine, OpaProcess
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_tree
from gateway.authorization.policy_tree import PolicyTree, read_policy_tree
from gateway.authorization.rego import RegoError, evaluate
from gateway.errors import ConfigError

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parents[2]
OPA = ROOT / ".interop" / "bin" / "opa"
INPUTS = 2_500
VECTORS = Path(__file__).with_name("engine_vectors.txt").read_text(encoding="utf-8").strip().split("\n---\n")

DECISION = """package govgateway.authz
decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}
"""
INPUT = {
    "n": 5, "s": "héllo wörld", "list": [3, 1, 2], "obj": {"a": 1, "b": {"c": 2}}, "big": 12345678901234567890,
    "neg": -7, "empty": [], "nul": None, "t": True, "u": "日本語テキスト", "num": "12", "garb": "12x", "emoji": "😀",
    "pattern": "a*",
}  # fmt: skip

UNSEEN = {
    '{"a": 1} < {1}': "OPA sorts objects before sets, the embedded engine sets before objects",
    '{"a":1} < {1}': "the same",
    'sort([3,"a",null,true,[1],{"a":1},{1},1.5,false,{"b":0}])': "the same; refused for its fraction alone",
}
"""What no check at load can see: the types are known at the decision only."""


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("opa")


@pytest.fixture(scope="module")
def starter(directory: Path) -> LoadedPolicySet:
    """The starter policies, from the bundle that OPA reads."""
    content = write_bundle(read_policy_tree(ROOT / "policies"), Manifest("r1", ("govgateway",)))
    (directory / "bundle.tar.gz").write_bytes(content)
    return load_policy_tree(read_bundle(content, directory, None))


@pytest.fixture(scope="module")
def opa(loop: asyncio.AbstractEventLoop, directory: Path, starter: LoadedPolicySet) -> Iterator[OpaProcess]:
    assert shutil.which(OPA), "opa is not installed; deploy/interop.sh installs it"
    process = OpaProcess(OPA, directory / "bundle.tar.gz", directory / "opa.sock")
    loop.run_until_complete(process.start())
    yield process
    loop.run_until_complete(process.stop())


def test_engines_decide_generated_inputs_alike(
    loop: asyncio.AbstractEventLoop, opa: OpaProcess, directory: Path, starter: LoadedPolicySet
) -> None:
    assert opa.ready
    embedded = EmbeddedEngine(starter)
    remote = OpaEngine(f"unix://{directory}/opa.sock", timeout_seconds=20, expected_revision="r1")
    seen: Counter[Any] = Counter()

    @settings(
        max_examples=INPUTS, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(inputs(starter))
    def agree(policy_input: dict[str, Any]) -> None:
        ours = embedded.decide_now(policy_input)
        theirs = loop.run_until_complete(remote.decide(policy_input))
        assert ours == theirs
        seen[(ours.allow, ours.reasons, len(ours.obligations))] += 1

    agree()
    remote.close()
    assert sum(seen.values()) >= 2_000
    assert {allow for allow, _, _ in seen} == {True, False}
    assert len(seen) > 10
    assert embedded.malformed == remote.malformed == 0


def inputs(policies: LoadedPolicySet) -> st.SearchStrategy[dict[str, Any]]:
    """Return inputs of the contract: what the tables know, what they nearly know, and anything else."""
    tables = json.loads(policies.data_json)["govgateway"]
    word = st.text(max_size=6)

    def some(*known: str) -> st.SearchStrategy[str]:
        return st.sampled_from(known) | word

    def several(*known: str) -> st.SearchStrategy[list[str]]:
        return st.lists(some(*known) if known else word, max_size=3)

    def mostly(*usual: str) -> st.SearchStrategy[str]:
        return st.sampled_from([*usual * 4, "odd", ""])

    systems, regions = [*tables["systems"]], ["", "local", "eu-west", "eu-central", "us-east"]
    risks, classes = ["minimal", "limited", "high", "prohibited", ""], ["public", "internal", "personal"]
    roles = st.lists(st.sampled_from([*tables["roles"], "chat-user"]) | word, max_size=4)
    return st.fixed_dictionaries(
        {
            "principal": st.fixed_dictionaries(
                {
                    "id": word.map("spiffe://example.org/".__add__),
                    "kind": mostly("agent", "service", "pipeline", "human"),
                    "team": word,
                    "owner": word,
                    "status": mostly("active"),
                    "risk_tier": mostly("minimal", "limited", "high"),
                    "roles": roles,
                    "break_glass": roles,
                    "delegation": several(),
                    "attributes": st.dictionaries(word, word | st.integers(-(2**53), 2**53) | st.none(), max_size=3),
                }
            ),
            "action": st.sampled_from(["model.infer"] * 4 + ["model.embed", "model.list", "admin.config.reload", "x"]),
            "resource": st.fixed_dictionaries(
                {
                    "type": mostly("model", "control-plane"),
                    "id": some("example-chat", "example-chat", "example-", "tiny", "/admin", "exämple-\n"),
                    "system": st.sampled_from(systems) | word,
                    "risk": st.sampled_from(risks),
                    "region": st.sampled_from(regions),
                    "data_classes": several(*classes, "special-category"),
                }
            ),
            "request": st.fixed_dictionaries(
                {
                    "protocol": mostly("openai"),
                    "stream": st.booleans(),
                    "max_tokens": st.integers(0, 5000) | st.just(2**53 - 1),
                    "tools": several(),
                    "data_classes": several(*classes),
                }
            ),
            "context": st.fixed_dictionaries(
                {"region": st.sampled_from(regions), "environment": mostly("production", "test")}
            ),
        }
    )


@pytest.fixture
async def plain_opa(directory: Path) -> AsyncIterator[Callable[[str], Awaitable[tuple[str, str]]]]:
    """An OPA without policies; returns the value of `x` in a module."""
    bundle = directory / "empty.tar.gz"
    bundle.write_bytes(write_bundle(PolicyTree(directory, {"a.rego": b"package a\n"}), Manifest("r", ("a",))))
    process = OpaProcess(OPA, bundle, directory / "plain.sock")
    await process.start()
    transport = httpx.AsyncHTTPTransport(uds=str(directory / "plain.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://opa", timeout=30) as client:

        async def value(module: str) -> tuple[str, str]:
            put = await client.put("/v1/policies/v", content=module)
            if put.status_code != 200:
                return "refused", put.text
            path = "/v1/data/govgateway/authz/x?strict-builtin-errors=true"
            answer = await client.post(path, json={"input": INPUT})
            if answer.status_code != 200:
                return "error", answer.text
            # Null, which no decision is, counts as undefined in the embedded engine's answers.
            result = answer.json().get("result")
            return ("undefined", "") if result is None else ("value", _text(result))

        yield value
    await process.stop()


async def test_vectors_have_one_value_in_both_engines_or_are_refused_at_load(
    plain_opa: Callable[[str], Awaitable[tuple[str, str]]],
) -> None:
    differences, met = {}, Counter[str]()
    for vector in VECTORS:
        module = _module(vector)
        ours, theirs = _embedded(module), await plain_opa(module)
        # A builtin's error is a deny in both; what OPA does not compile it does not decide.
        same = ours == theirs or (ours[0] == theirs[0] == "error") or "refused" in {ours[0], theirs[0]}
        met[ours[0]] += 1
        if not same:
            differences[vector] = (ours, theirs)
    assert {vector: found for vector, found in differences.items() if vector not in UNSEEN} == {}
    assert met["value"] > 250
    assert met["undefined"] > 40
    assert met["error"] > 5
    assert met["refused"] > 100


def _module(vector: str) -> str:
    rules = vector if re.search(r"^(default )?x\b", vector, re.MULTILINE) else f"x := {vector}"
    return f"package govgateway.authz\n{rules.replace('data.a.', 'data.govgateway.authz.')}\n"


def _embedded(module: str) -> tuple[str, str]:
    files = {"govgateway/authz/decision.rego": DECISION.encode(), "govgateway/authz/vector.rego": module.encode()}
    try:
        engine = load_policy_tree(PolicyTree(Path("vectors"), files)).new_engine()
    except ConfigError as error:
        return "refused", str(error)
    try:
        value = evaluate(engine, "data.govgateway.authz.x", json.dumps(INPUT))
    except RegoError as error:
        return "error", str(error)
    return ("undefined", "") if value is None else ("value", _text(value))


def _text(value: Any) -> str:
    """Return a value as text. How a huge number is written says nothing of how it compares, which vectors ask for."""
    return json.dumps(_rounded(value), sort_keys=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(value) if type(value) is int and 2**53 < abs(value) < 2**1000 else value
