"""The secrets seam: a reference of the configuration becomes a credential, at the moment it is used."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol


class Secret:
    """A value that prints as `<secret>` and cannot be pickled or compared; only `reveal` reads it."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the value. Called at the moment of use, in the modules that a test lists, nowhere else."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def matches(self, value: bytes) -> bool:
        """Return whether this is the value, in a time that does not tell how much of it is."""
        return hmac.compare_digest(self._value, value)

    def same_as(self, other: "Secret") -> bool:
        """Return whether both are the same value; as `matches`."""
        return hmac.compare_digest(self._value, other._value)

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret cannot be pickled or copied")

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a reference names at this moment.

    Attributes:
        reference: the reference.
        value: what it names; None where it names a path with several fields and none of them.
        fields: everything that is at the same path, by name; empty where a store has single values.
        version: the store's number of the value, where it counts; else 0.
        lease_id: names the lease, where the value is leased; else empty.
    """

    reference: str
    value: Secret | None
    fields: Mapping[str, Secret] = field(default_factory=dict)
    version: int = 0
    lease_id: str = ""


class SecretStore(Protocol):
    """Resolves references. A rotation in the store needs no restart."""

    async def resolve(self, reference: str, principal: str = "") -> Resolved:
        """Return what a reference names now.

        Args:
            reference: of the configuration.
            principal: on whose behalf alone it is used; empty where all share it.

        Raises:
            gateway.errors.UnavailableError: the store is away, or there is no such secret; the message
                names the reference, never a value.
        """
        ...

    async def refused(self, used: Resolved, principal: str = "") -> Resolved | None:
        """Return what the reference names now, as somebody did not take what it named; None if it is the same.

        Raises:
            gateway.errors.UnavailableError: as `resolve`.
        """
        ...
