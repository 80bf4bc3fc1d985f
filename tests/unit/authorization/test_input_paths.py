"""What the policies can read of the input is found whatever way they read it, and nothing else decides."""

import json
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.authorization import input_paths as analysis
from gateway.authorization.cache import CachingEngine, DecisionCache
from gateway.authorization.engine import Decision, PolicyInput
from gateway.authorization.input_paths import WHOLE_INPUT, InputPaths, input_paths
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.rego import Module, RegoError, evaluate, new_engine
from tests.unit.authorization.conftest import call

WHOLE = ((),)

HELPERS = """\
import input.d as dee
import input.e
helper := input.h.one
default fallback := 7
fallback := input.h.two if input.h.three
f(x) := x.a
g(x) := {"b": x}
parts contains input.h.four
table[input.h.five] := input.h.six
"""

HELPER_PATHS = {("d",), ("e",), *(("h", key) for key in ("one", "two", "three", "four", "five", "six"))}

READS: dict[str, tuple[tuple[str, ...], ...]] = {
    "input.a": (("a",),),
    "input.a.b.c": (("a", "b", "c"),),
    'input["a"]': (("a",),),
    "input[`a`]": (("a",),),
    'input["\\u0061"].b': (("a", "b"),),
    'input["a\\"b"]': (('a"b',),),
    r"input[`a\u0062`]": ((r"a\u0062",),),
    'input["a.b"]': (("a.b",),),
    'input["input"].a': (("input", "a"),),
    "input.a.input": (("a", "input"),),
    'input["grün"]': (("grün",),),
    "input.a[0]": (("a",),),
    'input.a["0"]': (("a", "0"),),
    "input.a[_].b": (("a",),),
    "input.a[null]": (("a",),),
    "input.a[input.b].c": (("a",), ("b",)),
    'input.a[input["b"].c]': (("a",), ("b", "c")),
    "input.a[input.a.b]": (("a",),),
    "[input.a.b, input.a]": (("a",),),
    "[input.a.b, input.a.c]": (("a", "b"), ("a", "c")),
    "input[input.a]": WHOLE,
    "input[0]": WHOLE,
    "input[_].b": WHOLE,
    "input": WHOLE,
    "[v | some v in input]": WHOLE,
    "[k | some k, _ in input]": WHOLE,
    "[k | input[k]]": WHOLE,
    "{k: v | some k, v in input.a}": (("a",),),
    "{v | v := input.a[_]}": (("a",),),
    'input == {"a": 1}': WHOLE,
    'input.a == {"b": 1}': (("a",),),
    '"b" in input.a': (("a",),),
    "[x | x := input; x.b == 1]": WHOLE,
    '[x | {"a": x} = input]': WHOLE,
    'object.get(input, ["a", "b"], 0)': WHOLE,
    'object.get({"k": input.a}, ["k", "b"], 0)': (("a",),),
    "object.get(data.nowhere, input.a, input.b)": (("a",), ("b",)),
    "f(input)": WHOLE,
    "f(input.a)": (("a",),),
    "f(input.a).b": (("a",),),
    "g(input.b).b": (("b",),),
    '{"k": input.b}.k': (("b",),),
    "{input.a: input.b}": (("a",), ("b",)),
    "{input.a, 1}": (("a",),),
    "0 - input.a.b": (("a", "b"),),
    "input.a + input.b": (("a",), ("b",)),
    "count(input.a) > input.b": (("a",), ("b",)),
    "is_null(input.a.b)": (("a", "b"),),
    "data.nowhere[input.a].b": (("a",),),
    "table[input.a]": (("a",),),
    "parts[input.a]": (("a",),),
    "dee.b": (("d",),),
    "e": (("e",),),
    "helper": (),
    "fallback": (),
    "data.other.value": (),
    "[1 | every x in input.a { x == input.b }]": (("a",), ("b",)),
    "[1 | not input.a.b]": (("a", "b"),),
    "[1 | not input]": WHOLE,
    "[1 | some i; input.a[i] == input.b[i]]": (("a",), ("b",)),
    "{x: y | some x, y in {input.a: input.b}}": (("a",), ("b",)),
    "sum([1 | input.a.b; input.c])": (("a", "b"), ("c",)),
}
"""Expressions, and what each of them reads."""

SAMPLE = '{"a": [{"b": 1}]}'
"""An input for which each of them can be evaluated."""


def policies(*modules: str, tests: tuple[str, ...] = ()) -> Any:
    return SimpleNamespace(
        revision="r1",
        data_digest="d1",
        modules=tuple(Module(f"m{number}.rego", text) for number, text in enumerate(modules)),
        tests=tuple(Module(f"m{number}_test.rego", text) for number, text in enumerate(tests)),
    )


def reading(*expressions: str) -> Any:
    """Return policies with rules `r0`, `r1`, … for the expressions, and helpers in two packages."""
    rules = "".join(f"r{number} := {expression}\n" for number, expression in enumerate(expressions))
    return policies(f"package p\n{HELPERS}{rules}", "package other\nvalue := input.o\n")


def paths(text: str, imports: str = "") -> tuple[tuple[str, ...], ...]:
    return input_paths(policies(f"package p\n{imports}{text}")).paths


def values(engine: Any, rules: int, policy_input: Any) -> list[Any]:
    """Return the value of each rule; the cause does not matter where it has none."""
    found: list[Any] = []
    for number in range(rules):
        try:
            found.append(evaluate(engine, f"data.p.r{number}", json.dumps(policy_input)))
        except RegoError:
            found.append("an error")
    return found


@pytest.mark.parametrize(("expression", "read"), READS.items())
def test_every_way_to_read_the_input_is_found(expression: str, read: tuple[tuple[str, ...], ...]) -> None:
    expected = InputPaths([*read, *HELPER_PATHS, ("o",)])
    assert input_paths(reading(expression)).paths == expected.paths


@pytest.mark.parametrize("expression", READS)
def test_every_way_to_read_the_input_is_rego_that_the_engine_accepts(expression: str) -> None:
    evaluate(new_engine(reading(expression).modules), "data.p.r0", SAMPLE)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("x := 1", ()),
        ("x := 1 if input.a\nelse := input.b if input.c", (("a",), ("b",), ("c",))),
        ("f(x) := 1 if x == input.a", (("a",),)),
        ('f({"a": x}) := x\ny := f(input)', WHOLE),
        ("f(x) := x\ny := f(input.a)", (("a",),)),
        ("f(input) := input.a", WHOLE),
        ("default f(_) := false\nf(x) if x == input.a", (("a",),)),
        ("s contains input.a if input.b", (("a",), ("b",))),
        ("m[input.a].b[input.c] := input.d", (("a",), ("c",), ("d",))),
        ("x if input.a with input.b as 1", WHOLE),
        ("x if data.p.y with data.q as 1\ny := 1", WHOLE),
        ("x if { some input in [1]; input == 1 }", WHOLE),
        ("x if { every input in [1] { input == 1 } }", WHOLE),
        ("never if { false; input.a }", (("a",),)),
        ('x := input["a"\n].b', (("a", "b"),)),
        ("x := [1, # input\n input.a]", (("a",),)),
        ('x := "input"\ny := `"`\nz := input.a\nw := `"`', (("a",),)),
        ('x := "\\"input"\ny := {"input": 1}.input', ()),
        ("xinput := 1\ninput_x := xinput", ()),
        ('# ü€𝄞 input\nx := ["ü€𝄞", input.a]\r\n# input\r\ny := input.b\r\n', (("a",), ("b",))),
    ],
)
def test_rules_of_every_form_are_read(text: str, read: tuple[tuple[str, ...], ...]) -> None:
    assert paths(text) == read


@pytest.mark.parametrize(
    ("imports", "read"),
    [
        ("import input.a", (("a",),)),
        ("import input.a.b as c", (("a", "b"),)),
        ("import input as everything", WHOLE),
        ("import input", WHOLE),
        ("import data.q as input", WHOLE),
        ("import data.q.input", ()),
        ("import rego.v1", ()),
    ],
)
def test_what_is_imported_is_read(imports: str, read: tuple[tuple[str, ...], ...]) -> None:
    assert paths("x := 1\n", f"{imports}\n") == read


@pytest.mark.parametrize("text", ["input := 1", "input.a := 1", "x if { input := 1; input == 1 }"])
def test_nothing_else_can_be_named_input(text: str) -> None:
    with pytest.raises(RegoError, match="input cannot be shadowed"):
        paths(text)


def test_rule_of_a_test_that_a_policy_refers_to_may_read_everything() -> None:
    tests = ("package p_test\nx := input.secret\n",)
    for reference in ("data.p_test.x", 'data["p_test"].x', "data.p_test[input.a]"):
        assert input_paths(policies(f"package p\ny := {reference}\n", tests=tests)).whole, reference
    assert input_paths(policies("package p\nimport data.p_test.x\ny := x\n", tests=tests)).whole
    assert not input_paths(policies("package p\ny := data.p_testing.x\n", tests=tests)).whole


@pytest.mark.parametrize("kind", ["Var", "value", "span", "ast"])
def test_syntax_tree_of_another_shape_hides_nothing(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    modules = policies("package p\nx := input.a.b\n")
    tree = new_engine(modules.modules).get_ast_as_json()
    renamed = tree.replace('"ast"', '"ast": {}, "tree"') if kind == "ast" else tree.replace(f'"{kind}"', '"Other"')
    monkeypatch.setattr(analysis, "new_engine", lambda _: SimpleNamespace(get_ast_as_json=lambda: renamed))
    monkeypatch.setattr(analysis, "data_paths", lambda _: set())
    monkeypatch.setattr(analysis, "packages_of", lambda _: {})
    assert input_paths(modules).whole


@pytest.mark.parametrize("kind", ["RefDot", "RefBrack", "refr", "field", "index", "String", "RawString"])
def test_reference_of_another_shape_reads_more_not_less(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    modules = policies('package p\nx := input.a.b\ny := input["c"]["d"]\nz := input[`e`]\n')
    renamed = new_engine(modules.modules).get_ast_as_json().replace(f'"{kind}"', '"Other"')
    monkeypatch.setattr(analysis, "new_engine", lambda _: SimpleNamespace(get_ast_as_json=lambda: renamed))
    monkeypatch.setattr(analysis, "data_paths", lambda _: set())
    monkeypatch.setattr(analysis, "packages_of", lambda _: {})
    assert input_paths(modules).whole


def test_starter_policies_read_parts_of_the_input(starter: LoadedPolicySet) -> None:
    read = input_paths(starter)
    assert not read.whole
    assert {("action",), ("principal", "roles"), ("resource", "id")} <= set(read.paths)


def test_path_that_begins_with_another_is_covered_by_it() -> None:
    assert InputPaths([("a", "b"), ("a",), ("a", "c", "d"), ("aa",), ("a", "b")]).paths == (("a",), ("aa",))
    assert InputPaths([("a",), ()]).paths == WHOLE == WHOLE_INPUT.paths
    assert InputPaths([]).paths == ()


DIFFERENT = [
    {},
    {"a": None},
    {"a": {}},
    {"a": {"b": None}},
    {"a": {"b": 1}},
    {"a": {"b": 1.0}},
    {"a": {"b": True}},
    {"a": {"b": "1"}},
    {"a": {"b": [1]}},
    {"a": {"b": [[1]]}},
    {"a": {"b": {"c": 1}}},
    {"a": "b"},
    {"a": ["b"]},
    {"a": []},
    {"a": {"b": 1}, "c": 1},
    {"a": {"b": 1}, "c": None},
    {"a": {"b": 1, "d": None}, "c": 1},
    {"a": {"b": 1, "d": 1}, "c": None},
    {"a": {"b": None, "d": 1}, "c": 1},
    {"a": {"b": 1, "d": 1}, "c": 1},
    {"c": 1},
    {"a": {"b": [1, 1]}, "c": 1},
    {"a": {"b.c": 1, "b": {}}},
    {"a": {"b": '1,"c'}},
    {"a.b": 1},
    {'a"b': 1},
    [],
    [1],
]


@pytest.mark.parametrize(
    "read",
    [
        InputPaths([("a", "b"), ("a", "d"), ("c",), ("a.b",), ('a"b',), ("a", "b.c")]),
        InputPaths([("a",), ("c",), ("a.b",), ('a"b',)]),
        WHOLE_INPUT,
    ],
)
def test_projections_of_different_inputs_differ(read: InputPaths) -> None:
    assert len({read.project(policy_input) for policy_input in DIFFERENT}) == len(DIFFERENT)


def test_what_is_not_read_is_not_in_the_projection() -> None:
    read = InputPaths([("a", "b"), ("c",)])
    policy_input = {"a": {"b": 1}, "c": {"d": (2, 3), "e": 4}}
    for same in (
        {"c": {"e": 4, "d": [2, 3]}, "a": {"b": 1}},
        {**policy_input, "a": {"b": 1, "c": 2}},
        {**policy_input, "d": {"b": 1}},
    ):
        assert read.project(same) == read.project(policy_input)
    assert InputPaths([]).project({"a": 1}) == InputPaths([]).project({})


class _Dict(dict[str, Any]):
    pass


def test_object_of_another_class_is_kept_whole() -> None:
    read = InputPaths([("a", "b")])
    assert read.project({"a": _Dict(b=1, c=1)}) != read.project({"a": _Dict(b=1, c=2)})
    assert read.project(_Dict(a={"b": 1}, c=1)) != read.project(_Dict(a={"b": 1}, c=2))


@pytest.mark.parametrize("bad", [object(), {1: 2}, 2**70, "\ud800", {1, 2}, SimpleNamespace()])
@pytest.mark.parametrize("read", [InputPaths([("a", "b")]), InputPaths([]), WHOLE_INPUT])
def test_input_that_is_not_json_has_no_projection(read: InputPaths, bad: object) -> None:
    for policy_input in ({"a": {"b": bad}}, {"a": {"c": bad}}, {"a": bad}, {"c": bad}, {"a": {"b": 1}, "c": [bad]}):
        with pytest.raises(TypeError):
            read.project(policy_input)


def test_input_nested_more_deeply_than_the_engine_reads_is_told_apart() -> None:
    deep: list[Any] = []
    for _ in range(126):
        deep = [deep]
    modules = policies("package p\nr0 := 1\n")
    read, engine = input_paths(modules), new_engine(modules.modules)
    with pytest.raises(RegoError, match="recursion limit"):
        evaluate(engine, "data.p.r0", json.dumps({"a": deep}))
    assert read.project({"a": deep}) != read.project({"a": 1})


scalars = st.sampled_from([None, True, False, 0, 1, 1.0, 2, "a", "b", "", "0"])
keys = st.sampled_from(["a", "b", "c", "d", "e", "h", "o", "one", "two", "three", "four", "0", "a.b", "input"])
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
inputs = st.dictionaries(keys, documents, max_size=7)
expressions = st.lists(
    st.sampled_from([*READS, *READS, *(e for e, read in READS.items() if read != WHOLE)]), max_size=4
)
narrow = st.lists(st.sampled_from([e for e, read in READS.items() if read != WHOLE]), max_size=5)


@st.composite
def same_to(draw: st.DrawFn, read: InputPaths, policy_input: Any, prefix: tuple[str, ...] = ()) -> Any:
    """Draw an input that differs from another only in what is not read."""
    if type(policy_input) is not dict or prefix in read.paths:
        return policy_input
    noise = draw(st.dictionaries(keys | st.just("unheard of"), documents, max_size=3))
    touched = {path[len(prefix)] for path in read.paths if path[: len(prefix)] == prefix}
    kept = {key: draw(same_to(read, policy_input[key], (*prefix, key))) for key in touched & policy_input.keys()}
    return {**{key: value for key, value in noise.items() if key not in touched}, **kept}


@settings(max_examples=100, deadline=None)
@given(narrow, st.data())
def test_policies_decide_by_what_is_read_alone(chosen: list[str], data: st.DataObject) -> None:
    rules = reading(*chosen)
    engine, read = new_engine(rules.modules), input_paths(rules)
    for policy_input in data.draw(st.lists(inputs, min_size=1, max_size=4)):
        other = data.draw(same_to(read, policy_input))
        assert read.project(other) == read.project(policy_input)
        fresh = values(engine, len(chosen), policy_input)
        assert values(engine, len(chosen), other) == fresh
        assert values(engine, len(chosen), read.reduce(policy_input)) == fresh


class Answering:
    """Decides by giving the values of all rules as its reason, so that any difference shows."""

    def __init__(self, rules: Any, count: int) -> None:
        self.asked = 0
        self._engine = new_engine(rules.modules)
        self._count = count

    async def decide(self, policy_input: PolicyInput) -> Decision:
        self.asked += 1
        return Decision(False, (json.dumps(values(self._engine, self._count, policy_input), sort_keys=True),), (), 60)


@settings(max_examples=100, deadline=None)
@given(expressions, st.data())
async def test_cached_decision_of_any_policies_is_the_fresh_one(chosen: list[str], data: st.DataObject) -> None:
    cache, fresh = DecisionCache(1_000), {}
    engines = []
    # Two sets of policies with the same revision share the cache.
    for each in (chosen, data.draw(expressions)):
        rules = reading(*each)
        engines.append(CachingEngine(Answering(rules, len(each)), cache, lambda: 1, rules))
        fresh[id(engines[-1])] = Answering(rules, len(each))
    for policy_input in data.draw(st.lists(inputs, min_size=1, max_size=5)):
        for cached in engines:
            other = data.draw(same_to(cached.paths, policy_input))
            assert await cached.decide(policy_input) == await fresh[id(cached)].decide(policy_input)
            hits = cache.hits
            assert await cached.decide(other) == await fresh[id(cached)].decide(other)
            assert cache.hits == hits + 1


def test_projection_of_a_call_is_smaller_than_the_call(starter: LoadedPolicySet) -> None:
    policy_input = call(principal={"attributes": {"note": "x" * 500}})
    assert len(input_paths(starter).project(policy_input)) < len(orjson.dumps(policy_input)) / 2
