"""Checks the syntax tree of the policies: what they may call, and that no function calls itself.

The engine looks a builtin up only when it evaluates the call, and a function that calls itself ends the
process; both are found here, before anything is evaluated.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.authorization.builtins import ALLOWED_BUILTINS, BUILTIN_NAMESPACES, OPA_BUILTINS
from gateway.errors import ConfigError

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class _Tree:
    """One parsed module: its file, its package path and its imports by local name."""

    file: str
    package: str
    imports: dict[str, str]
    import_lines: list[tuple[int, str]]
    rules: list[Any]


def packages_of(engine: Any) -> dict[str, str]:
    """Return the package of each file, as `data.…`."""
    return {tree.file: tree.package for tree in _trees(engine)}


@dataclass(frozen=True, slots=True)
class ModuleHead:
    """What stands before the rules of a module.

    Attributes:
        package: its package, without `data`.
        imports: whether it imports anything.
        end: where its package statement ends (bytes).
    """

    package: str
    imports: bool
    end: int


def module_heads(engine: Any) -> dict[str, ModuleHead]:
    """Return the head of each file."""
    heads = {}
    for module in orjson.loads(engine.get_ast_as_json()):
        syntax = module["ast"]
        package = _reference(syntax["package"]["refr"]) or ""
        end = int(syntax["package"]["span"]["end"])
        heads[module["source"]["file"]] = ModuleHead(package, bool(syntax["imports"]), end)
    return heads


def data_paths(engine: Any) -> set[str]:
    """Return every path of `data` that the modules import or refer to, up to its first computed part."""
    trees = _trees(engine)
    return {path for tree in trees for _, path in (*_data_references(tree.rules), *tree.import_lines)}


def check_calls(
    engine: Any, *, tests: frozenset[str] = frozenset(), allowed: frozenset[str] = ALLOWED_BUILTINS
) -> None:
    """Check every call in the modules of an engine. Files in `tests` may use `with`.

    Args:
        engine: with the modules.
        tests: names of files.
        allowed: the builtins that may be called.

    Raises:
        ConfigError: a builtin that is not allowed, `with` outside a test, a computed call, or recursion; the
            message names the file and the line.
    """
    trees = _trees(engine)
    functions = {name for tree in trees for name, _ in _functions(tree)}
    callers: dict[str, set[str]] = {}
    for tree in trees:
        for rule in tree.rules:
            caller = _function_name(tree, rule)
            for kind, node in _nodes(rule):
                if kind == "with_mods" and node and tree.file not in tests:
                    line = node[0]["span"]["line"]
                    raise ConfigError(
                        f"{tree.file}:{line}: 'with' replaces the input, data or functions and belongs in "
                        "tests; pass the value as an argument."
                    )
                if kind != "Call":
                    continue
                called = _called(tree, node, functions, allowed)
                if called and caller:
                    callers.setdefault(caller, set()).add(called)
    _check_recursion(callers)


def check_references(engine: Any) -> None:
    """Refuse references to a package as a whole: the engine may leave rules out of that document.

    A rule is named by its full path, such as `data.govgateway.authz.granted`.

    Raises:
        ConfigError: an import of a package, or a reference to one or to what contains one, names file and line.
    """
    trees = _trees(engine)
    whole = {"data"}
    for tree in trees:
        parts = tree.package.split(".")
        whole.update(".".join(parts[:length]) for length in range(1, len(parts) + 1))
    for tree in trees:
        for line, path in [*_data_references(tree.rules), *tree.import_lines]:
            if path in whole:
                raise ConfigError(
                    f"{tree.file}:{line}: {path} names a package as a whole; name the rule in it by its full "
                    f"path, {path}.<rule>, without importing the package."
                )


def _data_references(node: Any) -> Iterator[tuple[int, str]]:
    """Yield line and fixed part of each whole reference that starts at `data`."""
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, list):
            pending.extend(current)
        elif isinstance(current, dict):
            if current.keys() & {"RefDot", "RefBrack", "Var"}:
                path, line = _fixed_part(current, pending)
                if path.partition(".")[0] == "data":
                    yield line, path
            else:
                pending.extend(current.values())


def _fixed_part(node: Any, pending: list[Any]) -> tuple[str, int]:
    """Return the path of a reference up to its first computed part, and its line; queue the computed parts."""
    steps: list[str | None] = []
    while "Var" not in node:
        if "RefDot" in node:
            inner = node["RefDot"]
            steps.append(str(inner["field"][1]) if inner["field"] else None)
        elif "RefBrack" in node:
            inner = node["RefBrack"]
            index = inner["index"]
            steps.append(str(index["String"]["value"]) if "String" in index else None)
            pending.append(index)
        else:
            pending.append(node)
            return "", 0
        node = inner["refr"]
    parts = [str(node["Var"]["value"])]
    for step in reversed(steps):
        if step is None:
            break
        parts.append(step)
    return ".".join(parts), node["Var"]["span"]["line"]


def _called(tree: _Tree, call: Any, functions: set[str], allowed: frozenset[str]) -> str:
    """Return the full name of the function called, empty for a builtin that is allowed."""
    line = call["span"]["line"]
    name = _reference(call["fcn"])
    if name is None:
        raise ConfigError(f"{tree.file}:{line}: a function is called by its plain name, without brackets.")
    root, _, rest = name.partition(".")
    if root in BUILTIN_NAMESPACES or name in OPA_BUILTINS:
        if name in allowed:
            return ""
        if name in OPA_BUILTINS:
            raise ConfigError(
                f"{tree.file}:{line}: the builtin {name} differs between the embedded engine and OPA. Remove the "
                "call, or decide with OPA (policy.engine: opa)."
            )
        raise ConfigError(
            f"{tree.file}:{line}: the builtin {name} is not allowed here; a decision depends on nothing "
            "but its input and the data. Remove the call, or have the gateway put the fact into the input."
        )
    for candidate in (
        name if root == "data" else "",
        f"{tree.package}.{name}",
        ".".join(filter(None, (tree.imports.get(root, ""), rest))),
    ):
        if candidate in functions:
            return candidate
    near = difflib.get_close_matches(name, allowed, n=1)
    hint = f"did you mean {near[0]}?" if near else "define it, or use a builtin of the list in policies/README.md."
    raise ConfigError(f"{tree.file}:{line}: there is no function {name}; {hint}")


def _check_recursion(callers: dict[str, set[str]]) -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycle = " → ".join((*path[path.index(name) :], name))
            raise ConfigError(f"a function calls itself: {cycle}. Rego has no recursion; use a comprehension.")
        if name not in done:
            for called in sorted(callers.get(name, ())):
                visit(called, (*path, name))
            done.add(name)

    for name in sorted(callers):
        visit(name, ())


def _trees(engine: Any) -> list[_Tree]:
    trees = []
    for module in orjson.loads(engine.get_ast_as_json()):
        source, syntax = module["source"], module["ast"]
        package = _reference(syntax["package"]["refr"])
        if package is None:
            raise ConfigError(f"{source['file']}:1: a package is named without brackets.")
        imports = dict(_import(source, item) for item in syntax["imports"])
        lines = [(item["span"]["line"], _reference(item["refr"]) or "") for item in syntax["imports"]]
        trees.append(_Tree(source["file"], f"data.{package}", imports, lines, syntax["rules"]))
    return trees


def _import(source: Any, item: Any) -> tuple[str, str]:
    target = _reference(item["refr"])
    line = item["span"]["line"]
    if target is None:
        raise ConfigError(f"{source['file']}:{line}: an import is written without brackets.")
    local = target.rpartition(".")[2]
    if item.get("as"):
        span = item["as"]
        local = source["contents"].encode()[span["start"] : span["end"]].decode(errors="replace")
    if not _IDENTIFIER.fullmatch(local):
        raise ConfigError(f"{source['file']}:{line}: the local name of this import cannot be read.")
    if local in BUILTIN_NAMESPACES or local in OPA_BUILTINS:
        raise ConfigError(f"{source['file']}:{line}: the import {local} hides builtins of that name; use 'as'.")
    return local, target


def _functions(tree: _Tree) -> Iterator[tuple[str, Any]]:
    for rule in tree.rules:
        name = _function_name(tree, rule)
        if name:
            yield name, rule


def _function_name(tree: _Tree, rule: Any) -> str:
    """Return the full name of the function a rule defines, empty if it is not a function."""
    head = rule["Spec"]["head"].get("Func") if "Spec" in rule else rule["Default"]
    if not head or ("Default" in rule and not head["args"]):
        return ""
    line = head["span"]["line"]
    name = _reference(head["refr"])
    if name is None:
        raise ConfigError(f"{tree.file}:{line}: a function is named without brackets.")
    if name in OPA_BUILTINS or name.partition(".")[0] in BUILTIN_NAMESPACES:
        raise ConfigError(f"{tree.file}:{line}: the function {name} has a builtin's name; rename it.")
    return f"{tree.package}.{name}"


def _reference(node: Any) -> str | None:
    """Return a reference such as `data.a.b` as text; None where a part of it is computed."""
    parts: list[str] = []
    while "RefDot" in node:
        field = node["RefDot"]["field"]
        if field is None:
            return None
        parts.append(str(field[1]))
        node = node["RefDot"]["refr"]
    if "Var" not in node:
        return None
    parts.append(str(node["Var"]["value"]))
    return ".".join(reversed(parts))


def _nodes(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield each keyed part of a syntax tree. Keys are names of syntax; what a policy writes is in values."""
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            for key, value in current.items():
                yield key, value
                pending.append(value)
        elif isinstance(current, list):
            pending.extend(current)
