"""Two small revisions of policies of the tests' own, and recorded calls."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from gateway.authorization.policy_tree import PolicyTree
from gateway.policyreview.impact import Impact, assess
from gateway.policyreview.recorded import RecordedCall, chain_of
from gateway.policyreview.replay import ReplayOptions, cases_of, replay
from gateway.policyreview.revisions import Revision, load_revision

NOW = 1_800_000_000

REGO = """package govgateway.authz

default decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}

decision := {"allow": false, "reasons": ["model_not_granted"], "obligations": [], "cache_seconds": 0} if {
	not granted
} else := {"allow": false, "reasons": sort(objections), "obligations": [], "cache_seconds": 0} if {
	count(objections) > 0
} else := {"allow": true, "reasons": [], "obligations": clamps, "cache_seconds": 0}

granting contains role if {
	some role in input.principal.roles
	some permission in data.govgateway.roles[role].permissions
	input.action in permission.actions
	some pattern in permission.resources
	glob.match(pattern, null, input.resource.id)
}

granted if count(granting) > 0

objections contains "system_prohibited" if input.resource.risk == "prohibited"

clamps := [{"type": "clamp_max_tokens", "max_tokens": min(bounds)} | count(bounds) > 0]

bounds contains data.govgateway.roles[role].max_output_tokens if some role in granting
"""

TABLES: dict[str, Any] = {
    "roles": {
        "reader": {"permissions": [{"actions": ["model.infer"], "resources": ["small-*"]}], "max_output_tokens": 1000},
        "embedder": {"permissions": [{"actions": ["model.embed"], "resources": ["small-*"]}]},
        "auditor": {"permissions": [{"actions": ["object.read"], "resources": ["*"]}]},
    },
    "bindings": {"team:research": ["reader"], "spiffe://t.test/agent/ann": ["embedder"]},
    "systems": {"assistant": {"risk": "limited", "data_classes": []}},
    "reasons": {
        "model_not_granted": {"message": "You may not."},
        "system_prohibited": {"message": "Nobody may."},
        "default_deny": {"message": "No rule."},
        "policy_malformed": {"message": "No decision."},
        "delegation_regions_conflict": {"message": "Two regions."},
    },
    "limits": {"quota": [{"name": "all", "scope": "agent", "tokens_per_day": 1000}]},
    "separation": {"duties": [{"name": "inspection", "roles": ["reader", "auditor"], "why": "nobody inspects himself"}]},
}  # fmt: skip


def revision(tables: dict[str, Any] | None = None, rego: str = REGO, name: str = "policies") -> Revision:
    """Return a revision with these tables in place of those above."""
    files = {"govgateway/authz/decision.rego": rego.encode()}
    for table, content in {**TABLES, **(tables or {})}.items():
        files[f"govgateway/{table}/data.yaml"] = yaml.safe_dump(deepcopied(content), sort_keys=False).encode()
    return load_revision(PolicyTree(Path(name), files), name, name)


def deepcopied(content: Any) -> Any:
    """Return content without parts that are the same object, which YAML would write as aliases."""
    return orjson.loads(orjson.dumps(content))


def call(who: str = "ann", **changes: Any) -> dict[str, Any]:
    """Return a policy input of an agent; keys are `action`, `model`, `team`, `roles`, `attributes`."""
    return {
        "principal": {
            "id": f"spiffe://t.test/agent/{who}",
            "kind": "agent",
            "team": changes.get("team", "research"),
            "owner": f"{who}@t.test",
            "status": "active",
            "risk_tier": "limited",
            "roles": changes.get("roles", ["reader"]),
            "break_glass": [],
            "delegation": [],
            "attributes": changes.get("attributes", {}),
        },
        "action": changes.get("action", "model.infer"),
        "resource": {
            "type": "model", "id": changes.get("model", "small-chat"), "system": "assistant", "risk": "limited",
            "region": "", "data_classes": [],
        },
        "request": {"protocol": "openai", "stream": False, "max_tokens": 0, "tools": [], "data_classes": []},
        "context": {"region": "local", "environment": "test"},
    }  # fmt: skip


def recorded(
    *inputs: dict[str, Any], time: int = NOW, count: int = 1, tokens: int = 0, decision: str = ""
) -> RecordedCall:
    """Return a recorded call with the inputs of its links."""
    return RecordedCall(chain_of(list(inputs)), time, time, count, tokens, decision)


Assess = Callable[..., Impact]


@pytest.fixture
def assessed() -> Assess:
    """Replay calls by two revisions in this process and return the report."""

    def run(base: Revision, candidate: Revision, *calls: RecordedCall, **options: Any) -> Impact:
        cases = cases_of(calls, (base.policies, candidate.policies))
        done = replay(cases, base.policies, candidate.policies, ReplayOptions(jobs=1, **options))
        return assess(done, base, candidate, now=NOW)

    return run
