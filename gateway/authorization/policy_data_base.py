"""What the shapes of the policy tables are made of: names, codes, times and the strict entry."""

import difflib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from gateway.people import as_written, says_something

KINDS = ("agent", "service", "pipeline", "human")
"""Kinds of principal."""

Kind = Literal["agent", "service", "pipeline", "human"]

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def seconds_of(time: str) -> int:
    """Return an RFC 3339 time in UTC, such as `2026-11-23T18:00:00Z`, as UNIX seconds.

    Raises:
        ValueError: not of that form, or no such moment.
    """
    if not _TIME.fullmatch(time):
        raise ValueError(f"{time!r} is not a time in UTC; write it as '2026-11-23T18:00:00Z', in quotes")
    try:
        return int(datetime.fromisoformat(time).astimezone(UTC).timestamp())
    except ValueError as error:
        raise ValueError(f"{time!r} is not a time: {error}") from None


def did_you_mean(name: str, known: Iterable[str], what: str) -> str:
    """Return the hint of a message about an unknown name: the nearest known one, else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known {what}: {', '.join(names) or 'none'}"


def _time(value: str) -> str:
    seconds_of(value)
    return value


def _day(value: str) -> str:
    if not _DAY.fullmatch(value):
        raise ValueError(f"{value!r} is not a day; write it as '2026-11-23', in quotes")
    datetime.fromisoformat(value)
    return value


def _said(value: str) -> str:
    if not says_something(value):
        raise ValueError("this text is empty")
    return value


def _person(value: str) -> str:
    plain = as_written(value)
    if value != plain:
        raise ValueError(
            f"{value!a} is not written plainly: spaces around it, invisible characters, or another form of its "
            f"letters (Unicode NFKC); write {plain!a}"
        )
    return value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Said = Annotated[Text, AfterValidator(_said)]
Person = Annotated[Said, AfterValidator(_person)]
Region = Annotated[str, Field(min_length=1, max_length=100)]
Amount = Annotated[int, Field(ge=1, le=2**53 - 1, strict=True)]
Time = Annotated[str, AfterValidator(_time), WithJsonSchema({"type": "string", "pattern": f"^{_TIME.pattern}$"})]
Day = Annotated[str, AfterValidator(_day), WithJsonSchema({"type": "string", "pattern": f"^{_DAY.pattern}$"})]


class Entry(BaseModel):
    """An entry of a table: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
