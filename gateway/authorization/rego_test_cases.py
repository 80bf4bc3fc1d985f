"""Lists the cases of a test such as `test_sum[name] if { some name, case in cases; … }`, as `opa test` does.

OPA takes note of a case as soon as the body has bound its name, and fails it if the rest of the body does. Here, a rule
of its own goes through the body up to there.
"""

from collections.abc import Iterator
from typing import Any

from gateway.authorization.rego import Module, RegoError, new_engine


def case_rule(rule: Any, source: bytes, test: str, name: str) -> str:
    """Return the text of a rule that is the set of the names of a test's cases; empty where it cannot be told.

    Args:
        rule: syntax tree of the test.
        source: the file it is in.
        test: full name of the test.
        name: name for the rule.
    """
    match rule:
        case {"Spec": {"head": {"Compr": {"refr": {"RefBrack": {"index": key, "span": span}}}}, "bodies": [body]}}:
            statements = body["query"]["stmts"]
        case _:
            return ""
    (node,) = key.values()
    named = source[node["span"]["start"] : span["end"]].decode().removesuffix("]")
    wanted = set(_variables(key))
    for statement, following in zip(statements, [*statements[1:], None], strict=True):
        if statement.get("with_mods"):
            return ""
        wanted.difference_update(_bound(statement["literal"]))
        if wanted:
            continue
        if following is None:
            return f"\n{name} contains case_name if some case_name, _ in {test}\n"
        # The place of a text leaves out its quotes, so that where a statement ends is known from the next one only.
        body_text = source[statements[0]["span"]["start"] : following["span"]["start"]].decode().rstrip("; \t\n")
        return _parsed(f"\n{name} contains {named} if {{\n{body_text}\n}}\n")
    return ""


def _parsed(text: str) -> str:
    """Return the text if it is Rego."""
    try:
        new_engine([Module("cases.rego", f"package cases\n{text}")])
    except RegoError:
        return ""
    return text


def _variables(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _variables(item)
    elif isinstance(node, dict):
        if "Var" in node:
            yield str(node["Var"]["value"])
        else:
            for value in node.values():
                yield from _variables(value)


def _bound(literal: Any) -> Iterator[str]:
    """Yield the variables that a statement certainly binds."""
    match literal:
        case {"SomeIn": {"key": key, "value": value}}:
            yield from _variables([key, value])
        case {"Expr": {"expr": {"AssignExpr": {"op": "ColEq", "lhs": left}}}}:
            yield from _variables(left)
