"""Which parts of the input the policies can read: what a decision depends on, besides the rules and the data.

Found in the syntax tree, and never too few. Every rule of every module that decides counts, reached or not. A
reference counts up to its first computed part (`input.a[x].b` reads `a`), and `input` by itself reads everything,
wherever it stands: as an argument, assigned, compared, iterated over. So does what is not understood: replaced
values (`with`), and a place where the source says `input` and the tree has no reference that starts there.
"""

import re
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Protocol

import orjson

from gateway.authorization.rego import Module, new_engine
from gateway.authorization.rego_ast import data_paths, packages_of

InputPath = tuple[str, ...]
"""Keys from the root of the input; the empty path is the whole input."""

MAX_NESTED = 100
"""Arrays and objects in an input beyond which it might be nested more deeply than an engine reads (126 levels)."""

_WORDS = re.compile(rb'"(?:[^"\\]|\\.)*"|`[^`]*`|#[^\n]*|(?<![\w.])input(?!\w)', re.DOTALL)


class Rules(Protocol):
    """The Rego files of a policy set."""

    @property
    def modules(self) -> tuple[Module, ...]: ...
    @property
    def tests(self) -> tuple[Module, ...]: ...


class InputPaths:
    """The paths of the input that a decision may depend on.

    Two inputs with the same projection get the same decision. Inputs have the same projection if they are equal at
    every path, or lack it alike; a missing value is not null, true is not 1, and 1 is not 1.0.

    Args:
        paths: the paths, in any order; one that begins with another is covered by it.

    Attributes:
        paths: the shortest ones, sorted.
        whole: whether everything is read; the one path is then the empty one.
    """

    __slots__ = ("_getters", "_steps", "_tree", "paths", "whole")

    def __init__(self, paths: Iterable[InputPath]) -> None:
        kept: list[InputPath] = []
        for path in sorted(paths):
            if not kept or path[: len(kept[-1])] != kept[-1]:
                kept.append(path)
        self.paths = tuple(kept)
        self.whole = self.paths == ((),)
        self._tree = None if self.whole else _tree(self.paths)
        self._steps: list[tuple[int, str]] = []
        self._getters: list[tuple[int, itemgetter[Any]]] = []
        self._compile()

    def project(self, policy_input: Any) -> bytes:
        """Return the part of an input that is read, canonically. It has the length of that part.

        Raises:
            TypeError: the input is not JSON, in whatever part of it.
        """
        if self.whole:
            return orjson.dumps(policy_input, option=orjson.OPT_SORT_KEYS)
        # An engine refuses an input for parts that no rule reads as well, if they are no JSON or nested too deeply.
        document = orjson.dumps(policy_input)
        # Taking a few bytes out of many is several times faster than counting them.
        nested = 2 * len(document) - len(document.replace(b"{", b"")) - len(document.replace(b"[", b""))
        if nested > MAX_NESTED:
            return b"~" + orjson.dumps(policy_input, option=orjson.OPT_SORT_KEYS)
        if type(policy_input) is not dict:
            return self._project_unusual(policy_input)
        try:
            objects = [policy_input]
            for source, key in self._steps:
                found = objects[source][key]
                if type(found) is not dict:
                    return self._project_unusual(policy_input)
                objects.append(found)
            values = [get(objects[source]) for source, get in self._getters]
        except KeyError:
            return self._project_unusual(policy_input)
        return orjson.dumps(values, option=orjson.OPT_SORT_KEYS)

    def reduce(self, policy_input: Any) -> Any:
        """Return the part of an input that is read, as an input: policies decide both alike.

        What stands where an object is expected is kept whole. Parts may be shared with the input.
        """
        return _reduce(self._tree, policy_input)

    def _project_unusual(self, policy_input: Any) -> bytes:
        """Project an input that lacks some of the paths; no other projection begins as this one does."""
        return b"?" + orjson.dumps(self.reduce(policy_input), option=orjson.OPT_SORT_KEYS)

    def _compile(self) -> None:
        """Lay out the steps to every object that holds values, and one getter for the values of each."""
        trees = [self._tree or {}]
        for source, tree in enumerate(trees):
            for key, inner in tree.items():
                if inner is not None:
                    self._steps.append((source, key))
                    trees.append(inner)
            values = [key for key, inner in tree.items() if inner is None]
            if values:
                self._getters.append((source, itemgetter(*values)))


WHOLE_INPUT = InputPaths([()])
"""For an engine that may know rules which were not analysed."""


def input_paths(policies: Rules) -> InputPaths:
    """Find what the policies can read of the input.

    Raises:
        gateway.authorization.rego.RegoError: a module does not parse.
    """
    engine = new_engine(policies.modules)
    found: set[InputPath] = set()
    for module in orjson.loads(engine.get_ast_as_json()):
        found |= _paths_of(module)
    # OPA may load the tests as well; a rule of theirs that a policy reads is read there, but was not analysed.
    tests = set(packages_of(new_engine(policies.tests)).values())
    if any(f"{path}.".startswith(f"{test}.") for path in data_paths(engine) for test in tests):
        found.add(())
    return InputPaths(found)


def _paths_of(module: Any) -> set[InputPath]:
    paths: set[InputPath] = set()
    starts: set[int] = set()
    pending: list[Any] = [module["ast"]]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            if node.get("with_mods"):
                paths.add(())
            _follow(node, pending, paths, starts)
    for word in _WORDS.finditer(module["source"]["contents"].encode()):
        if word.group() == b"input" and word.start() not in starts:
            paths.add(())
    return paths


def _follow(node: Any, pending: list[Any], paths: set[InputPath], starts: set[int]) -> None:
    """Follow a reference to where it starts, and note its path if that is the input; queue every other part."""
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
            case {"Var": {"value": "input", "span": {"start": int(start)}}}:
                paths.add(tuple(reversed(keys)))
                starts.add(start)
                return
            case dict():
                pending.extend(node.values())
                return
            case _:
                pending.append(node)
                return
        node = inner


def _tree(paths: Iterable[InputPath]) -> dict[str, Any]:
    """Return the paths, none of which is empty, as objects in objects; None stands where one ends."""
    root: dict[str, Any] = {}
    for *above, last in paths:
        tree = root
        for key in above:
            tree = tree.setdefault(key, {})
        tree[last] = None
    return root


def _reduce(tree: dict[str, Any] | None, value: Any) -> Any:
    if tree is None or type(value) is not dict:
        return value
    return {key: _reduce(inner, value[key]) for key, inner in tree.items() if key in value}
