"""What people state beside the log: one YAML file or more, each with a list of statements."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from compliance.catalogue.loading import MAX_FILE_BYTES, StrictLoader
from compliance.catalogue.model import Control, Identifier, Person
from compliance.errors import ComplianceError
from compliance.evaluation.result import PersonResult
from compliance.period import Period
from compliance.register.model import Day, Reference, Said, Sha256


class Statement(BaseModel):
    """Something that a person answers for.

    Attributes:
        control: identifier of the control.
        item: what of it, as the control names it.
        system: the AI system that it is about; empty for all.
        date: the day it was stated.
        valid_until: the last day that it holds; without, as long as the control says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    control: Identifier
    item: Identifier
    system: str = ""
    statement: Said
    by: Said
    date: Day
    valid_until: Day | None = None
    reference: Reference | None = None
    sha256: Sha256 | None = None


def load_statements(directory: Path | None) -> tuple[Statement, ...]:
    """Read the statements in the `*.yaml` files of a directory, in the order of their names.

    Raises:
        ComplianceError: a file cannot be read or is not of the form; it names file, place and fault.
    """
    if directory is None:
        return ()
    if not directory.is_dir():
        raise ComplianceError(f"{directory}, which should hold statements (compliance.attestations), is no directory")
    found: list[Statement] = []
    faults: list[str] = []
    for path in sorted(directory.glob("*.yaml")):
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                faults.append(f"{path} is larger than {MAX_FILE_BYTES} bytes")
                continue
            written = yaml.load(path.read_bytes(), Loader=StrictLoader) or []  # noqa: S506 - derived from SafeLoader
        except (OSError, yaml.YAMLError) as error:
            faults.append(f"{path}: {str(error).replace(chr(10), ' ')}")
            continue
        if not isinstance(written, list):
            faults.append(f"{path}: a file of statements is a list")
            continue
        for number, each in enumerate(written):
            try:
                found.append(Statement.model_validate(each))
            except ValidationError as error:
                for fault in error.errors():
                    place = ".".join(str(part) for part in (number, *fault["loc"]))
                    faults.append(f"{path}: {place}: {fault['msg'].removeprefix('Value error, ')}")
    if faults:
        raise ComplianceError("statements:\n" + "\n".join(f"  {each}" for each in faults))
    return tuple(found)


def check_statements(statements: Sequence[Statement], controls: Sequence[Control]) -> None:
    """Refuse statements about a control of these frameworks that it does not ask for; others' are passed over.

    Raises:
        ComplianceError: a control has no such item.
    """
    items = {control.id: {person.id for person in control.person} for control in controls}
    faults = [
        f"{each.control} asks for no {each.item!r}; it asks for: {', '.join(sorted(items[each.control])) or 'nothing'}"
        for each in statements
        if each.control in items and each.item not in items[each.control]
    ]
    if faults:
        raise ComplianceError("statements:\n" + "\n".join(f"  {each}" for each in faults))


def supplied(
    person: Person, control: str, system: str, period: Period, statements: Sequence[Statement], entry: Mapping[str, Any]
) -> PersonResult:
    """Return what was supplied for an item: by the register where it answers, else by the latest statement.

    A statement counts that was made before the period ended and held on its last day.
    """
    if person.register_key and _registered(entry, person.register_key):
        text = f"the register says so: {person.register_key}"
        return PersonResult(person.id, person.asks, "given", text, by="register")
    about = [
        each
        for each in statements
        if each.control == control
        and each.item == person.id
        and each.system in ("", system)
        and each.date <= period.last.isoformat()
    ]
    if not about:
        return PersonResult(person.id, person.asks, "missing")
    latest = max(about, key=lambda each: (_end(each, person, period), each.date, each.system))
    end = _end(latest, person, period)
    return PersonResult(
        person.id,
        person.asks,
        "given" if end >= period.last.isoformat() else "expired",
        latest.statement,
        latest.by,
        latest.date,
        latest.reference or "",
        (latest.sha256 or "").removeprefix("sha256:"),
        end,
    )


def _end(statement: Statement, person: Person, period: Period) -> str:
    """Return the last day that a statement holds: the earlier of what it says and what the control allows."""
    ends = [statement.valid_until] if statement.valid_until is not None else []
    if person.valid_days is not None:
        ends.append(_later(statement.date, person.valid_days))
    elif statement.date < period.first.isoformat() and statement.valid_until is None:
        return statement.date  # a statement for a period is made in it
    return min(ends, default=period.last.isoformat())


def _later(day: str, days: int) -> str:
    return (datetime.date.fromisoformat(day) + datetime.timedelta(days=days)).isoformat()


def _registered(entry: Mapping[str, Any], key: str) -> bool:
    value: Any = entry
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value is not None and value not in ("", [], {})
