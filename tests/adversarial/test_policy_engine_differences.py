"""Policies that would allow in the embedded engine what OPA denies or does not compile: none may be loaded."""

from pathlib import Path

import pytest

from gateway.authorization.policy_set import load_policy_tree
from gateway.authorization.policy_tree import PolicyTree
from gateway.errors import ConfigError

HEAD = """package govgateway.authz

default decision := {"allow": false, "reasons": ["default_deny"], "obligations": [], "cache_seconds": 0}

decision := {"allow": true, "reasons": [], "obligations": [], "cache_seconds": 0} if {
	count(input.principal.roles) > 0
	permitted
}

"""

CLOSED = {
    "the length of a string by another name": "permitted if { s := input.resource.id; count(s) >= 2 }",
    "the length of a string in a function": "f(s) := count(s)\npermitted if f(input.resource.id) >= 2",
    "the length of what is searched": "permitted if { some s in [input.resource.id]; count(s) >= 2 }",
    "the length of a built string": 'permitted if { s := concat("", [input.resource.id]); count(s) >= 2 }',
    "the length of what another rule has": "s := input.resource.id\npermitted if count(s) >= 2",
    "the length of what a default may be": "default s := []\ns := input.resource.id\npermitted if count(s) >= 2",
    "the length of a part of the input": "permitted if count(input.resource.other) >= 2",
    "a parameter named twice": "f(x, x) := true\npermitted if f(1, 2)",
    "an object pattern as a parameter": 'f({"id": _}) := true\npermitted if f(input.resource)',
    "an object pattern that is assigned": 'permitted if { {"id": x} := input.resource; x == "probe" }',
    "an object pattern that is unified": 'permitted if { {"id": x} = input.resource; x == "probe" }',
    "an object pattern after some": 'permitted if { some {"id": x} in [input.resource]; x == "probe" }',
    "a wildcard in a negation": 'permitted if not input.principal.roles[_] == "admin"',
    "an unbound variable in a negation": "permitted if not input.principal.roles[i] == input.request.tools[i]",
    "an unbound variable in a head": 's contains x if input.action == "zz"\npermitted if count(s) == 0',
    "repetition beyond OPA's bound": "permitted if regex.match(`^(?:p{0,11}){0,100}`, input.resource.id)",
    "two defaults": "default v := true\ndefault v := false\npermitted if v",
    "a value and a set of one name": "default v := {}\nv contains 1\npermitted if v",
    "a value and a function of one name": "f := false\nf(x) := true if x == 1\npermitted if f(1)",
    "a parameter named input": 'f(input) := input.x == 1\npermitted if f({"x": 1})',
    "a rule that negates itself": "permitted if not denied\ndenied if not permitted",
    "a negated rule that there is not": "permitted if not deneid",
    "a variable assigned twice": "permitted if { x := 1; x := 2; x == 2 }",
    "a negated call of what may be missing": 'f(x) if x == "zz"\npermitted if not f(input.missing)',
    "a package as a whole by a computed key": "k := `denied`\npermitted if not data.govgateway.authz[k]",
    "data that stand in for rules": "permitted if data.govgateway.authz.listed",
}


def load(body: str, **more: bytes) -> None:
    files = {"d.rego": (HEAD + body + "\n").encode(), **{name.replace("__", "."): text for name, text in more.items()}}
    load_policy_tree(PolicyTree(Path("policies"), files))


def test_the_frame_of_these_policies_loads_by_itself():
    load('permitted if input.action == "model.infer"')


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in CLOSED.items()])
def test_what_only_the_embedded_engine_would_allow_is_refused(body):
    with pytest.raises(ConfigError):
        load(body, data__json=b'{"govgateway": {"authz": {"listed": true}}}' if "listed" in body else b"{}")


@pytest.mark.parametrize(
    "body",
    [
        "permitted if count(input.principal.roles) > 0",
        "permitted if count([1 | some _ in input.resource.other]) == 0",
        "s contains 1\npermitted if count(s) == 1",
        "permitted if { held := {role | some role in input.principal.roles}; more := held; count(more) > 0 }",
        'permitted if count(split(input.resource.id, "-")) > 0',
    ],
)
def test_what_is_plainly_a_collection_is_counted(body):
    load(body)


def test_a_policy_that_reads_a_rule_of_a_test_is_refused():
    body = "blocked if data.govgateway.block_test.blocked\npermitted if not blocked"
    with pytest.raises(ConfigError):
        load(body, x_test__rego=b"package govgateway.block_test\n\nblocked if true\n")
