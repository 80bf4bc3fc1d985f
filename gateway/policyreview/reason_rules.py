"""Finds which definitions give the reason codes of one decision: each is evaluated by itself, for the same input."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson

from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.reason_codes import codes_of_rule
from gateway.authorization.rego import EnginePanicError, Module, RegoError, evaluate, new_engine
from gateway.policyreview.rego_syntax import Definition, RegoFile, parse
from gateway.policyreview.unused_rules import reached


@dataclass(frozen=True, slots=True)
class _Copy:
    """A definition under a name of its own, so that its value is not that of the whole rule.

    Attributes:
        rule: full name of the copy.
        file: file of the definition.
        line: its line.
        codes: the reason codes it has as texts, with their lines.
    """

    rule: str
    file: str
    line: int
    codes: dict[str, int]


def reason_rules(
    policies: LoadedPolicySet, policy_input: dict[str, Any], codes: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the definitions that give each of the reason codes for an input, as `file:line`.

    Those count that have the code as a text; where none has, the values and sets that it is in. A code that no
    definition gives has the lines where it stands, or none: a default, or a code of the gateway's own.
    """
    if not codes:
        return {}
    modules, copies = _copies(policies)
    given: dict[str, list[str]] = {code: [] for code in codes}
    passed_on: dict[str, list[str]] = {code: [] for code in codes}
    standing: dict[str, list[str]] = {code: [] for code in codes}
    for copy, value in _values(policies, modules, copies, policy_input):
        texts = frozenset(_texts(value))
        for code in codes:
            line = copy.codes.get(code)
            if line is not None:
                (given if code in texts else standing)[code].append(f"{copy.file}:{line}")
            elif code in texts and not isinstance(value, dict):  # a decision passes everything on
                passed_on[code].append(f"{copy.file}:{copy.line}")
    return {code: tuple(dict.fromkeys(given[code] or passed_on[code] or standing[code])) for code in codes}


def _values(
    policies: LoadedPolicySet, modules: Sequence[Module], copies: Sequence[_Copy], policy_input: dict[str, Any]
) -> Iterator[tuple[_Copy, Any]]:
    """Yield each copy with its value, None where it has none."""
    text = orjson.dumps(policy_input).decode()
    engine = new_engine(modules, policies.data_json)
    for copy in copies:
        try:
            value = evaluate(engine, copy.rule, text) if copy.rule else None
        except RegoError as error:
            value = None
            if isinstance(error, EnginePanicError):
                engine = new_engine(modules, policies.data_json)
        yield copy, value


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a value that may be reason codes."""
    if isinstance(value, dict):
        value = value.get("reasons")
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str):
            yield each


def _copies(policies: LoadedPolicySet) -> tuple[list[Module], list[_Copy]]:
    """Return the modules with a copy of every definition that a decision depends on."""
    files = parse(policies.modules)
    live = reached(files)
    prefix = "only_this"
    while any(prefix in module.text for module in policies.modules):
        prefix += "_"
    modules, copies = [], []
    for file, module in zip(files, policies.modules, strict=True):
        added = []
        for number, (definition, text) in enumerate(_with_texts(file)):
            if definition.path not in live:
                continue
            name = f"{prefix}_{number}"
            named = _renamed(definition, text, file.source, name)
            if named:
                added.append(named)
            codes: dict[str, int] = {}
            for code, line in codes_of_rule(definition.node):
                codes.setdefault(code, line)
            rule = ".".join((*file.package, name)) if named else ""
            copies.append(_Copy(rule, file.name, definition.line, codes))
        modules.append(Module(module.name, "\n".join([module.text, *added, ""])))
    return modules, copies


def _with_texts(file: RegoFile) -> Iterator[tuple[Definition, tuple[int, int]]]:
    """Yield each definition with where it starts, and where the next one does (bytes)."""
    starts = [_span(definition.node)["start"] for definition in file.definitions]
    yield from zip(file.definitions, pairwise([*starts, len(file.source)]), strict=True)


def _renamed(definition: Definition, place: tuple[int, int], source: bytes, name: str) -> str:
    """Return the text of a definition under another name; empty for a default, a function, and a computed name."""
    if "Default" in definition.node or definition.function:
        return ""
    ((_, head),) = definition.node["Spec"]["head"].items()
    if "Var" not in head["refr"]:
        return ""
    return name + source[head["refr"]["Var"]["span"]["end"] : place[1]].decode()


def _span(rule: Any) -> Any:
    return next(iter(rule.values()))["span"]
