"""A small policy directory that each test may change, and the starter policies."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_set

STARTER = Path(__file__).resolve().parents[3] / "policies"

WritePolicies = Callable[..., Path]


@pytest.fixture(scope="session")
def starter() -> LoadedPolicySet:
    return load_policy_set(STARTER)


@pytest.fixture(scope="session")
def starter_directory() -> Path:
    return STARTER


@pytest.fixture
def starter_copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path / "policies"))


@pytest.fixture
def policy_directory(tmp_path: Path) -> WritePolicies:
    """Write files (path to text) under a directory and return it."""

    def write(**files: str) -> Path:
        directory = tmp_path / "set"
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return directory

    return write


@pytest.fixture
def misbehaving(starter: LoadedPolicySet, policy_directory: WritePolicies) -> Callable[[str], EmbeddedEngine]:
    """Return an engine whose policy behaves while it is loaded and misbehaves for the action `model.infer`
    on the resource `bad`: there, the entry point has the value given as Rego."""

    def make(value: str) -> EmbeddedEngine:
        rego = f"""package govgateway.authz
refusal := {{"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}}
bad if input.resource.id == "bad"
decision := refusal if not bad
decision := answer if {{
	bad
	answer := {value}
}}
"""
        # The checks of what OPA decides by are the looser ones: what misbehaves must get into the engine.
        return EmbeddedEngine(load_policy_set(policy_directory(**{"govgateway/authz/a.rego": rego}), engine="opa"))

    return make


def call(**changes: Any) -> dict[str, Any]:
    """Return a policy input that the starter policies allow, with the given parts merged in."""
    document: dict[str, Any] = {
        "principal": {
            "id": "spiffe://example.org/agent/reader",
            "kind": "agent",
            "team": "research",
            "owner": "ada@example.org",
            "status": "active",
            "risk_tier": "limited",
            "roles": ["chat-user"],
            "break_glass": [],
            "delegation": [],
            "attributes": {},
        },
        "action": "model.infer",
        "resource": {
            "type": "model",
            "id": "example-chat",
            "system": "assistant",
            "risk": "limited",
            "region": "",
            "data_classes": ["internal"],
        },
        "request": {
            "protocol": "openai",
            "stream": False,
            "max_tokens": 0,
            "tools": [],
            "data_classes": [],
        },
        "context": {"region": "local", "environment": "test"},
    }
    for key, value in changes.items():
        document[key] = {**document[key], **value} if isinstance(value, dict) else value
    return document
