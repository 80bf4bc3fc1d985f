"""Finds rules and functions that no decision depends on."""

import re
from collections.abc import Iterable, Iterator, Sequence

from gateway.authorization.policy_set import ENTRY_POINT
from gateway.authorization.rego_test_rules import TEST, TODO
from gateway.policyreview.findings import Finding
from gateway.policyreview.rego_syntax import Definition, Path, RegoFile, references

_DECISION: Path = tuple(ENTRY_POINT.split("."))
_ENTRY_POINT = re.compile(r"#\s*entrypoint:\s*true\s*")
_METADATA = re.compile(r"#\s*METADATA\s*")


def unused_rules(files: Sequence[RegoFile]) -> Iterator[Finding]:
    """Yield a finding for each rule that is reached neither from the decision nor from another entry point.

    A name counts as used wherever it stands, also where a local variable of that name may be meant.
    """
    rules = _Rules(file for file in files if not file.tests)
    live = rules.reach(rules.roots())
    tested = rules.reach(path for file in files if file.tests for path in rules.uses(file, file.definitions))
    for path in sorted(rules.definitions.keys() - live):
        file, definition = rules.definitions[path][0]
        kind = "function" if definition.function else "rule"
        only = "; only tests use it" if path in tested else ""
        yield Finding(
            "warning",
            "unused-rule",
            file.name,
            definition.line,
            f"no decision depends on the {kind} {'.'.join(path)}{only}",
            "Refer to it, remove it, or mark it as an entry point of its own (# METADATA, # entrypoint: true).",
        )


def reached(files: Sequence[RegoFile]) -> set[Path]:
    """Return the full names of the rules that a decision depends on."""
    return _Rules(file for file in files if not file.tests).reach([_DECISION])


class _Rules:
    """The rules by full name, and what each refers to."""

    def __init__(self, files: Iterable[RegoFile]) -> None:
        self.definitions: dict[Path, list[tuple[RegoFile, Definition]]] = {}
        self._within: dict[Path, set[Path]] = {}
        self._files = list(files)
        for file in self._files:
            for definition in file.definitions:
                path = definition.path
                if not path[len(file.package)].startswith((TEST, TODO)):
                    self.definitions.setdefault(path, []).append((file, definition))
        for path in self.definitions:
            for length in range(1, len(path) + 1):
                self._within.setdefault(path[:length], set()).add(path)

    def roots(self) -> Iterator[Path]:
        yield _DECISION
        for file in self._files:
            lines = _entry_point_lines(file.source.decode())
            # The gateway asks the package of the decision for nothing but the decision.
            if file.package_line in lines and file.package != _DECISION[:-1]:
                yield file.package
            yield from (each.path for each in file.definitions if each.line in lines)

    def uses(self, file: RegoFile, definitions: Iterable[Definition]) -> Iterator[Path]:
        """Yield the full names of what definitions of a file refer to, and of what is no rule."""
        for definition in definitions:
            for (root, *rest), _ in references(definition.node):
                if root == "data":
                    yield (root, *rest)
                elif root in file.imports:
                    yield (*file.imports[root][0], *rest)
                yield (*file.package, root, *rest)

    def reach(self, roots: Iterable[Path]) -> set[Path]:
        reached: set[Path] = set()
        pending = list(roots)
        while pending:
            name = pending.pop()
            above = {name[:length] for length in range(1, len(name))} & self.definitions.keys()
            for path in (above | self._within.get(name, set())) - reached:
                reached.add(path)
                for file, definition in self.definitions[path]:
                    pending.extend(self.uses(file, [definition]))
        return reached


def _entry_point_lines(source: str) -> set[int]:
    """Return the lines of what annotations mark as entry points."""
    found: set[int] = set()
    annotated = marked = False
    for number, line in enumerate(source.splitlines(), start=1):
        text = line.strip()
        if text.startswith("#"):
            annotated = annotated or bool(_METADATA.fullmatch(text))
            marked = marked or (annotated and bool(_ENTRY_POINT.fullmatch(text)))
        elif text:
            if marked:
                found.add(number)
            annotated = marked = False
    return found
