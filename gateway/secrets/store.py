"""The secrets seam: a reference of the configuration becomes a credential, at the moment it is used."""

import hmac
from typing import Any, NoReturn, Protocol


class Secret:
    """A value that prints as `<secret>` and cannot be pickled or compared; only `reveal` reads it."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the value. Called by the upstream client at the moment of use, nowhere else."""
        return self._value

    def matches(self, value: bytes) -> bool:
        """Return whether this is the value, in a time that does not tell how much of it is."""
        return hmac.compare_digest(self._value, value)

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


class SecretStore(Protocol):
    """Resolves references. A rotation in the store needs no restart."""

    async def resolve(self, reference: str) -> Secret:
        """Return the secret's current value.

        Raises:
            gateway.errors.UnavailableError: the store is away, or there is no such secret; the message
                names the reference, never a value.
        """
