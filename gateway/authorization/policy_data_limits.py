"""The tables of quota limits and of reason codes."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gateway.authorization.policy_data_base import Amount, Entry, Kind, Name, Text


class Explanation(Entry):
    """A reason code explained for a person."""

    message: Text
    remedy: str = ""


class Match(Entry):
    """Whom a quota limit applies to; without any key, everybody."""

    id: str | None = None
    team: str | None = None
    kind: Kind | None = None


class QuotaLimit(Entry):
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


class Limits(Entry):
    """The quota limits."""

    quota: list[QuotaLimit] = Field([])

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [limit.name for limit in self.quota]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the limit {', '.join(twice)} is given twice")
        return self
