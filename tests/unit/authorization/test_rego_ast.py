"""What the syntax tree of policies may not contain."""

import re
from collections.abc import Callable

import pytest

from gateway.authorization.builtins import ALLOWED_BUILTINS
from gateway.authorization.policy_set import load_policy_set
from gateway.authorization.rego import Module, evaluate, new_engine
from gateway.errors import ConfigError
from tests.unit.authorization.conftest import WritePolicies

DENY = """\
decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}
"""


Load = Callable[..., None]


@pytest.fixture
def load(policy_directory: WritePolicies) -> Load:
    """Load policies that deny, with these rules and files added."""

    def run(rules: str, *, imports: str = "", **files: str) -> None:
        text = f"package govgateway.authz\n{imports}{DENY}{rules}"
        load_policy_set(policy_directory(**{"govgateway/authz/a.rego": text, **files}))

    return run


def refusal(load: Load, rules: str, **more: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(rules, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ('http.send({"method": "get", "url": "http://127.0.0.1"})', "http.send"),
        ("opa.runtime()", "opa.runtime"),
        ("time.now_ns()", "time.now_ns"),
        ('rand.intn("x", 5)', "rand.intn"),
        ('net.lookup_ip_addr("localhost")', "net.lookup_ip_addr"),
        ('crypto.sha256("x")', "crypto.sha256"),
        ('io.jwt.decode("x")', "io.jwt.decode"),
        ('uuid.rfc4122("x")', "uuid.rfc4122"),
        ("rego.metadata.rule()", "rego.metadata.rule"),
    ],
)
def test_builtin_that_is_not_pure_is_refused_wherever_it_is_called(load: Load, call: str, name: str) -> None:
    expected = rf"/govgateway/authz/a\.rego:\d+: the builtin {re.escape(name)} is not allowed here"
    for rule in (
        f"x := {call}",
        f"x if {call}",
        f"x := [y | y := {call}]",
        f"x := {{1: {call}}}",
        f"f(_) := {call}",
        f"x if {{ every y in [1] {{ y == {call} }} }}",
        f"x := 1 if false else := {call}",
        f"x[{call}] := 1",
        f"x contains {call}",
        f"x := count([{call}])",
    ):
        assert re.search(expected, refusal(load, rule)), rule


@pytest.mark.parametrize("call", ['print("x")', 'trace("x")', "walk([])", 'json.marshal("x")'])
def test_builtin_that_is_not_listed_is_refused(load: Load, call: str) -> None:
    name = call.partition("(")[0]
    assert name in refusal(load, f"x if {call}")


def test_misspelt_builtin_names_the_nearest(load: Load) -> None:
    assert "a.rego:3: there is no function stratswith; did you mean startswith?" in refusal(
        load, 'x if stratswith("a", "b")'
    )


def test_with_is_for_tests(load: Load) -> None:
    assert "a.rego:5: 'with' replaces" in refusal(load, "y if input.x\nx if {\n  y with input as {}\n}")


def test_denied_builtin_cannot_come_in_by_with_or_a_bracket(load: Load) -> None:
    assert "'with' replaces" in refusal(load, "f(x) := x\nx if { f(1) with f as http.send }")
    assert "a.rego:" in refusal(load, 'x := http["send"]({})')


def test_denied_builtin_cannot_come_in_under_another_name(load: Load) -> None:
    assert "the import http hides builtins" in refusal(load, "x := http.send({})", imports="import data.lib.http\n")
    assert "the import time hides builtins" in refusal(load, "x := 1", imports="import data.lib.a as time\n")
    assert "has a builtin's name" in refusal(load, "count(x) := x")
    assert "has a builtin's name" in refusal(load, "http.send(x) := x")


def test_denied_builtin_in_a_test_is_refused_too(load: Load) -> None:
    test = "package govgateway.authz_test\ntest_x if http.send({})\n"
    assert "x_test.rego:2: the builtin http.send" in refusal(load, "", **{"govgateway/authz/x_test.rego": test})


@pytest.mark.parametrize(
    "rules",
    [
        "f(x) := f(x)",
        "f(x) := g(x)\ng(x) := f(x)",
        "f(x) := y if { y := [z | z := g(x)] }\ng(x) := data.govgateway.authz.f(x)",
    ],
)
def test_function_that_calls_itself_is_refused(load: Load, rules: str) -> None:
    assert "a function calls itself: data.govgateway.authz.f → " in refusal(load, rules)


def test_rules_that_need_each_other_are_refused(load: Load) -> None:
    assert re.search("cyclic|recursion", refusal(load, "x if y\ny if x"))


def test_own_functions_may_be_called_by_name_and_by_path(load: Load) -> None:
    library = "package govgateway.lib\ntwice(x) := x * 2\n"
    load(
        "f(x) := x\ny := [f(1), data.govgateway.lib.twice(2), data.govgateway.authz.f(3)]",
        **{"govgateway/lib/l.rego": library},
    )


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("x := data.govgateway.authz", "data.govgateway.authz"),
        ("x := data.govgateway[input.y]", "data.govgateway"),
        ("x := data[input.y].z", "data"),
        ('x := data["govgateway"].authz[input.y]', "data.govgateway.authz"),
        ("x := {y | some y in data.govgateway.authz}", "data.govgateway.authz"),
        ("x := input.z[data.govgateway.authz.a][data.govgateway]", "data.govgateway"),
    ],
)
def test_package_as_a_whole_is_no_value(load: Load, rule: str, path: str) -> None:
    assert f"a.rego:4: {path} names a package as a whole" in refusal(load, "a := 1\n" + rule)


def test_import_of_a_package_is_refused(load: Load) -> None:
    test = "package govgateway.authz_test\n\nimport data.govgateway.authz\n\ntest_x if not authz.decision.allow\n"
    assert "x_test.rego:3: data.govgateway.authz names a package as a whole" in refusal(
        load, "", **{"govgateway/authz/x_test.rego": test}
    )


def test_tables_and_single_rules_may_be_referred_to_and_imported(load: Load) -> None:
    load(
        "x := roles[input.y]\nz := [data.govgateway.authz.x, data.tables[input.y]]",
        imports="import data.govgateway.roles\n",
    )


def test_local_name_of_an_import_is_read_behind_text_that_is_not_ascii(load: Load) -> None:
    assert "the import time hides" in refusal(load, "x := time", imports="# größer → Größe\nimport input.x as time\n")


EXAMPLES = {
    "abs": "abs(-1) == 1",
    "ceil": "ceil(3) == 3",
    "floor": "floor(3) == 3",
    "round": "round(3) == 3",
    "numbers.range": "numbers.range(1, 2) == [1, 2]",
    "count": "count([1]) == 1",
    "max": "max([1, 2]) == 2",
    "min": "min([1, 2]) == 1",
    "product": "product([2, 3]) == 6",
    "sort": "sort({2, 1}) == [1, 2]",
    "sum": "sum([1, 2]) == 3",
    "array.concat": "array.concat([1], [2]) == [1, 2]",
    "array.reverse": "array.reverse([1, 2]) == [2, 1]",
    "array.slice": "array.slice([1, 2], 0, 1) == [1]",
    "intersection": "intersection({{1, 2}, {1}}) == {1}",
    "union": "union({{2}, {1}}) == {1, 2}",
    "json.filter": 'json.filter({"a": 1, "b": 2}, ["a"]) == {"a": 1}',
    "json.remove": 'json.remove({"a": 1, "b": 2}, ["a"]) == {"b": 2}',
    "object.filter": 'object.filter({"a": 1, "b": 2}, ["a"]) == {"a": 1}',
    "object.get": 'object.get({"a": 1}, "b", 2) == 2',
    "object.keys": 'object.keys({"a": 1}) == {"a"}',
    "object.remove": 'object.remove({"a": 1, "b": 2}, ["a"]) == {"b": 2}',
    "object.union": 'object.union({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}',
    "object.union_n": 'object.union_n([{"a": 1}, {"b": 2}]) == {"a": 1, "b": 2}',
    "concat": 'concat("-", ["a", "b"]) == "a-b"',
    "contains": 'contains("ab", "b")',
    "endswith": 'endswith("ab", "b")',
    "format_int": 'format_int(255, 16) == "ff"',
    "replace": 'replace("aba", "a", "c") == "cbc"',
    "split": 'split("a.b", ".") == ["a", "b"]',
    "startswith": 'startswith("ab", "a")',
    "strings.any_prefix_match": 'strings.any_prefix_match("ab", ["a"])',
    "strings.any_suffix_match": 'strings.any_suffix_match("ab", ["b"])',
    "strings.reverse": 'strings.reverse("ab") == "ba"',
    "substring": 'substring("abc", 1, 1) == "b"',
    "trim": 'trim("xax", "x") == "a"',
    "trim_left": 'trim_left("xax", "x") == "ax"',
    "trim_prefix": 'trim_prefix("xa", "x") == "a"',
    "trim_right": 'trim_right("xax", "x") == "xa"',
    "trim_space": 'trim_space(" a ") == "a"',
    "trim_suffix": 'trim_suffix("ax", "x") == "a"',
    "glob.match": 'glob.match("a*", null, "a.b")',
    "regex.match": 'regex.match("^a+$", "aa")',
    "is_array": "is_array([])",
    "is_boolean": "is_boolean(false)",
    "is_null": "is_null(null)",
    "is_number": "is_number(1)",
    "is_object": "is_object({})",
    "is_set": "is_set({1})",
    "is_string": 'is_string("a")',
    "type_name": 'type_name(1) == "number"',
}


def test_engine_has_every_allowed_builtin_and_they_mean_what_opa_means() -> None:
    assert EXAMPLES.keys() == ALLOWED_BUILTINS
    for name, expression in EXAMPLES.items():
        engine = new_engine([Module("a.rego", f"package a\nx if {expression}\n")])
        assert evaluate(engine, "data.a.x", "{}") is True, name
