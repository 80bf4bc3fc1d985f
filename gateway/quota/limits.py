"""The limits of the policy data: checked when loaded, looked up by principal on the path of a call."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.errors import ConfigError
from gateway.quota.gcra import DAY_SECONDS
from gateway.quota.ledger import Limit

MAX_AMOUNT = 10**12
"""Largest amount of a limit; more would be no limit, and less than a nanosecond a unit for a rate."""

_CACHED_PRINCIPALS = 10_000

_KINDS: tuple[tuple[str, str, int], ...] = (
    ("requests_per_minute", "requests", 60),
    ("tokens_per_minute", "tokens", 60),
    ("tokens_per_day", "tokens", DAY_SECONDS),
    ("concurrent_streams", "streams", 0),
)

Amount = Annotated[int, Field(strict=True, ge=1, le=MAX_AMOUNT)]


class Match(BaseModel):
    """Whom a limit applies to; what is left out matches everybody."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    team: str | None = None
    kind: str | None = None
    id: str | None = Field(None, description="Pattern for the SPIFFE ID; * stands for any text.")


class QuotaLimit(BaseModel):
    """One limit as the policy data write it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    scope: Literal["agent", "team"]
    match: Match = Match()
    requests_per_minute: Amount | None = None
    tokens_per_minute: Amount | None = None
    tokens_per_day: Amount | None = None
    concurrent_streams: Amount | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if all(getattr(self, key) is None for key, _, _ in _KINDS):
            raise ValueError(f"it limits nothing; give at least one of {', '.join(key for key, _, _ in _KINDS)}")
        return self

    def applies_to(self, principal_id: str, team: str, kind: str) -> bool:
        """Whether the limit counts calls of this principal."""
        match = self.match
        return (
            (match.team is None or match.team == team)
            and (match.kind is None or match.kind == kind)
            and (match.id is None or fnmatchcase(principal_id, match.id))
        )


class LimitTable:
    """All limits, with those of each principal looked up once."""

    def __init__(self, limits: Iterable[QuotaLimit]) -> None:
        self._limits = tuple(limits)
        self._known: dict[tuple[str, str, str], tuple[Limit, ...]] = {}

    @classmethod
    def from_data(cls, entries: Iterable[Mapping[str, Any]]) -> "LimitTable":
        """Check the limits of the policy data.

        Raises:
            ConfigError: names the limit and what is wrong with it.
        """
        limits: list[QuotaLimit] = []
        for number, entry in enumerate(entries):
            try:
                limits.append(QuotaLimit.model_validate(entry))
            except ValidationError as error:
                name = entry.get("name", f"number {number}") if isinstance(entry, Mapping) else f"number {number}"
                problems = "; ".join(
                    f"{'.'.join(map(str, item['loc'])) or 'limit'}: {item['msg']}" for item in error.errors()
                )
                raise ConfigError(f"quota limit {name}: {problems}") from None
        names = [limit.name for limit in limits]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"quota limit {', '.join(twice)} is defined twice")
        return cls(limits)

    def for_principal(self, principal_id: str, team: str, kind: str) -> tuple[Limit, ...]:
        """Return the limits that count this principal's calls."""
        key = (principal_id, team, kind)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _CACHED_PRINCIPALS:
                self._known.clear()
            found = self._known[key] = tuple(self._expand(*key))
        return found

    def _expand(self, principal_id: str, team: str, kind: str) -> Iterable[Limit]:
        for limit in self._limits:
            if not limit.applies_to(principal_id, team, kind):
                continue
            subject = principal_id if limit.scope == "agent" else f"team:{team}"
            for key, unit, window in _KINDS:
                amount = getattr(limit, key)
                if amount is not None:
                    name = f"{limit.name}-{key.replace('_', '-')}"
                    yield Limit(name, f"{name}|{subject}", unit, window, amount)
