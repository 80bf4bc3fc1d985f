"""The shapes of the policy data that the gateway itself reads, and the checks between them."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from gateway.errors import ConfigError
from identity.spiffe_id import SpiffeId, SpiffeIdError

ACTIONS = (
    "model.infer",
    "model.embed",
    "model.list",
    "tool.call",
    "object.read",
    "object.write",
    "pipeline.trigger",
    "identity.exchange",
    "identity.renew",
)
"""Actions of the policy contract besides those of the control plane, which start with `admin.`."""

KINDS = ("agent", "service", "pipeline", "human")
"""Kinds of principal."""

_ADMIN_ACTION = re.compile(r"admin(\.[a-z_]+)+")
_PATTERN = re.compile(r"[A-Za-z0-9._/:@+*-]{1,200}")
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def _action(value: str) -> str:
    if value in ACTIONS or _ADMIN_ACTION.fullmatch(value):
        return value
    near = difflib.get_close_matches(value, ACTIONS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known actions: {', '.join(ACTIONS)}, admin.…"
    raise ValueError(f"{value!r} is not an action; {hint}")


def _pattern(value: str) -> str:
    if not _PATTERN.fullmatch(value):
        raise ValueError(f"{value!r} is not a resource: a name, or a pattern in which * stands for any text")
    return value


Name = Annotated[str, Field(pattern=_NAME)]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Region = Annotated[str, Field(min_length=1, max_length=100)]
Amount = Annotated[int, Field(ge=1, le=2**53 - 1, strict=True)]


class _Entry(BaseModel):
    """An entry of a table: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Permission(_Entry):
    """Actions on resources."""

    actions: list[Annotated[str, AfterValidator(_action)]] = Field(min_length=1)
    resources: list[Annotated[str, AfterValidator(_pattern)]] = Field(min_length=1)


class Role(_Entry):
    """What a role may do; `max_output_tokens` bounds the answer of a model call (tokens)."""

    description: str = ""
    permissions: list[Permission]
    max_output_tokens: Amount | None = None


class Oversight(BaseModel):
    """Who oversees a system."""

    model_config = ConfigDict(extra="allow", frozen=True)
    overseers: list[Text] = []


class RegisteredSystem(BaseModel):
    """An AI system of the register. Keys beyond these are attributes for rules and reports."""

    model_config = ConfigDict(extra="allow", frozen=True)
    risk: Literal["minimal", "limited", "high", "prohibited"]
    data_classes: list[Text] = []
    regions: list[Region] | None = Field(None, min_length=1)
    oversight: Oversight = Oversight()
    max_output_tokens: Amount | None = None


class DataClass(_Entry):
    """A class of data, and the regions it is bound to."""

    regions: list[Region] | None = Field(None, min_length=1)


class Regions(_Entry):
    """The table of data classes."""

    data_classes: dict[str, DataClass] = {}


class Explanation(_Entry):
    """A reason code explained for a person."""

    message: Text
    remedy: str = ""


class Match(_Entry):
    """Whom a quota limit applies to; without any key, everybody."""

    id: str | None = None
    team: str | None = None
    kind: Literal["agent", "service", "pipeline", "human"] | None = None


class QuotaLimit(_Entry):
    """One quota limit of the data."""

    name: Name
    scope: Literal["agent", "team"]
    match: Match = Match()
    requests_per_minute: Amount | None = None
    tokens_per_minute: Amount | None = None
    tokens_per_day: Amount | None = None
    concurrent_streams: Amount | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        bounds = (
            self.requests_per_minute,
            self.tokens_per_minute,
            self.tokens_per_day,
            self.concurrent_streams,
        )
        if all(bound is None for bound in bounds):
            raise ValueError(
                f"the limit {self.name} bounds nothing; give requests_per_minute, tokens_per_minute, "
                "tokens_per_day or concurrent_streams"
            )
        return self


class Limits(_Entry):
    """The quota limits."""

    quota: list[QuotaLimit] = []

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [limit.name for limit in self.quota]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the limit {', '.join(twice)} is given twice")
        return self


class PolicyData(BaseModel):
    """The tables under `data.govgateway`. Tables beyond these belong to the rules and are not checked."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    roles: dict[Name, Role] = {}
    bindings: dict[str, list[str]] = {}
    systems: dict[Name, RegisteredSystem] = {}
    regions: Regions = Regions()
    reasons: dict[Code, Explanation] = {}
    limits: Limits = Limits()


def check_policy_data(directory: Path, data: Mapping[str, Any]) -> PolicyData:
    """Return the checked tables.

    Raises:
        ConfigError: every problem found, one a line, each with its file and key.
    """
    try:
        tables = TypeAdapter(PolicyData).validate_python(data.get("govgateway", {}))
    except ValidationError as error:
        raise ConfigError("\n".join(_problem(directory, item) for item in error.errors(include_url=False))) from None
    problems = [*_binding_problems(tables), *_class_problems(tables)]
    if problems:
        raise ConfigError("\n".join(f"{_file(directory, table)}: {place}: {text}" for table, place, text in problems))
    return tables


def _binding_problems(tables: PolicyData) -> list[tuple[str, str, str]]:
    found = []
    for subject, roles in tables.bindings.items():
        problem = _subject_problem(subject)
        if problem:
            found.append(("bindings", subject, problem))
        for role in roles:
            if role not in tables.roles:
                near = difflib.get_close_matches(role, tables.roles, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known roles: {', '.join(sorted(tables.roles))}"
                found.append(("bindings", subject, f"there is no role {role!r}; {hint}"))
    return found


def _subject_problem(subject: str) -> str:
    if subject.startswith("spiffe://"):
        try:
            SpiffeId.parse(subject)
        except SpiffeIdError as error:
            return str(error)
        return ""
    prefix, _, name = subject.partition(":")
    if prefix == "team" and name:
        return ""
    if prefix == "kind" and name:
        return "" if name in KINDS else f"{name!r} is not a kind; kinds are {', '.join(KINDS)}"
    return "a subject is a SPIFFE ID (spiffe://…), team:<name> or kind:<kind>"


def _class_problems(tables: PolicyData) -> list[tuple[str, str, str]]:
    known = tables.regions.data_classes
    return [
        ("systems", system, f"data_classes: {name!r} is not in the table of regions; add it there")
        for system, entry in tables.systems.items()
        for name in entry.data_classes
        if name not in known
    ]


def _problem(directory: Path, item: Any) -> str:
    location = [str(part) for part in item["loc"] if part != "[key]"]
    table, place = (location[0], ".".join(location[1:])) if location else ("", "")
    if item["type"] == "extra_forbidden":
        text = "unknown key"
    elif item["type"] == "missing":
        text = "this key is required"
    else:
        text = str(item["msg"]).removeprefix("Value error, ")
    return f"{_file(directory, table)}: {place + ': ' if place else ''}{text}"


def _file(directory: Path, table: str) -> Path:
    return directory / "govgateway" / table / "data.yaml"
