"""Where sealed items, wrapped data keys, requests and erasures are kept: one Protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from audit.sealing.envelope import ScopeKind


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose data key: a data subject or a case, by keyed pseudonym (hex)."""

    kind: ScopeKind
    pseudonym: str


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key as it is kept. Times are UNIX nanoseconds.

    Attributes:
        generation: 1 for the first key of its scope, counted up after each erasure.
        wrapped: the wrapped key; empty once it is destroyed.
        wrapper: name of the key that wraps it.
        erasure: id of the erasure that takes it; empty while it is in use.
    """

    key_id: str
    scope: Scope
    generation: int
    wrapped: bytes
    wrapper: str
    created_ns: int
    erasure: str = ""


@dataclass(frozen=True, slots=True)
class StoredItem:
    """A sealed item as it is kept; `seed` and `blob` are empty once it is erased."""

    item_id: str
    event_id: str
    part: str
    subject: str
    key_id: str
    case_key_id: str
    size: int
    commitment: str
    seed: bytes
    blob: bytes
    sealed_ns: int

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The data keys that it stands under; without one of them it does not open."""
        return (self.key_id, self.case_key_id) if self.case_key_id else (self.key_id,)


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Asks for a second person's approval to open one item; good for one opening."""

    request_id: str
    event_id: str
    part: str
    requester: str
    reason: str
    expires_ns: int
    approver: str = ""
    used_ns: int = 0
    mac: str = ""


@dataclass(frozen=True, slots=True)
class ErasureEntry:
    """One erasure, and how far it came: begun, destroyed, recorded (UNIX nanoseconds; 0: not yet)."""

    erasure_id: str
    scope: Scope
    who: str
    why: str
    keys: tuple[str, ...]
    contents: int
    begun_ns: int
    destroyed_ns: int = 0
    recorded_ns: int = 0


class ContentStore(Protocol):
    """Keeps the sealed content of one log. Every method raises SealingUnavailableError where the store fails.

    Attributes:
        log: name of the log.
    """

    log: str

    def live_key(self, scope: Scope) -> DataKey | None:
        """Return the key that content of this scope is sealed under now."""

    def add_key(self, scope: Scope, key_id: str, wrapped: bytes, wrapper: str, created_ns: int) -> DataKey:
        """Keep a new key; return the one that is in use, which another process may have added first."""

    def keys(self, key_ids: Sequence[str]) -> dict[str, DataKey]:
        """Return these keys by their ids."""

    def add_items(self, items: Sequence[StoredItem]) -> None:
        """Keep items, all or none; on disk when this returns.

        Raises:
            KeyGoneError: one of their keys is being destroyed, or is gone.
            SealingError: something is sealed under one of these names already.
        """

    def item(self, event_id: str, part: str) -> StoredItem | None:
        """Return one item."""

    def items_of(self, scope: Scope) -> list[StoredItem]:
        """Return the items of a subject or case without their sealed bytes, oldest first."""

    def begin_erasure(self, erasure_id: str, scope: Scope, who: str, why: str, begun_ns: int) -> ErasureEntry | None:
        """Take the scope's keys out of use; None if none is in use."""

    def erasures(self, scope: Scope | None = None, *, unfinished: bool = False) -> list[ErasureEntry]:
        """Return erasures, oldest first."""

    def destroy(self, erasure_id: str, destroyed_ns: int) -> None:
        """Overwrite and remove the keys of an erasure, and the seeds and ciphertexts under them, from the disk too."""

    def confirm_erasure(self, erasure_id: str, recorded_ns: int) -> None:
        """Note that the erasure is on record."""

    def remove_items(self, event_ids: Sequence[str]) -> int:
        """Remove the items of these calls, and keys that nothing is left under; return how many items."""

    def add_request(self, request: AccessRequest) -> None:
        """Keep a request."""

    def request(self, request_id: str) -> AccessRequest | None:
        """Return one request."""

    def approve_request(self, request: AccessRequest) -> bool:
        """Keep an approval (`approver` and `mac`); False if another was faster."""

    def use_request(self, request_id: str, used_ns: int) -> bool:
        """Use a request up; False if it was used before."""
