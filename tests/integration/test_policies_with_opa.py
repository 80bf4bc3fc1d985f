"""The starter policies in the real OPA: it accepts them, and decides as the embedded engine does."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.policy_set import load_policy_set
from gateway.authorization.reason_codes import reason_codes
from gateway.authorization.rego_tests import run_rego_tests

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ROOT / "policies"
CALLS = 2_000
HIGH = {"risk": "high", "annex_iii": "employment"}
DOCUMENTED = {"oversight": {"overseers": ["ada@example.org"]}, "instructions_for_use": "IFU-1"}
EXCEPTION = {"article": "6(3)", "reason": "sorts mail", "assessed_by": "ada@example.org"}
SYSTEMS = {
    "undocumented": {**HIGH, "oversight": {"overseers": ["ada@example.org"]}},
    "unassessed": {**HIGH, **DOCUMENTED, "deployer": "public"},
    "assessed": {**HIGH, **DOCUMENTED, "deployer": "public", "fria": "FRIA-1"},
    "excepted": {"risk": "limited", "annex_iii": "employment", "exception": EXCEPTION},
    "practising": {"risk": "limited", "practices": ["manipulation"]},
    "open": {"risk": "minimal", "regions": ["eu-west", "us-east"]},
}
PAY, OPEN = "vault://secret/backends/pay#key", "vault://secret/backends/open#key"
RESTRICTED = [
    {
        "secrets": ["vault://secret/backends/pay#*"],
        "roles": ["chat-user"],
        "backends": ["eu"],
        "actions": ["model.infer"],
    },
    {"secrets": ["vault://secret/*/pay#key"], "principals": ["spiffe://example.org/service/*"]},
]
MODELS = {"example-local": {"regions": ["local", "eu-west"], "systems": ["assistant", "open"]}}


@pytest.fixture(scope="module")
def opa() -> str:
    found = shutil.which("opa", path=f"{ROOT / '.interop' / 'bin'}:{os.environ['PATH']}")
    if found is None:
        pytest.fail("opa is not installed; deploy/interop.sh installs it")
    return found


def run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_opa_accepts_the_policies_strictly(opa: str) -> None:
    run(opa, "check", "--strict", str(POLICIES))
    run(opa, "check", "--strict", "--bundle", str(POLICIES))
    assert run(opa, "fmt", "--list", str(POLICIES)) == ""


def test_opa_gives_every_rego_test_the_verdict_of_the_embedded_engine(opa: str) -> None:
    report = json.loads(run(opa, "test", "--format=json", str(POLICIES)))
    by_opa = {(f"{entry['package']}.{entry['name']}", not entry.get("fail", False)) for entry in report}
    ours = {(result.name, result.passed) for result in run_rego_tests(load_policy_set(POLICIES))}
    assert by_opa == ours


def test_opa_decides_random_calls_as_the_embedded_engine_does(opa: str, tmp_path: Path) -> None:
    directory = _with_more_systems(tmp_path / "policies")
    policies = load_policy_set(directory)
    source = random.Random(7)  # noqa: S311 - test data
    calls = [_random_call(source) for _ in range(CALLS)]
    path = tmp_path / "input.json"
    path.write_text(json.dumps({"calls": calls}))
    query = "[d | some c in input.calls; d := data.govgateway.authz.decision with input as c]"
    answer = json.loads(run(opa, "eval", "--bundle", str(directory), "--input", str(path), "--format=json", query))
    by_opa = answer["result"][0]["expressions"][0]["value"]
    engine = EmbeddedEngine(policies)
    assert len(by_opa) == CALLS
    for policy_input, expected in zip(calls, by_opa, strict=True):
        decision = engine.decide_now(policy_input)
        assert {
            "allow": decision.allow,
            "reasons": list(decision.reasons),
            "obligations": list(decision.obligations),
            "cache_seconds": decision.cache_seconds,
        } == expected, policy_input
    assert {entry["allow"] for entry in by_opa} == {True, False}
    assert len({tuple(entry["reasons"]) for entry in by_opa}) > 10
    given = {code for entry in by_opa for code in entry["reasons"]}
    # A decision is malformed, and the default stands in for one, only where the rules are broken.
    assert given == reason_codes(policies) - {"default_deny"}
    assert engine.malformed == 0


def _with_more_systems(directory: Path) -> Path:
    """Copy the policies, with entries for the rules that the starter tables alone do not meet."""
    shutil.copytree(POLICIES, directory)
    for table, entries in {"systems": SYSTEMS, "models": MODELS}.items():
        path = directory / "govgateway" / table / "data.yaml"
        path.write_text(
            path.read_text() + "".join(f"\n{name}: {json.dumps(entry)}\n" for name, entry in entries.items())
        )
    (directory / "govgateway" / "secrets" / "data.yaml").write_text(json.dumps({"restricted": RESTRICTED}))
    return directory


def _random_call(source: random.Random) -> dict[str, Any]:
    """Return a call in which each part is usual or odd, and now and then missing."""
    system, risk = source.choice(
        [("assistant", "limited")] * 4
        + [("hiring", "high")] * 2
        + [(name, "limited") for name in SYSTEMS]
        + [("scoring", "prohibited"), ("", ""), ("x", "odd")]
    )
    classes = ["public", "internal", "personal", "special-category", "unheard-of"]
    document: dict[str, Any] = {
        "principal": {
            "id": "spiffe://example.org/agent/a",
            "kind": source.choice(["agent", "human", "pipeline"]),
            "team": "research",
            "owner": "",
            "status": source.choice(["active"] * 6 + ["suspended", ""]),
            "risk_tier": source.choice(["limited", "limited", "high", "minimal", "odd"]),
            "roles": source.choice(
                [["chat-user"]] * 6
                + [["embedding-user"], ["chat-user", "embedding-user"], ["platform-admin"], [], ["none"]]
                + [
                    ["chat-user", "platform-admin"],
                    ["auditor", "platform-admin", "policy-approver"],
                    ["pipeline-runner"],
                ]
            ),
            "break_glass": source.choice([[]] * 2 + [["chat-user"], ["platform-admin", "pipeline-runner"]]),
            "delegation": [],
            "attributes": {},
        },
        "action": source.choice(
            ["model.infer"] * 6
            + ["model.embed", "model.list", "admin.config.reload", "admin.policy.activate", "object.read", "model.", ""]
        ),
        "resource": {
            "type": "model",
            "id": source.choice(
                [
                    "tiny",
                    "example-chat",
                    "example-external",
                    "example-local",
                    "example-a/b.c",
                    "other",
                    "example-",
                    "",
                    "exämple-\n",
                ]
            ),
            "system": system,
            "risk": source.choice([risk] * 4 + ["minimal", "prohibited", "high"]),
            "region": source.choice(["", "", "local", "eu-west", "eu-central", "us-east"]),
            "data_classes": source.sample(classes[:4] if source.random() < 0.8 else classes, source.choice([0, 1, 2])),
        },
        "request": {
            "protocol": "openai",
            "stream": False,
            "max_tokens": source.choice([0, 1, 2**53 - 1]),
            "tools": [],
            "data_classes": source.sample(classes[:4], source.choice([0, 0, 1, 2])),
        },
        "context": {"region": source.choice(["local", "eu-west", "us-east"]), "environment": "test"},
    }
    if source.random() < 0.3:
        shown = [
            {"backend": source.choice(["eu", "us"]), "secret": source.choice([PAY, OPEN, "", "odd"])} for _ in "ab"
        ]
        document["resource"]["credentials"] = source.choice([shown, shown[:1], []])
    if source.random() < 0.1:
        part = source.choice(["principal", "resource", "request", "context"])
        del document[part][source.choice(list(document[part]))]
    return document
