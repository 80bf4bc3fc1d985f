"""Reads names out of the syntax tree of Rego files: what each rule defines, and what it refers to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.authorization.rego import Module, new_engine

Path = tuple[str, ...]
"""Parts of a full name, `data` first."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition of a rule or a function.

    Attributes:
        path: full name up to its first computed part.
        line: where it is.
        function: whether it takes arguments.
        node: its syntax tree.
    """

    path: Path
    line: int
    function: bool
    node: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegoFile:
    """One parsed file.

    Attributes:
        name: name of the file.
        source: its content; syntax trees name places by bytes of it.
        package: full name of its package.
        package_line: line of the package.
        imports: what is imported, by local name, with its line.
        definitions: in the order of the file.
    """

    name: str
    source: bytes = field(repr=False)
    package: Path
    package_line: int
    imports: dict[str, tuple[Path, int]]
    definitions: tuple[Definition, ...] = field(repr=False)

    @property
    def tests(self) -> bool:
        """Whether the package is one of tests."""
        return self.package[-1].endswith("_test")


def parse(modules: Sequence[Module]) -> list[RegoFile]:
    """Parse modules that were loaded before.

    Raises:
        gateway.authorization.rego.RegoError: a module does not parse.
    """
    return [_file(each["source"], each["ast"]) for each in orjson.loads(new_engine(modules).get_ast_as_json())]


def references(node: Any) -> Iterator[tuple[Path, int]]:
    """Yield every reference in a syntax tree, up to its first computed part, with its line. Variables are ones, too."""
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, list):
            pending.extend(current)
        elif isinstance(current, dict):
            if current.keys() & {"RefDot", "RefBrack", "Var"}:
                path, line = _reference(current, pending)
                if path:
                    yield path, line
            else:
                pending.extend(current.values())


def _file(source: Any, syntax: Any) -> RegoFile:
    content = source["contents"].encode()
    package, _ = _reference(syntax["package"]["refr"], [])
    imports: dict[str, tuple[Path, int]] = {}
    for item in syntax["imports"]:
        path, line = _reference(item["refr"], [])
        if path[0] in {"data", "input"}:
            span = item.get("as")
            imports[content[span["start"] : span["end"]].decode() if span else path[-1]] = path, line
    definitions = tuple(_definition(rule, ("data", *package)) for rule in syntax["rules"])
    line = syntax["package"]["span"]["line"]
    return RegoFile(source["file"], content, ("data", *package), line, imports, definitions)


def _definition(rule: Any, package: Path) -> Definition:
    if "Default" in rule:
        head, function = rule["Default"], bool(rule["Default"]["args"])
    else:
        ((kind, head),) = rule["Spec"]["head"].items()
        function = kind == "Func"
    path, _ = _reference(head["refr"], [])
    return Definition((*package, *path), head["span"]["line"], function, rule)


def _reference(node: Any, pending: list[Any]) -> tuple[Path, int]:
    """Return a reference and its line; nothing if it does not start with a name. Queue its computed parts."""
    keys: list[str] = []
    while True:
        match node:
            case {"RefDot": {"refr": inner, "field": [_, str(key)]}}:
                keys.append(key)
            case {
                "RefBrack": {
                    "refr": inner,
                    "index": {"String": {"value": str(key)}} | {"RawString": {"value": str(key)}},
                }
            }:
                keys.append(key)
            case {"RefBrack": {"refr": inner, "index": index}}:
                pending.append(index)
                keys.clear()
            case {"Var": {"value": str(name), "span": {"line": int(line)}}}:
                return (name, *reversed(keys)), line
            case {"RefDot": inside} | {"RefBrack": inside} | {"Var": inside}:
                pending.extend(inside.values())
                return (), 0
            case _:
                pending.append(node)
                return (), 0
        node = inner
