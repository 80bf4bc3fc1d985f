"""Policies that loop: found at load while they still end, and a deny where one gets into a call."""

from pathlib import Path

import pytest

from gateway.authorization import embedded
from gateway.authorization.decision_form import MALFORMED_DENY
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.policy_set import LoadedPolicySet, load_policy_tree
from gateway.authorization.policy_tree import PolicyTree
from gateway.errors import ConfigError
from tests.unit.authorization.conftest import call

DECISION = """package govgateway.authz
default decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}
"""


def load(rules: str, table: int = 0) -> LoadedPolicySet:
    files = {"govgateway/authz/a.rego": f"{DECISION}{rules}\n".encode()}
    if table:
        entries = "".join(f"  e{number}: {number}\n" for number in range(table))
        files["extra/table/data.yaml"] = f"entries:\n{entries}".encode()
    return load_policy_tree(PolicyTree(Path("set"), files))


LOOPS = {
    "a table with itself, three times": """decision := {"allow": true} if {
	count([1 | some a in data.extra.table.entries; some b in data.extra.table.entries
		some c in data.extra.table.entries; a + b + c == -1]) > 0
}""",
    "a table with itself in a rule that decides nothing": """pairs contains [a, b] if {
	some a in data.extra.table.entries
	some b in data.extra.table.entries
}""",
}


@pytest.mark.parametrize("rules", LOOPS.values(), ids=LOOPS)
def test_policy_that_loops_over_a_huge_table_is_refused_at_load(rules: str) -> None:
    """All of the first would take days: the trial ends where it takes more than a decision may."""
    with pytest.raises(
        ConfigError, match=r"takes \d+ ms with lists and tables of \d+ entries; a decision may take 100"
    ):
        load(rules, 20_000)


def test_policy_that_loops_over_a_long_input_is_refused_at_load() -> None:
    rules = """decision := {"allow": true} if {
	t := input.request.tools
	count([1 | some a in t; some b in t; some c in t; some d in t; concat("", [a, b, c, d]) == ""]) > 0
}"""
    with pytest.raises(ConfigError, match="a decision may take 100 ms"):
        load(rules)


def test_policy_that_looks_entries_up_is_taken_with_a_huge_table() -> None:
    policies = load('found if data.extra.table.entries[input.resource.id] == "x"', 20_000)
    assert not EmbeddedEngine(policies).decide_now(call()).allow


def test_decision_that_took_too_long_is_a_deny_and_told(
    starter: LoadedPolicySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    engine = EmbeddedEngine(starter, told.append)
    monkeypatch.setattr(embedded, "DECISION_SECONDS", 0.0)
    assert engine.decide_now(call()) is MALFORMED_DENY
    assert "the decision took" in told[0]
    monkeypatch.undo()
    assert engine.decide_now(call()).allow


def test_engine_that_panics_in_a_real_call_is_a_deny_and_decides_the_next() -> None:
    """The native engine panics in this builtin, which is why the embedded engine may not call it."""
    rules = 'decision := {"allow": true} if object.subset(input.request.tools, input.request.data_classes)'
    tree = PolicyTree(Path("set"), {"govgateway/authz/a.rego": f"{DECISION}{rules}\n".encode()})
    with pytest.raises(ConfigError, match=r"a\.rego:3: the builtin object\.subset differs .* \(policy\.engine: opa\)"):
        load_policy_tree(tree)
    with pytest.raises(ConfigError, match="panicked"):
        load_policy_tree(tree, engine="opa")
