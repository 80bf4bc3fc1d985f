"""Which lines of the policies the Rego tests evaluate, as the embedded engine counts them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.authorization.rego import Module, evaluate, new_engine
from gateway.authorization.rego_ast import packages_of


@dataclass(frozen=True, slots=True)
class FileCoverage:
    """Lines of one file that hold something to evaluate.

    Attributes:
        file: name of the file, relative to the policy directory.
        covered: lines that some test evaluated, sorted.
        missed: the others, sorted.
    """

    file: str
    covered: tuple[int, ...]
    missed: tuple[int, ...]

    @property
    def percent(self) -> float:
        """Covered lines in percent; 100 where there is nothing to evaluate."""
        return _percent(len(self.covered), len(self.missed))


class Coverage:
    """Adds up what engines evaluate. An `EngineWatcher` of the test runner.

    Args:
        modules: the files that count; tests are left out.
    """

    def __init__(self, modules: Sequence[Module]) -> None:
        self._lines = _lines(modules)
        self._covered: dict[str, set[int]] = {name: set() for name in self._lines}

    def begin(self, engine: Any) -> None:
        """Have an engine count from now on."""
        engine.set_enable_coverage(True)

    def end(self, engine: Any) -> None:
        """Add what the engine counted."""
        for entry in orjson.loads(engine.get_coverage_report_as_json())["files"]:
            if entry["path"] in self._covered:
                # Tests with cases have rules added at the ends of their files.
                self._covered[entry["path"]].update(self._lines[entry["path"]].intersection(entry["covered"]))

    def files(self) -> list[FileCoverage]:
        """Return the coverage of each file, by name."""
        return [
            FileCoverage(name, tuple(sorted(covered)), tuple(sorted(self._lines[name] - covered)))
            for name, covered in sorted(self._covered.items())
        ]

    @property
    def percent(self) -> float:
        """Covered lines of all files together, in percent."""
        files = self.files()
        return _percent(sum(len(each.covered) for each in files), sum(len(each.missed) for each in files))


def ranges(lines: Iterable[int]) -> str:
    """Return sorted lines for people: `3, 5-7`."""
    runs: list[list[int]] = []
    for line in lines:
        if runs and line == runs[-1][1] + 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _lines(modules: Sequence[Module]) -> dict[str, set[int]]:
    """Return the lines of each file that hold something to evaluate.

    The engine tells them only of files of which it evaluated something: here, a rule that is added at their ends.
    """
    name, texts = "evaluated", "".join(module.text for module in modules)
    while name in texts:
        name += "_"
    engine = new_engine([Module(module.name, f"{module.text}\n{name} := true\n") for module in modules])
    engine.set_enable_coverage(True)
    for package in set(packages_of(engine).values()):
        evaluate(engine, f"{package}.{name}", None)
    lines: dict[str, set[int]] = {module.name: set() for module in modules}
    for entry in orjson.loads(engine.get_coverage_report_as_json())["files"]:
        lines[entry["path"]].update(entry["covered"], entry["not_covered"])
    for module in modules:
        lines[module.name].discard(module.text.count("\n") + 2)
    return lines


def _percent(covered: int, missed: int) -> float:
    return 100 * covered / (covered + missed) if covered + missed else 100.0
