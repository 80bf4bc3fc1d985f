"""What the tests of a policy set show of it: the lines they evaluate, and the verdicts for a CI server."""

from pathlib import Path
from xml.etree import ElementTree

from gateway.authorization.policy_set import LoadedPolicySet, load_policy_tree
from gateway.authorization.policy_tree import PolicyTree
from gateway.authorization.rego_tests import RegoTestResult, run_rego_tests
from gateway.policyreview.coverage import Coverage, FileCoverage, ranges
from gateway.policyreview.junit import junit_xml

DECISION = """package govgateway.authz

default decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}

decision := {"allow": true, "reasons": [], "obligations": [], "cache_seconds": 0} if {
	"reader" in input.principal.roles
	input.action == "model.infer"
}
"""
TESTS = """package govgateway.authz_test

test_nobody if not data.govgateway.authz.decision.allow with input.principal.roles as []
"""
MORE = """
test_reader if data.govgateway.authz.decision.allow with input as {"principal": {"roles": ["reader"]}, "action": "model.infer"}
"""


def policies(tests: str, **more: str) -> LoadedPolicySet:
    files = {"a": DECISION, "a_test": tests, **more}
    content = {f"govgateway/authz/{name}.rego": text.encode() for name, text in files.items()}
    return load_policy_tree(PolicyTree(Path("policies"), content))


def covered(tests: str, **more: str) -> Coverage:
    loaded = policies(tests, **more)
    coverage = Coverage(loaded.modules)
    run_rego_tests(loaded, watcher=coverage)
    return coverage


def test_lines_that_no_test_evaluates_are_missed() -> None:
    coverage = covered(TESTS)
    (file,) = coverage.files()
    assert file.file == "govgateway/authz/a.rego"
    assert 6 in file.covered
    assert 7 in file.missed
    assert coverage.percent == file.percent < 100


def test_tests_add_up() -> None:
    coverage = covered(TESTS + MORE)
    assert coverage.files()[0].missed == ()
    assert coverage.percent == 100


def test_without_a_test_nothing_is_covered() -> None:
    assert covered("package govgateway.authz_test\n").percent == 0


def test_a_file_that_no_test_gets_to_is_missed_as_a_whole() -> None:
    other = "package govgateway.other\n\nf(x) if {\n\tx == 1\n\tx > 0\n}"
    missed = {file.file: file.missed for file in covered(TESTS + MORE, other=other).files()}
    assert missed == {"govgateway/authz/a.rego": (), "govgateway/authz/other.rego": (4, 5)}


def test_tests_with_cases_beside_the_rules_add_no_lines() -> None:
    other = 'package govgateway.other\n\ntest_case[name] if {\n\tsome name in ["a"]\n\tname != "b"\n}\n'
    (file,) = (each for each in covered(TESTS, other=other).files() if each.file.endswith("other.rego"))
    assert (set(file.covered), file.missed) == ({4, 5}, ())


def test_percent_of_a_file_counts_lines() -> None:
    assert FileCoverage("a.rego", (1, 2, 3), (4,)).percent == 75
    assert FileCoverage("a.rego", (), ()).percent == 100


def test_lines_are_shown_as_ranges() -> None:
    assert ranges([3, 5, 6, 7, 9]) == "3, 5-7, 9"
    assert ranges([]) == ""


def test_junit_counts_verdicts_by_file() -> None:
    results = [
        RegoTestResult("b_test.rego", "data.b_test.test_x", True, line=3, seconds=0.25),
        RegoTestResult("a_test.rego", "data.a_test.test_y", False, "undefined", line=4, seconds=0.5),
        RegoTestResult("a_test.rego", "data.a_test.todo_test_z", True, line=2, skipped=True),
    ]
    root = ElementTree.fromstring(junit_xml(results))  # noqa: S314 - written above
    assert root.tag == "testsuites"
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("3", "1", "1")
    first, second = root.findall("testsuite")
    assert (first.get("name"), first.get("tests"), first.get("failures")) == ("a_test.rego", "2", "1")
    assert [case.get("name") for case in first.findall("testcase")] == ["todo_test_z", "test_y"]
    assert first.find("testcase/skipped") is not None
    (failure,) = first.findall("testcase/failure")
    assert failure.get("message") == "undefined"
    (case,) = second.findall("testcase")
    assert (case.get("classname"), case.get("time"), len(case)) == ("b_test", "0.250000", 0)


def test_junit_keeps_text_from_being_markup() -> None:
    detail = '"]]></failure><script>&\x00\x1b[2J\ud800'
    document = junit_xml([RegoTestResult("a<b>_test.rego", 'data.a."test_x', False, detail)])
    (case,) = ElementTree.fromstring(document).iter("testcase")  # noqa: S314 - written above
    (failure,) = case
    assert case.get("file") == "a<b>_test.rego"
    assert failure.get("message") == '"]]></failure><script>&��[2J�'
