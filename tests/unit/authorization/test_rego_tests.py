"""The runner of Rego tests tells a passing test from everything else."""

import re
from pathlib import Path

from gateway.authorization.policy_set import load_policy_set
from gateway.authorization.rego_tests import RegoTestResult, run_rego_tests
from tests.unit.authorization.conftest import WritePolicies

DENY = """package govgateway.authz
decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}
"""
TESTS = """package govgateway.authz_test
test_true if not data.govgateway.authz.decision.allow
test_with_input if { input.x == 1 with input as {"x": 1} }
test_false := false
test_undefined if data.govgateway.authz.decision.allow
test_value := 3
test_error if 1 % 0 == 1
todo_test_unrelated if false
helper_test if false
"""


def test_only_a_true_rule_passes(policy_directory: WritePolicies) -> None:
    directory = policy_directory(**{"govgateway/authz/a.rego": DENY, "govgateway/authz/a_test.rego": TESTS})
    results = {result.name.rpartition(".")[2]: result for result in run_rego_tests(load_policy_set(directory))}
    assert {name: result.passed for name, result in results.items()} == {
        "test_true": True,
        "test_with_input": True,
        "test_false": False,
        "test_undefined": False,
        "test_value": False,
        "test_error": False,
        "todo_test_unrelated": True,
    }
    assert [name for name, result in results.items() if result.skipped] == ["todo_test_unrelated"]
    assert results["test_false"].detail == "false"
    assert results["test_undefined"].detail == "undefined"
    assert results["test_value"].detail == "3"
    assert "govgateway/authz/a_test.rego:7" in results["test_error"].detail


def test_policies_without_tests_have_no_results(policy_directory: WritePolicies) -> None:
    assert run_rego_tests(load_policy_set(policy_directory(**{"govgateway/authz/a.rego": DENY}))) == ()


def test_each_definition_of_a_test_has_its_own_verdict_and_line(policy_directory: WritePolicies) -> None:
    tests = "package govgateway.authz_test\n\ntest_twice if true\n\ntest_twice if false\ntest_twice_01 if true\n"
    directory = policy_directory(**{"govgateway/authz/a.rego": DENY, "govgateway/authz/a_test.rego": tests})
    results = [(each.name.rpartition(".")[2], each.line, each.passed) for each in run(directory)]
    assert results == [("test_twice", 3, True), ("test_twice#01", 5, False), ("test_twice_01", 6, True)]


def test_names_are_matched_anywhere_and_with_their_package(policy_directory: WritePolicies) -> None:
    directory = policy_directory(**{"govgateway/authz/a.rego": DENY, "govgateway/authz/a_test.rego": TESTS})
    policies = load_policy_set(directory)

    def names(pattern: str) -> list[str]:
        return [each.name.rpartition(".")[2] for each in run_rego_tests(policies, wanted=re.compile(pattern))]

    assert names("test_(true|false)$") == ["test_true", "test_false"]
    assert names("^data.govgateway.authz_test.test_v") == ["test_value"]
    assert names("^test_true") == []


def test_the_cases_of_a_test_that_fail_are_named(policy_directory: WritePolicies) -> None:
    tests = """package govgateway.authz_test

test_sum[case.name] if {
	some case in [{"name": "good", "x": 1, "sum": 2}, {"name": "bad", "x": 1, "sum": 3}]
	case.x + 1 == case.sum
}

test_value[name] := value if some name, value in {"no": false, "yes": true}

test_good[name] if some name in ["a", "b"]

test_odd_name[number] if { some number in [1, 2]; number > 1 }

test_untold[name] if { some name; ["a"][_] = name }

test_divides[name] if { some name in ["a"]; 1 % 0 == 1 }
"""
    directory = policy_directory(**{"govgateway/authz/a.rego": DENY, "govgateway/authz/a_test.rego": tests})
    details = {each.name.rpartition(".")[2]: each.detail for each in run(directory)}
    assert details["test_sum"] == "cases that fail: bad"
    assert details["test_value"] == "cases that fail: no"
    assert details["test_good"] == ""
    assert details["test_odd_name"] == "cases that fail: 1"
    assert "cannot be told" in details["test_untold"]
    assert "modulo by zero" in details["test_divides"]
    assert [each.line for each in run(directory)] == [3, 8, 10, 12, 14, 16]


def test_a_test_whose_only_case_has_a_fixed_name_and_one_with_cases_in_cases(policy_directory: WritePolicies) -> None:
    tests = """package govgateway.authz_test

test_fixed.sum := true

test_fixed["a b"] := false

test_object.sum := {"a": true, "b": true}

test_object_false.sum := {"a": true, "b": false}

test_with_body.sum := true if true

test_cases[name] := {"a": true} if some name in ["x"]

test_false_cases[name] := {"a": true, "b": false} if some name in ["x"]

test_two_keys[x][y] if { some x in ["a"]; some y in ["b"]; x != y }

todo_test_fixed.sum := false
"""
    directory = policy_directory(**{"govgateway/authz/a.rego": DENY, "govgateway/authz/a_test.rego": tests})
    results = {each.name.rpartition(".")[2]: each for each in run(directory)}
    passed = {name for name, each in results.items() if each.passed and not each.skipped}
    assert passed == {"test_fixed", "test_object", "test_cases"}
    assert results["test_fixed#01"].detail == "false"
    assert results["test_false_cases"].detail == "cases that fail: x"
    assert "cannot be told: give it one key" in results["test_two_keys"].detail
    assert results["todo_test_fixed"].skipped


def run(directory: Path) -> tuple[RegoTestResult, ...]:
    return run_rego_tests(load_policy_set(directory))
