"""Rules of one package in one module: the same rules, whatever stands around them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.authorization.merging import merged
from gateway.authorization.rego import Module, evaluate, new_engine

A = Module("p/a.rego", "# a comment: package q\n\npackage  p # the package\n\nx if y\n\ns contains 1\n")
B = Module(
    "p/b.rego", "package p\ny if input.a == 1\n\ns contains 2 if input.a == 2\n\ndefault z := 3\n\nz := 4 if y\n"
)
C = Module("q/c.rego", "package q\n\nx := data.p.s")
D = Module("p/d.rego", "package p\n\nimport data.q\n\nw := q.x")
E = Module("p/e.rego", "package p; one_line := 7")


def values(modules: tuple[Module, ...], document: str) -> list[Any]:
    engine = new_engine(modules)
    names = ["data.p.x", "data.p.y", "data.p.s", "data.p.z", "data.q.x", "data.p.w", "data.p.one_line"]
    return [evaluate(engine, name, document) for name in names]


def in_one(*modules: Module) -> tuple[Module, ...]:
    return merged(new_engine(modules), modules)


def test_files_of_a_package_become_one_and_those_with_imports_stay():
    assert [module.name for module in in_one(A, B, C, D)] == ["p/*.rego", "q/c.rego", "p/d.rego"]
    assert in_one(D) == (D,)


@pytest.mark.parametrize("document", ["{}", '{"a": 1}', '{"a": 2}'])
def test_they_have_the_values_that_they_had(document):
    assert values(in_one(A, B, C, D), document) == values((A, B, C, D), document)


def test_a_rule_beside_the_package_statement_is_not_lost():
    try:
        engine = new_engine([E])
    except Exception:
        return
    assert values(merged(engine, [E]), "{}") == values((E,), "{}")


@settings(max_examples=40, deadline=None)
@given(st.permutations([A, B, C, D]))
def test_the_order_of_the_files_changes_nothing(order):
    assert values(in_one(*order), '{"a": 1}') == values((A, B, C, D), '{"a": 1}')


def test_text_beyond_ascii_before_the_rules_is_counted_in_bytes():
    module = Module("p/f.rego", "# ä€😀\npackage p\n\nx := 'ä'\n".replace("'", '"'))
    assert values(in_one(module, B), "{}")[0] == "ä"
