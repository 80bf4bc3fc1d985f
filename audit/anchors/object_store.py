"""The seam to a store of objects that can be locked: what is put there cannot be changed until a date."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One version of an object.

    Attributes:
        key: its name.
        version: tells it from the others of this name.
        modified: when the store took it, by the store's clock (UNIX seconds).
        size: bytes.
    """

    key: str
    version: str
    modified: int
    size: int


@dataclass(frozen=True, slots=True)
class Retention:
    """How a version is locked.

    Attributes:
        mode: `COMPLIANCE` (nobody may shorten it) or `GOVERNANCE` (who has a special permission may).
        until: to when (UNIX seconds).
    """

    mode: str
    until: int


class ObjectStore(Protocol):
    """Keeps every version of every object. Not for two threads at once.

    Attributes:
        name: what error messages call it.
    """

    name: str

    def put(self, key: str, data: bytes, retain_until: int | None) -> str:
        """Put an object, locked until a time (UNIX seconds) or not at all, and return its version.

        Raises:
            AnchorError: it is not known to be there.
        """

    def get(self, key: str, version: str) -> bytes:
        """Return a version of an object.

        Raises:
            AnchorError: it cannot be had.
        """

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Return all versions of the objects whose keys begin so and sort after `after`, also of those taken away.

        Raises:
            AnchorError: they cannot be listed.
        """

    def retention(self, key: str, version: str) -> Retention | None:
        """Return how a version is locked; None if it is not.

        Raises:
            AnchorError: the store does not say.
        """
