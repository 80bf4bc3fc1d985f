"""The runner of Rego tests tells a passing test from everything else."""

from gateway.authorization.policy_set import load_policy_set
from gateway.authorization.rego_tests import run_rego_tests
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
    }
    assert results["test_false"].detail == "false"
    assert results["test_undefined"].detail == "undefined"
    assert results["test_value"].detail == "3"
    assert "govgateway/authz/a_test.rego:7" in results["test_error"].detail


def test_policies_without_tests_have_no_results(policy_directory: WritePolicies) -> None:
    assert run_rego_tests(load_policy_set(policy_directory(**{"govgateway/authz/a.rego": DENY}))) == ()
