"""The Rego tests get the verdicts of `opa test`: the starter policies' own, and odd ones. Checks ask OPA."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.authorization.policy_set import LoadedPolicySet, load_policy_set
from gateway.authorization.rego_tests import run_rego_tests
from gateway.policyreview.lint_tools import opa_findings

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ROOT / "policies"

DECISION = """package govgateway.authz

default decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}

test_beside_the_rules if not decision.allow

size(x) := count([1 | some _ in x])
"""
ODD = """package govgateway.odd_test

test_true if not data.govgateway.authz.decision.allow
test_false := false
test_undefined if data.govgateway.authz.decision.allow
test_number := 3
test_text := "true"
test_null := null
test_object := {}
test_set contains 1 if true
test_empty_set contains 1 if false
test_divides_by_zero if 1 % 0 == 1
test_no_input if not input
test_input_is_no_object if input == {}
test_input_replaced if input.x == 1 with input as {"x": 1}
test_input_part_replaced if input.x.y == 1 with input.x.y as 1
test_rule_replaced if data.govgateway.authz.decision == 1 with data.govgateway.authz.decision as 1
test_data_replaced if data.govgateway.roles.a == 1 with data.govgateway.roles as {"a": 1}
test_twice if true
test_twice if false
test_first_of_two_fails if false
test_first_of_two_fails if true
default test_default := true
test_default := false if false
default test_default_alone := false
test_two_values := 1 if true
test_two_values := 2 if true
test_else := false if 1 == 2 else := true
test_named.further if true
named.test_further if true
named.test_false if false
test_case[name] if { some name in ["a", "b"]; name == "a" }
test_case_good[name] if some name in ["a", "b"]
test_case_value[name] := value if some name, value in {"a": true, "b": false}
test_case_values[name] := value if some name, value in {"a": true, "b": true}
test_case_part[case.name] if {
	some case in [{"name": "one plus one", "x": 1, "sum": 2}, {"name": "two plus one", "x": 2, "sum": 3}]
	sum := case.x + 1
	sum == case.sum
}
test_case_part[case.name] if {
	some case in [{"name": "one plus one", "x": 1, "sum": 2}, {"name": "two plus one", "x": 2, "sum": 4}]
	sum := case.x + 1
	sum == case.sum
}
test_case_assigned[name] if {
	some case in [{"n": "a"}, {"n": "b"}]
	case.n != "b"
	name := case.n
}
test_case_commented[case.name] if {
	some case in [{"name": "a;", "x": 1}, {"name": "}", "x": 2}] # a comment; with }

	# another
	case.x == 1; case.name != ""
}
test_case_computed[concat("-", [case.a, "x"])] if {
	some case in [{"a": "1"}, {"a": "2"}]
	case.a != "2"
}
test_case_of_numbers[number] if some number in [1, 2]
test_case_of_failing_numbers[number] if { some number in [1, 2]; number > 1 }
test_case_of_none[name] if { some name in []; name == "a" }
test_case_all_fail[name] if { some name in ["a"]; name == "b" }
nested.test_case[name] if { some name, _ in {"a": 1}; 1 % 0 == 1 }
test_object_of_true := {"a": true}
test_object_of_true_if := {"a": true} if true
test_fixed.one := true
test_fixed.two := false
test_fixed_text["a b"] := true
test_fixed_false.one := false
test_fixed_number.one := 1
test_fixed_object.one := {"a": true}
test_fixed_object_false.one := {"a": true, "b": false}
test_fixed_with_body.one := true if true
test_fixed_further.one.two := true
test_case_of_true[name] := {"n": true} if some name in ["a"]
test_case_of_false[name] := {"n": true, "m": false} if some name in ["a"]
test_function_replaced if data.govgateway.authz.size([1]) == 7 with data.govgateway.authz.size as 7
test_function_replaced_by_another if data.govgateway.authz.size([1]) == 9 with data.govgateway.authz.size as nine
nine(_) := 9
test_builtin_replaced if data.govgateway.authz.size([1]) == 5 with count as 5
test_every if every x in [1, 2] { x > 0 }
test_every_fails if every x in [1, 2] { x > 1 }
test_function(x) := x
test_not_undefined if not input.a.b
test_ if true
testing if false
todo_test_case[name] if { some name in ["a"]; name == "b" }
todo_test_false if false
todo_test_true if true
todo_test_error if 1 % 0 == 1
helper_test if false
"""
ANOTHER = """package govgateway.deep.another_test

import data.govgateway.authz.size as length

test_import if length([1]) == 1
test_true if data.govgateway.odd_test.test_true
test_of_data if count(data.govgateway.roles) == 0
test_twice if true
"""

Verdict = tuple[str, str]


@pytest.fixture(scope="module")
def opa() -> str:
    found = shutil.which("opa", path=f"{ROOT / '.interop' / 'bin'}:{os.environ['PATH']}")
    if found is None:
        pytest.fail("opa is not installed; deploy/interop.sh installs it")
    return found


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    files = {"decision.rego": DECISION, "odd_test.rego": ODD, "another_test.rego": ANOTHER}
    for name, text in files.items():
        path = tmp_path / "policies" / "govgateway" / "authz" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "policies" / "govgateway" / "roles").mkdir()
    (tmp_path / "policies" / "govgateway" / "roles" / "data.yaml").write_text("{}\n")
    return tmp_path / "policies"


def of_opa(opa: str, directory: Path, *options: str) -> set[Verdict]:
    command = (opa, "test", "--format=json", *options, str(directory))
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout, done.stderr
    return {(f"{entry['package']}.{entry['name']}", _verdict(entry)) for entry in json.loads(done.stdout)}


def ours(policies: LoadedPolicySet) -> set[Verdict]:
    return {
        (result.name, "skipped" if result.skipped else "passed" if result.passed else "failed")
        for result in run_rego_tests(policies)
    }


def _verdict(entry: dict[str, object]) -> str:
    return "skipped" if entry.get("skip") else "failed" if entry.get("fail") or entry.get("error") else "passed"


def test_the_starter_policies_get_the_verdicts_of_opa(opa: str) -> None:
    verdicts = ours(load_policy_set(POLICIES))
    assert verdicts == of_opa(opa, POLICIES)
    assert {verdict for _, verdict in verdicts} == {"passed"}


def test_odd_tests_get_the_verdicts_of_opa(opa: str, odd: Path) -> None:
    verdicts = ours(load_policy_set(odd))
    assert verdicts == of_opa(opa, odd)
    assert {verdict for _, verdict in verdicts} == {"passed", "failed", "skipped"}


def test_cases_that_cannot_be_told_fail_and_say_so(opa: str, odd: Path) -> None:
    path = odd / "govgateway" / "authz" / "cases_test.rego"
    path.write_text('package govgateway.cases_test\n\ntest_case[name] if { some name; ["a", "b"][_] = name }\n')
    name = "data.govgateway.cases_test.test_case"
    assert (name, "passed") in of_opa(opa, odd)
    (result,) = (each for each in run_rego_tests(load_policy_set(odd)) if each.name == name)
    assert not result.passed
    assert "cannot be told" in result.detail


@pytest.mark.usefixtures("opa_on_path")
def test_opa_finds_nothing_in_the_starter_policies() -> None:
    assert opa_findings(POLICIES) == []


@pytest.mark.usefixtures("opa_on_path")
def test_what_opa_is_strict_about_is_found_with_its_place(odd: Path) -> None:
    rules = "package govgateway.authz\n\nodd if {\n\tunused := 1\n\tinput.x\n}\n"
    (odd / "govgateway" / "authz" / "unused.rego").write_text(rules)
    (finding,) = opa_findings(odd)
    assert (finding.severity, finding.rule) == ("error", "opa/rego_compile_error")
    assert (finding.file, finding.line) == ("govgateway/authz/unused.rego", 4)
    assert "unused" in finding.message


@pytest.fixture
def opa_on_path(opa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(opa).parent}:{os.environ['PATH']}")
