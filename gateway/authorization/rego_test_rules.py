"""Finds the test rules of a policy set as `opa test` does: each definition of a test is a test of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.authorization.rego import Module, new_engine
from gateway.authorization.rego_test_cases import case_rule

TEST, TODO = "test_", "todo_test_"

_Step = tuple[str, int, int]
"""A part of a rule's name, and where it starts and ends in the source (bytes)."""


@dataclass(frozen=True, slots=True)
class RegoTestRule:
    """One definition of a test.

    Attributes:
        file: file it is in.
        line: line it is at.
        name: full name; the second definition of `data.a.test_b` in a package is `data.a.test_b#01`.
        rule: full name of the rule that has its value in the modules returned with it.
        todo: whether the test is skipped.
        cases: whether the rule has one value for each of its cases.
        names: full name of the rule that is the set of the cases' names; empty where they cannot be told.
        case: whether `rule` is the only case of the test, and not the whole of it.
    """

    file: str
    line: int
    name: str
    rule: str
    todo: bool
    cases: bool
    names: str = ""
    case: bool = False


def separate_tests(modules: Sequence[Module]) -> tuple[tuple[Module, ...], list[RegoTestRule]]:
    """Return the test rules in the order of the modules, and the modules with a rule of its own for each of them.

    Definitions of one name would add up to one value. Lines stay what they are.

    Raises:
        gateway.authorization.rego.RegoError: a module does not parse.
    """
    found: list[RegoTestRule] = []
    seen: dict[str, int] = {}
    renamed: dict[str, list[tuple[int, int, str]]] = {}
    added: dict[str, str] = {}
    texts = "".join(module.text for module in modules)
    for syntax in orjson.loads(new_engine(modules).get_ast_as_json()):
        file = syntax["source"]["file"]
        package = ".".join(["data", *(name for name, _, _ in _ground(syntax["ast"]["package"]["refr"])[0])])
        for rule in syntax["ast"]["rules"]:
            test = _test_of(rule)
            if test is None:
                continue
            steps, line, cases, key = test
            name = f"{package}.{'.'.join(step for step, _, _ in steps)}"
            last, start, end = steps[-1]
            todo = last.startswith(TODO)
            number = seen.get(name, 0)
            seen[name] = number + 1
            own = last
            if number and not todo:
                own = _unused(f"{last}_{number:02d}", texts)
                renamed.setdefault(file, []).append((start, end, own))
            names = _unused(f"{'_'.join(step for step, _, _ in steps)}_{number:02d}_cases", texts) if cases else ""
            rule_name = name.removesuffix(last) + own
            one_key = cases and not key
            text = case_rule(rule, syntax["source"]["contents"].encode(), rule_name, names) if one_key else ""
            added[file] = added.get(file, "") + text
            found.append(
                RegoTestRule(
                    file,
                    line,
                    f"{name}#{number:02d}" if number and not todo else name,
                    rule_name if cases else rule_name + key,
                    todo,
                    cases,
                    f"{package}.{names}" if text else "",
                    bool(key) and not cases,
                )
            )
    separated = tuple(_rename(each, renamed.get(each.name, ()), added.get(each.name, "")) for each in modules)
    return separated, found


def _unused(name: str, texts: str) -> str:
    while name in texts:
        name += "_"
    return name


def _test_of(rule: Any) -> tuple[list[_Step], int, bool, str] | None:
    """Return the name of a test up to its part with the prefix, its line, whether it has cases, and its further key.

    A fixed key after the name, such as `.sum` of `test_numbers.sum := true`, names the only case of a test without a
    body. A test with cases has none, unless it has more keys than the one of its cases.
    """
    if "Default" in rule:
        kind, head, bodies = "Default", rule["Default"], []
    else:
        ((kind, head),) = rule["Spec"]["head"].items()
        bodies = rule["Spec"]["bodies"]
    every = list(_steps(head["refr"]))
    steps, computed = _ground(head["refr"])
    for length, (name, _, _) in enumerate(steps, start=1):
        if name.startswith((TEST, TODO)):
            cases = computed and kind == "Compr"
            further = every[length:]
            key = ""
            if cases and len(further) > 1:
                key = "[…]"
            elif kind == "Compr" and not bodies and len(further) == 1 and further[0] and _plain(further[0][0]):
                key = f'["{further[0][0]}"]'
            return steps[:length], head["span"]["line"], cases, key
    return None


def _plain(key: str) -> bool:
    return key.isprintable() and not {'"', "\\"} & set(key)


def _ground(reference: Any) -> tuple[list[_Step], bool]:
    """Return the parts of a reference up to its first computed one, and whether there is one."""
    ground: list[_Step] = []
    for step in _steps(reference):
        if step is None:
            return ground, True
        ground.append(step)
    return ground, False


def _steps(reference: Any) -> Iterator[_Step | None]:
    """Yield the parts of a reference from its start, None for a computed one."""
    match reference:
        case {"Var": {"value": str(name), "span": {"start": int(start), "end": int(end)}}}:
            yield name, start, end
        case {"RefDot": {"refr": inner, "field": [{"start": int(start), "end": int(end)}, str(name)]}}:
            yield from _steps(inner)
            yield name, start, end
        case {
            "RefBrack": {
                "refr": inner,
                "index": {"String": {"value": str(name), "span": {"start": int(start), "end": int(end)}}},
            }
        }:
            yield from _steps(inner)
            yield name, start, end
        case {"RefBrack": {"refr": inner}}:
            yield from _steps(inner)
            yield None
        case _:
            yield None


def _rename(module: Module, names: Sequence[tuple[int, int, str]], added: str) -> Module:
    text = module.text.encode()
    for start, end, name in reversed(names):
        text = text[:start] + name.encode() + text[end:]
    return Module(module.name, f"{text.decode()}\n{added}" if added else text.decode())
