"""Refuses what OPA's compiler refuses and the embedded engine decides by: no policy means something here alone.

Each rule answers a form that `tests/adversarial/test_policy_engine_differences.py` shows: parameters that are patterns,
objects as patterns, variables that nothing binds, two rules of one name that cannot be one, repetitions beyond RE2's
bound, and rules that read the tests beside them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import orjson

from gateway.authorization.rego_ast import data_paths
from gateway.errors import ConfigError

MAX_REPEATED = 1000
"""Most repetitions in a pattern, nested ones multiplied (RE2)."""

_REPEATED = re.compile(r"\{([0-9]+)(?:,([0-9]*))?\}")
_COMPREHENSIONS = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})
_CONSTANTS = frozenset({"String", "RawString", "Number", "Bool", "Null"})


@dataclass(slots=True)
class _Names:
    """What the rules of a package are: kinds by name."""

    kinds: dict[str, set[str]] = field(default_factory=dict)
    defaults: set[str] = field(default_factory=set)


def check_compiles(engine: Any) -> None:
    """Check that OPA takes the modules of an engine, as far as their form tells.

    Raises:
        ConfigError: it would not; names file and line.
    """
    for path in sorted(data_paths(engine)):
        if any(part.endswith("_test") for part in path.split(".")):
            raise ConfigError(f"{path}: a policy reads no test; move what it needs to a package that decides.")
    packages: dict[str, _Names] = {}
    rules = []
    for module in orjson.loads(engine.get_ast_as_json()):
        source, syntax = module["source"], module["ast"]
        names = packages.setdefault(_name(syntax["package"]["refr"], whole=True), _Names())
        rules += [(_Rule(source["file"], source["contents"].encode(), rule), names) for rule in syntax["rules"]]
    for each, names in rules:
        each.check_name(names)
    for each, names in rules:
        each.check(names)


class _Rule:
    """One rule: where it stands, its head, and the variables that something in it binds."""

    def __init__(self, file: str, text: bytes, rule: Any) -> None:
        self._file, self._text, self._rule = file, text, rule
        if "Default" in rule:
            self._kind, self._head = "Default", rule["Default"]
        else:
            self._kind, self._head = next(iter(rule["Spec"]["head"].items()))

    def check(self, names: _Names) -> None:
        for argument in self._head.get("args") or ():
            if not argument.keys() & {"Var", *_CONSTANTS}:
                self._refuse(self._head, "a parameter that is a pattern", "take the parts from the argument")
        arguments = [each["Var"]["value"] for each in self._head.get("args") or () if "Var" in each]
        if len([name for name in arguments if name != "_"]) != len({name for name in arguments if name != "_"}):
            self._refuse(self._head, "a parameter named twice", "name each otherwise")
        if {"input", "data"} & set(arguments):
            self._refuse(self._head, "a parameter named input or data", "name it otherwise")
        bound = {*arguments, *self._bound(self._rule)}
        key = self._head.get("key") if self._kind == "Set" else None
        if key and "Var" in key and self._kind == "Set" and not self._known(key["Var"]["value"], bound, names):
            self._refuse(self._head, f"the variable {key['Var']['value']} in the head, which nothing binds", "bind it")
        for node_key, node in _nodes(self._rule):
            self._check_node(node_key, node, bound, names)

    def check_name(self, names: _Names) -> None:
        name = _name(self._head["refr"])
        kind = "Func" if self._head.get("args") else "Compr" if self._kind == "Default" else self._kind
        if self._kind == "Default":
            if name in names.defaults:
                self._refuse(self._head, f"a second default of {name}", "keep one")
            names.defaults.add(name)
        kinds = names.kinds.setdefault(name, set())
        kinds.add(kind)
        if len(kinds) > 1:
            self._refuse(self._head, f"{name}, which is a value here and something else elsewhere", "rename one")

    def _check_node(self, key: str, node: Any, bound: set[str], names: _Names) -> None:
        if key == "AssignExpr":
            sides = (node["lhs"],) if node["op"] == "ColEq" else (node["lhs"], node["rhs"])
            if any(_holds_object(side) for side in sides):
                self._refuse(node, "an object as a pattern", "name its parts one by one")
        elif key == "SomeIn":
            if any(part is not None and _holds_object(part) for part in (node["key"], node["value"])):
                self._refuse(node, "an object as a pattern", "name its parts one by one")
        elif key == "NotExpr":
            for index in _indexes(node["expr"]):
                if index == "_" or not self._known(index, bound, names):
                    self._refuse(
                        node, "a search inside of a negation", "put it into a rule of its own, and negate that"
                    )
        elif key == "Call" and _name(node["fcn"], whole=True) == "regex.match" and node["params"]:
            first = node["params"][0]
            pattern = next((first[kind]["value"] for kind in ("String", "RawString") if kind in first), "")
            counts = [int(found[2] or found[1]) for found in _REPEATED.finditer(pattern)]
            if prod(max(count, 1) for count in counts) > MAX_REPEATED:
                self._refuse(node, f"a pattern with more than {MAX_REPEATED} repetitions", "repeat less often")

    def _known(self, variable: str, bound: set[str], names: _Names) -> bool:
        # A name that is no variable of this rule is that of a rule or an import, or the engine refuses it.
        return variable in bound or self._names_a_rule(variable, names)

    def _names_a_rule(self, variable: str, names: _Names) -> bool:
        imported = rf"(?m)^import .*\b{re.escape(variable)}\s*$".encode()
        return variable in names.kinds or re.search(imported, self._text) is not None

    def _bound(self, rule: Any) -> Iterator[str]:
        """Yield the variables that something other than a negation binds."""
        for key, node in _nodes(rule, skip=frozenset({"NotExpr"})):
            match key:
                case "SomeVars":
                    yield from map(self._written, node["vars"])
                case "SomeIn":
                    yield from _variables([node["key"], node["value"]])
                case "Every":
                    yield from (self._written(part) for part in (node["key"], node["value"]) if part)
                case "AssignExpr":
                    yield from _variables([node["lhs"], node["rhs"]])
                case "RefBrack":
                    yield from _variables([node["index"]])

    def _written(self, span: Any) -> str:
        return self._text[span["start"] : span["end"]].decode(errors="replace")

    def _refuse(self, node: Any, what: str, remedy: str) -> None:
        raise ConfigError(f"{self._file}:{node['span']['line']}: {what} is nothing that OPA compiles; {remedy}.")


def _name(refr: Any, *, whole: bool = False) -> str:
    """Return the name that a reference begins with, or all of it."""
    parts: list[str] = []
    while "Var" not in refr:
        kind, inner = next(iter(refr.items()))
        if kind == "RefDot" and inner["field"]:
            parts.append(str(inner["field"][1]))
        refr = inner["refr"]
    parts.append(str(refr["Var"]["value"]))
    return ".".join(reversed(parts)) if whole else parts[-1]


def _nodes(node: Any, skip: frozenset[str] = frozenset()) -> Iterator[tuple[str, Any]]:
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, list):
            pending.extend(current)
        elif isinstance(current, dict):
            for key, value in current.items():
                if key in skip:
                    continue
                if isinstance(value, dict):
                    yield key, value
                pending.append(value)


def _variables(nodes: list[Any]) -> Iterator[str]:
    """Yield the variables that stand in terms by themselves or in arrays."""
    for key, node in _nodes([each for each in nodes if each is not None]):
        if key == "Var":
            yield str(node["value"])


def _holds_object(node: Any) -> bool:
    """Whether a pattern holds an object with something to bind."""
    if "Object" in node:
        return any("Var" in key or "Var" in value or _holds_object(value) for _, key, value in node["Object"]["fields"])
    return "Array" in node and any(_holds_object(item) for item in node["Array"]["items"])


def _indexes(node: Any) -> Iterator[str]:
    """Yield the variables by which references search, outside of comprehensions."""
    for key, inner in _nodes(node, skip=_COMPREHENSIONS):
        if key == "RefBrack" and "Var" in inner["index"]:
            yield str(inner["index"]["Var"]["value"])
