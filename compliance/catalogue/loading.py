"""Reads the frameworks: those that come along, and those of a company's own."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from compliance.catalogue.model import Control, ControlTest, Framework, Rows, parse_framework
from compliance.errors import ComplianceError
from compliance.populations.base import BASE_COLUMNS, Column, Population

MAX_FILE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All frameworks, by identifier."""

    frameworks: Mapping[str, Framework]

    def chosen(self, names: Sequence[str]) -> tuple[Framework, ...]:
        """Return the named frameworks that have controls, in order; all such, if none is named.

        Raises:
            ComplianceError: there is no such framework, or it only lists identifiers.
        """
        having = {name: each for name, each in self.frameworks.items() if each.controls}
        for name in names:
            if name not in having:
                why = "has no controls of its own" if name in self.frameworks else "is not known"
                raise ComplianceError(f"the framework {name!r} {why}; there are: {', '.join(sorted(having))}")
        return tuple(having[name] for name in dict.fromkeys(names or sorted(having)))


def load_catalogue(directories: Sequence[Path], populations: Mapping[str, Population]) -> Catalogue:
    """Read the frameworks that come along, and every `*.yaml` of further directories.

    Args:
        directories: where a company keeps its own frameworks.
        populations: what tests may ask, by name.

    Raises:
        ComplianceError: a file cannot be read or is not of the form; it names file, place and fault, all of them.
    """
    found: dict[str, Framework] = {}
    places: dict[str, str] = {}
    faults: list[str] = []
    for place, text in _files(directories):
        try:
            framework = parse_framework(yaml.load(text, Loader=StrictLoader))  # noqa: S506 - derived from SafeLoader
        except yaml.YAMLError as error:
            faults.append(f"{place}: {str(error).replace(chr(10), ' ')}")
            continue
        except ValidationError as error:
            faults += [f"{place}: {_where(each)}: {each['msg']}" for each in error.errors()]
            continue
        if framework.framework in found:
            faults.append(f"{place}: the framework {framework.framework} is in {places[framework.framework]} already")
            continue
        found[framework.framework], places[framework.framework] = framework, place
        faults += [f"{place}: {fault}" for fault in _faults(framework, populations)]
    for framework in found.values():
        faults += [f"{places[framework.framework]}: {fault}" for fault in _crosswalk_faults(framework, found)]
    if faults:
        raise ComplianceError("control catalogue:\n" + "\n".join(f"  {each}" for each in faults))
    return Catalogue(found)


def _files(directories: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    ours = files("compliance.catalogue") / "data"
    for each in sorted(ours.iterdir(), key=lambda entry: entry.name):
        if each.name.endswith(".yaml"):
            yield each.name, each.read_bytes()
    for directory in directories:
        if not directory.is_dir():
            raise ComplianceError(f"{directory}, which should hold frameworks, is no directory")
        for path in sorted(directory.glob("*.yaml")):
            try:
                if path.stat().st_size > MAX_FILE_BYTES:
                    raise ComplianceError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
                yield str(path), path.read_bytes()
            except OSError as error:
                raise ComplianceError(f"{path} cannot be read: {error.strerror}") from error


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, which YAML would let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _where(error: Any) -> str:
    return ".".join(str(each) for each in error["loc"]) or "the file"


def _faults(framework: Framework, populations: Mapping[str, Population]) -> Iterator[str]:
    ids = [control.id for control in framework.controls]
    yield from (f"{each}: stands twice" for each in sorted({each for each in ids if ids.count(each) > 1}))
    for control in framework.controls:
        for name in control.populations:
            if name not in populations:
                yield f"{control.id}: {name} is no population"
        yield from _id_faults(control)
        if not control.tests and not control.person and control.not_testable is None:
            yield f"{control.id}: has no tests, nothing that a person supplies, and no not_testable"
        if control.tests and control.not_testable is not None:
            yield f"{control.id}: has tests and is not_testable"
        for test in control.tests:
            yield from (f"{control.id}: {test.id}: {fault}" for fault in _test_faults(test, control, populations))


def _id_faults(control: Control) -> Iterator[str]:
    ids = [*(each.id for each in control.tests), *(each.id for each in control.person)]
    yield from (f"{control.id}: {each} stands twice" for each in sorted({each for each in ids if ids.count(each) > 1}))


def _test_faults(test: ControlTest, control: Control, populations: Mapping[str, Population]) -> Iterator[str]:
    measures = [test.good is not None, test.highest is not None, test.lowest is not None, test.count]
    if sum(measures) != 1:
        yield "says one of good, highest, lowest and count"
    if test.good is None and test.at_least is None and test.at_most is None:
        yield "says neither at_least nor at_most"
    if test.good is not None and (test.at_least is not None or test.at_most is not None):
        yield "the share of good rows is bounded by share_at_least"
    if test.good is None and (test.share_at_least != "1" or test.partial_at_least is not None):
        yield "share_at_least and partial_at_least go with good"
    population = populations.get(test.population)
    if population is None:
        yield f"{test.population} is no population"
        return
    if test.population not in control.populations:
        yield f"its population {test.population} is not among the control's"
    columns = {column.name: column for column in (*BASE_COLUMNS, *population.columns)}
    for rows in (test.of, test.good or {}):
        yield from _rows_faults(rows, test.population, columns)
    for name in (test.highest, test.lowest):
        if name is not None and (name not in columns or columns[name].kind not in ("integer", "time")):
            yield f"{name} is no number of {test.population}"


def _rows_faults(rows: Rows, population: str, columns: Mapping[str, Column]) -> Iterator[str]:
    for name, condition in rows.items():
        if name not in columns:
            yield f"{population} has no column {name}"
            continue
        values = [condition] if isinstance(condition, str | int | bool) else list(_values(condition))
        kind = columns[name].kind
        for value in values:
            if not _fits(value, kind):
                yield f"{name} is {kind}, and {value!r} is not"
        if not isinstance(condition, str | int | bool):
            if condition.column is not None and condition.column not in columns:
                yield f"{population} has no column {condition.column}"
            if (condition.contains is not None or condition.lacks is not None) and kind != "list":
                yield f"{name} is no list"
            if not condition.model_fields_set:
                yield f"{name} has an empty condition"


def _values(condition: Any) -> Iterable[Any]:
    yield from (each for each in (condition.equals, condition.differs) if each is not None)
    yield from condition.any_of or ()
    yield from condition.none_of or ()


def _fits(value: object, kind: str) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in ("integer", "time"):
        return isinstance(value, int) and not isinstance(value, bool)
    return kind == "text" and isinstance(value, str)


def _crosswalk_faults(framework: Framework, known: Mapping[str, Framework]) -> Iterator[str]:
    for control in framework.controls:
        for other, ids in control.crosswalk.items():
            if other not in known:
                yield f"{control.id}: crosswalk to {other}, which is not known"
                continue
            there = {*known[other].references, *(each.id for each in known[other].controls)}
            yield from (f"{control.id}: {other} has no {each}" for each in ids if each not in there)
