"""Legal holds: what they cover is not deleted, whatever its age. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from audit.retention.facts import Facts

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Covers:
    """What a hold covers: records that meet every criterion that is given; all records if none is.

    Attributes:
        types: types of records.
        systems: AI systems.
        principals: SPIFFE IDs or operators, as caller, as one whom the caller acts for, or as one acted on.
        since: UNIX seconds; 0 is from the beginning.
        until: UNIX seconds, not included; 0 is without an end.
    """

    types: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()
    since: int = 0
    until: int = 0

    def covers(self, facts: Facts) -> bool:
        """Whether a record is covered. One whose system is not known is, whatever the system."""
        return (
            (not self.types or facts.type in self.types)
            and (not self.systems or facts.system_elsewhere or facts.system in self.systems)
            and (not self.principals or not facts.principals.isdisjoint(self.principals))
            and self.since * _SECOND_NS <= facts.time_ns
            and (not self.until or facts.time_ns < self.until * _SECOND_NS)
        )

    def to_document(self) -> dict[str, Any]:
        """Return it as a record holds it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Covers":
        """Read what `to_document` returned."""
        return cls(
            types=tuple(document["types"]),
            systems=tuple(document["systems"]),
            principals=tuple(document["principals"]),
            since=int(document["since"]),
            until=int(document["until"]),
        )


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold that stands."""

    hold_id: str
    covers: Covers
    by: str
    cause: str
    set_ns: int


def holding(holds: Iterable[Hold], facts: Facts) -> Hold | None:
    """Return a hold that keeps a record, or None."""
    return next((hold for hold in holds if hold.covers.covers(facts)), None)
