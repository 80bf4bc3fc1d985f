"""The table of duties to report: classes of incident, deadlines and their sources, read from YAML."""

from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from compliance.errors import ComplianceError

HOUR, DAY = 3600, 86_400

NONE = "none"
"""The class of an incident that nobody has to report."""

MAX_FILE_BYTES = 1024 * 1024

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class IncidentClass(_Entry):
    """A class of incident."""

    title: Text


class Deadline(_Entry):
    """How long a report of one class of incident may take, and by which article."""

    days: int | None = Field(None, ge=1, le=3660)
    hours: int | None = Field(None, ge=1, le=87_840)
    article: Text

    @model_validator(mode="after")
    def _is_one_period(self) -> Self:
        if (self.days is None) == (self.hours is None):
            raise ValueError("a deadline is a number of days or of hours, one of them")
        return self

    @property
    def seconds(self) -> int:
        """The period in seconds."""
        return self.days * DAY if self.days is not None else (self.hours or 0) * HOUR

    @property
    def words(self) -> str:
        """The period as it is written."""
        return f"{self.days} days" if self.days is not None else f"{self.hours} hours"


class Duty(_Entry):
    """A duty to report to an authority."""

    title: Text
    law: Text
    article: Text
    whose: Text
    to: Text
    first_report_may_be_incomplete: Text | None = Field(None, description="The article that says so.")
    applies_from: Day
    source: Text
    deadlines: dict[Name, Deadline] = Field(min_length=1, description="By class of incident.")

    def deadline(self, classes: Collection[str]) -> Deadline | None:
        """Return the shortest deadline that classes of incident bring; None for none."""
        found = [deadline for name, deadline in self.deadlines.items() if name in classes]
        return min(found, key=lambda each: each.seconds) if found else None


class Duties(_Entry):
    """The table."""

    version: Text
    classes: dict[Name, IncidentClass]
    duties: dict[Name, Duty]

    @model_validator(mode="after")
    def _names_known_classes(self) -> Self:
        for name, duty in self.duties.items():
            unknown = sorted(duty.deadlines.keys() - self.classes.keys())
            if unknown:
                raise ValueError(f"the duty {name} has deadlines for unknown classes: {', '.join(unknown)}")
            if NONE in duty.deadlines:
                raise ValueError(f"the duty {name} has a deadline for {NONE}, which brings none")
        return self

    def check_classes(self, classes: Collection[str]) -> None:
        """Refuse classes that the table does not have.

        Raises:
            ComplianceError: one is unknown, or `none` stands beside another.
        """
        unknown = sorted(set(classes) - self.classes.keys())
        if unknown:
            raise ComplianceError(f"unknown class: {', '.join(unknown)}; there are: {', '.join(sorted(self.classes))}.")
        if NONE in classes and len(set(classes)) > 1:
            raise ComplianceError(f"an incident of the class {NONE} is of no other class.")

    def brought_by(self, classes: Collection[str], aware_at: int) -> dict[str, int]:
        """Return the deadline (UNIX seconds) of each duty that classes of incident bring."""
        found = {name: duty.deadline(classes) for name, duty in self.duties.items()}
        return {name: aware_at + each.seconds for name, each in found.items() if each is not None}

    def shortest(self, aware_at: int) -> int:
        """Return the earliest deadline (UNIX seconds) that any class could bring."""
        return min(self.brought_by(self.classes.keys(), aware_at).values(), default=aware_at)


def load_duties(own: Path | None = None) -> Duties:
    """Read the table that comes along, and one of the company's own beside it.

    Args:
        own: further classes and duties, of the same form; none of those that come along can be replaced.

    Raises:
        ComplianceError: a file cannot be read, or is not of the form.
    """
    resource = files("compliance.incidents") / "data" / "duties.yaml"
    document = _parsed("duties.yaml", resource.read_text("utf-8"))
    if own is not None:
        try:
            text = own.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ComplianceError(f"{own} cannot be read: {error}.") from error
        _add(document, _parsed(str(own), text), own)
    return _checked(document, "duties.yaml" if own is None else str(own))


def _add(document: dict[str, Any], further: Mapping[str, Any], own: Path) -> None:
    for part in ("classes", "duties"):
        added = further.get(part) or {}
        if not isinstance(added, dict):
            raise ComplianceError(f"{own}: {part} is not a mapping.")
        twice = sorted(document[part].keys() & added.keys())
        if twice:
            raise ComplianceError(f"{own}: {part} has names that are taken already: {', '.join(map(str, twice))}.")
        document[part] |= added
    document["version"] = f"{document['version']} and {further.get('version', 'an own table')}"


def _parsed(place: str, text: str) -> dict[str, Any]:
    if len(text) > MAX_FILE_BYTES:
        raise ComplianceError(f"{place} is larger than {MAX_FILE_BYTES} characters.")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ComplianceError(f"{place}: {str(error).replace(chr(10), ' ')}") from error
    if not isinstance(document, dict):
        raise ComplianceError(f"{place} is not a mapping with classes and duties.")
    return document


def _checked(document: dict[str, Any], place: str) -> Duties:
    try:
        return Duties.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ComplianceError(f"{place}: {faults}.") from error
