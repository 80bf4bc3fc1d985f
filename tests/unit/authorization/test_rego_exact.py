"""Forms in which the embedded engine differs from OPA are refused at load; what is the same in both is taken."""

import re
from pathlib import Path

import pytest

from gateway.authorization.builtins import ALLOWED_BUILTINS, OPA_BUILTINS
from gateway.authorization.policy_set import EngineName, load_policy_tree
from gateway.authorization.policy_tree import PolicyTree
from gateway.errors import ConfigError

DECISION = b"""package govgateway.authz
decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}
maybe := 1 if input.resource.id == "x"
default surely := 2
some_of contains 1
f(x) if x == 1
"""


def load(rules: str, engine: EngineName = "embedded") -> None:
    text = f"package govgateway.authz\nimport data.tables.one\nimport data.tables.two as other\n{rules}\n"
    files = {"govgateway/authz/a.rego": DECISION, "govgateway/authz/b.rego": text.encode()}
    load_policy_tree(PolicyTree(Path("set"), files), engine=engine)


REFUSED = {
    "x := 1.5": "a number that is not written as a whole one",
    "x := 60.0": "a number that is not written as a whole one",
    "x := 1e3": "a number that is not written as a whole one",
    "x := [y | some y in [1]; y < 0.5]": "a number that is not written as a whole one",
    "x := input.request.max_tokens / 2": "a division",
    "x if not input.other != 1": "'not' around",
    "x if not input.other < 1": "'not' around",
    "x if not input.request.n + 1 == 2": "'not' around",
    "x if not startswith(input.other, `a`)": "'not' around",
    "x if not startswith(input.principal.attributes.a, `a`)": "'not' around",
    "x if not f(input.other)": "'not' around",
    "x if not f(1) == true": "'not' around",
    "x if not maybe != 1": "'not' around",
    "x if not startswith(one, `a`)": "'not' around",
    "x if not startswith(other, `a`)": "'not' around",
    "x if not count(input.other) > 0": "'not' around",
    "x if not input.obj[input.other]": "'not' around",
    "x if not input.obj[lower_of].z\nlower_of := input.other": "'not' around",
    "x if not [input.other] == [1]": "'not' around",
    "x if not {`a`: input.other} == {}": "'not' around",
    "x if not 1 in input.other": "'not' around",
    "x if not input.other in some_of": "'not' around",
    "x := [1 | not is_string(input.other)]": "'not' around",
    "x if every y in [1] { not y < input.other }": "'not' around",
    "x := 1 in input.other": "'in' as a value",
    "x := [1 in input.other]": "'in' as a value",
    "x if (1 in input.other) == false": "'in' as a value",
    "x if { y := 1 in input.other; not y }": "'in' as a value",
    "o.a := 1 if input.other": "an object built by rules for single keys",
    'o["a"] := 1 if input.other': "an object built by rules for single keys",
    "o.a.b := 1": "an object built by rules for single keys",
    "x := count(`abc`)": "the length of a string",
    "x if count(input.resource.id) > 5": "the length of a string",
    "x if count(concat(``, [`a`])) > 5": "the length of a string",
    "x if glob.match(`a?`, null, input.action)": "the pattern of glob.match",
    "x if glob.match(`[^a]`, null, input.action)": "the pattern of glob.match",
    "x if glob.match(`a/**`, [`/`], input.action)": "the pattern of glob.match",
    "x if glob.match(`*`, [`.`, `:`], input.action)": "the pattern of glob.match",
    "x if glob.match(`*`, [`é`], input.action)": "the pattern of glob.match",
    "x if glob.match(`*`, input.other, input.action)": "the pattern of glob.match",
    "x if glob.match(input.other, [`.`], input.action)": "the pattern of glob.match",
    r"x if regex.match(`\d+`, input.action)": "the pattern of regex.match",
    r"x if regex.match(`\bword`, input.action)": "the pattern of regex.match",
    "x if regex.match(`(?i)a`, input.action)": "the pattern of regex.match",
    "x if regex.match(`(?-u)a`, input.action)": "the pattern of regex.match",
    "x if regex.match(`a++`, input.action)": "the pattern of regex.match",
    "x if regex.match(`a{1001}`, input.action)": "the pattern of regex.match",
    "x if regex.match(`[[:alpha:]]`, input.action)": "the pattern of regex.match",
    "x if regex.match(`[a--b]`, input.action)": "the pattern of regex.match",
    "x if regex.match(`[a&&b]`, input.action)": "the pattern of regex.match",
    r"x if regex.match(`\Qa\E`, input.action)": "the pattern of regex.match",
    r"x if regex.match(`\p{Greek}`, input.action)": "the pattern of regex.match",
    "x if regex.match(input.other, input.action)": "the pattern of regex.match",
    'x := json.remove(input, ["a~1b"])': "the paths of json.remove",
    "x := json.filter(input, input.other)": "the paths of json.filter",
}


@pytest.mark.parametrize("rules", REFUSED)
def test_form_that_differs_is_refused_with_its_line_and_a_way_out(rules: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"y := 1\n{rules}")
    assert re.match(rf"set/govgateway/authz/b\.rego:\d+: {re.escape(REFUSED[rules])}", str(caught.value))
    assert str(caught.value).endswith("or decide with OPA (policy.engine: opa).")


@pytest.mark.parametrize("rules", REFUSED)
def test_form_that_differs_is_taken_where_opa_decides(rules: str) -> None:
    load(rules, "opa")


@pytest.mark.parametrize(
    "rules",
    [
        "x := -1",
        "x if not input.other",
        "x if not input.other == 1",
        "x if not 1 == input.other",
        "x if not input.other = 1",
        "x if not maybe",
        "x if not maybe == 1",
        "x if not surely > 1",
        "x if not 2 in some_of",
        "x if not input.action in some_of",
        "x if not startswith(input.action, `a`)",
        "x if { some y in input.other; not y == 1 }",
        "x if { some y in input.other; not y < 1 }",
        "x if { some y in input.other; not input.obj[y].z == 1 }",
        "x if { y := input.other; not startswith(y, `a`) }",
        "x if { y := input.other; not y in [1, 2] }",
        "x if not count([1 | input.other]) > 0",
        "x if not f(1)",
        "x if 1 in input.other",
        "x if { some y in input.other; y in input.another }",
        "x := input.action in {`a`}",
        "x := {y | some y in [1]; y in input.other}",
        "o contains 1",
        "o[k] := 1 if some k in [`a`]",
        "o.a contains 1",
        "x := count(input.principal.roles)",
        "x if glob.match(`example-*`, null, input.resource.id)",
        "x if glob.match(`a/*`, [`/`], input.resource.id)",
        "x if { some y in input.other; glob.match(y, [], input.resource.id) }",
        "x if regex.match(`^(?:[a-z0-9_.-]+|x{2,3})\\.y*?$`, input.resource.id)",
        'x := json.remove(input, ["a/b"])',
    ],
)
def test_form_that_is_the_same_in_both_is_taken(rules: str) -> None:
    load(rules)


@pytest.mark.parametrize("name", sorted(OPA_BUILTINS - ALLOWED_BUILTINS))
def test_builtin_that_differs_is_refused_pointing_to_opa(name: str) -> None:
    arguments = {"walk": "input, [_, y]"}.get(name, "input.other")
    with pytest.raises(
        ConfigError, match=rf"b\.rego:5: the builtin {re.escape(name)} differs .* \(policy.engine: opa\)"
    ):
        load(f"y := 1\nx if {name}({arguments})")


@pytest.mark.parametrize("name", ["time.now_ns", "http.send", "rand.intn", "opa.runtime", "net.lookup_ip_addr"])
def test_builtin_that_is_not_pure_is_refused_where_opa_decides(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"the builtin {re.escape(name)} is not allowed here"):
        load(f"x := {name}()", "opa")
