"""Finds names that hide another: a variable a rule, an import, a builtin or an outer variable; a rule a builtin."""

from collections.abc import Iterator, Sequence
from typing import Any

from gateway.authorization.builtins import BUILTIN_NAMESPACES, OPA_BUILTINS
from gateway.policyreview.findings import Finding, Severity
from gateway.policyreview.rego_syntax import Definition, Path, RegoFile

_BUILTINS = BUILTIN_NAMESPACES | {name for name in OPA_BUILTINS if "." not in name}

_Names = dict[str, tuple[int, int]]
"""Variables: where each is declared, as a byte of the file and as a line."""


def shadowing(files: Sequence[RegoFile]) -> Iterator[Finding]:
    """Yield a finding for each name that hides another.

    Only what declares a name counts: arguments, `some`, `every` and `:=`. Whether a name in an equation is a new
    variable depends on where it has been bound.
    """
    rules: dict[Path, dict[str, str]] = {}
    for file in files:
        for definition in file.definitions:
            name = definition.path[len(file.package)]
            rules.setdefault(file.package, {}).setdefault(name, f"{file.name}:{definition.line}")
    for file in files:
        for definition in file.definitions:
            yield from _of_rule(file, definition)
            yield from _Variables(file, rules[file.package]).of(definition)


def _of_rule(file: RegoFile, definition: Definition) -> Iterator[Finding]:
    name = definition.path[len(file.package)]
    hidden = _outside(file, name)
    if hidden:
        yield _finding(file, definition.line, f"the rule {name} hides {hidden}")


def _finding(file: RegoFile, line: int, message: str) -> Finding:
    # What a test hides, it hides from itself: its verdict shows whether that was meant.
    severity: Severity = "info" if file.tests else "warning"
    return Finding(severity, "shadowing", file.name, line, message, "Rename one of the two.")


class _Variables:
    """Goes through a definition with the variables that are declared around each part of it."""

    def __init__(self, file: RegoFile, rules: dict[str, str]) -> None:
        self._file = file
        self._rules = rules

    def of(self, definition: Definition) -> Iterator[Finding]:
        node = definition.node
        if "Default" in node:
            yield from self._arguments(node["Default"]["args"])
            return
        ((_, head),) = node["Spec"]["head"].items()
        arguments = dict(_pattern(head.get("args", [])))
        yield from self._hidden(arguments, [])
        for part in (head.get("assign"), head.get("key"), head["refr"]):
            yield from self._expression(part, [arguments])
        for body in node["Spec"]["bodies"]:
            yield from self._expression(body["assign"], [arguments])
            yield from self._query(body["query"], [arguments], {})

    def _arguments(self, patterns: Any) -> Iterator[Finding]:
        yield from self._hidden(dict(_pattern(patterns)), [])

    def _query(self, query: Any, around: list[_Names], declared: _Names) -> Iterator[Finding]:
        """Yield what a query, and what is nested in it, hides; `declared` are variables that stand before it."""
        for statement in query["stmts"]:
            declared = {**dict(self._declared(statement["literal"])), **declared}
        yield from self._hidden(declared, around)
        for statement in query["stmts"]:
            yield from self._expression(statement, [*around, declared])

    def _expression(self, node: Any, around: list[_Names]) -> Iterator[Finding]:
        if isinstance(node, list):
            for item in node:
                yield from self._expression(item, around)
        elif isinstance(node, dict):
            if "Every" in node:
                every = node["Every"]
                yield from self._expression(every["domain"], around)
                spans = [span for span in (every["key"], every["value"]) if span]
                yield from self._query(every["query"], around, dict(map(self._named, spans)))
            elif isinstance(node.get("query"), dict) and "stmts" in node["query"]:
                # A comprehension: its term sees what its query declares.
                declared: _Names = {}
                for statement in node["query"]["stmts"]:
                    declared.update(self._declared(statement["literal"]))
                yield from self._query(node["query"], around, {})
                for key, value in node.items():
                    if key != "query":
                        yield from self._expression(value, [*around, declared])
            else:
                for value in node.values():
                    yield from self._expression(value, around)

    def _declared(self, literal: Any) -> Iterator[tuple[str, tuple[int, int]]]:
        match literal:
            case {"SomeVars": {"vars": spans}}:
                yield from map(self._named, spans)
            case {"SomeIn": {"key": key, "value": value}}:
                yield from _pattern([key, value])
            case {"Expr": {"expr": {"AssignExpr": {"op": "ColEq", "lhs": left}}}}:
                yield from _pattern([left])

    def _named(self, span: Any) -> tuple[str, tuple[int, int]]:
        name = self._file.source[span["start"] : span["end"]].decode()
        return name, (span["start"], span["line"])

    def _hidden(self, declared: _Names, around: list[_Names]) -> Iterator[Finding]:
        for name, (start, line) in declared.items():
            hidden = "" if name == "_" else self._what(name, start, around)
            if hidden:
                yield _finding(self._file, line, f"the variable {name} hides {hidden}")

    def _what(self, name: str, start: int, around: list[_Names]) -> str:
        for outer in reversed(around):
            if name in outer and outer[name][0] < start:
                return f"the variable of line {outer[name][1]}"
        if name in {"input", "data"}:
            return f"the document {name}"
        if name in self._rules:
            return f"the rule {name} ({self._rules[name]})"
        return _outside(self._file, name)


def _outside(file: RegoFile, name: str) -> str:
    """Return what a name hides that the package does not define; empty if nothing."""
    if name in file.imports:
        return f"the import of {'.'.join(file.imports[name][0])}"
    if name in _BUILTINS:
        return f"the builtin {name}" if name in OPA_BUILTINS else f"the builtins {name}.…"
    return ""


def _pattern(nodes: Any) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the variables that patterns bind."""
    for node in nodes:
        match node:
            case {"Var": {"value": str(name), "span": {"start": int(start), "line": int(line)}}}:
                yield name, (start, line)
            case {"Array": {"items": items}}:
                yield from _pattern(items)
            case {"Object": {"fields": fields}}:
                yield from _pattern([field[2] for field in fields])
