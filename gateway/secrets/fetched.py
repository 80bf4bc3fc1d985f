"""What a store of secrets gave, once: every field of one path, and how long it may be used."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.secrets.store import Secret


@dataclass(frozen=True, slots=True)
class Fetched:
    """The fields of one path, as a store gave them.

    Attributes:
        fields: the values by name.
        version: the store's number of this value, where it counts; else 0.
        lease_id: names what the store revokes, where it leased the value; else empty.
        lifetime_seconds: how long the value is good from now on; None where it has no end.
        renewable: whether the store prolongs the lease.
        since: UNIX seconds since when the value is what it is, where the store knows; else None.
        others: names of what is there and is no text, or empty.
    """

    fields: Mapping[str, Secret]
    version: int = 0
    lease_id: str = ""
    lifetime_seconds: float | None = None
    renewable: bool = False
    since: int | None = None
    others: frozenset[str] = frozenset()


class SecretSourceError(Exception):
    """A store of secrets did not give what was asked for; the message names no value.

    Attributes:
        code: of the answer to the caller: `secret_unavailable` (the store is away, ask again later), `secret_denied`
            (it refuses), `secret_missing` (nothing is there) or `secret_unusable` (what is there cannot be used).
        remedy: what the operator does about it.
        refused_input: it was not the right to ask that was refused, but what was asked.
    """

    def __init__(self, detail: str, code: str, remedy: str = "", *, refused_input: bool = False) -> None:
        super().__init__(detail)
        self.refused_input = refused_input
        self.code = code
        self.remedy = remedy
