"""Seals content into a store, and opens it: data keys, their wrapping, and what the log is told.

Not for the event loop: every call waits for the disk, and a key wrapper may wait for the network. `Intake` runs it in a
thread of its own.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from audit.event_id import uuid7
from audit.sealing.envelope import PARTS, OpenedItem, Place, ScopeKind, SealedItem, pseudonym, seal, unseal
from audit.sealing.errors import (
    ContentErasedError,
    ContentMissingError,
    KeyGoneError,
    SealBrokenError,
    SealingError,
    SealingUnavailableError,
)
from audit.sealing.store import ContentStore, DataKey, Scope, StoredItem
from audit.sealing.wrapping import KEY_BYTES, KeyWrapper

_ATTEMPTS = 3


@dataclass(slots=True)
class _Known:
    """An unwrapped data key in memory, until then (monotonic seconds)."""

    until: float
    key_id: str
    value: bytes = field(repr=False)
    uses: int = 1


@dataclass(frozen=True, slots=True)
class Content:
    """Content that is to be sealed.

    Attributes:
        event_id: event id of the call.
        part: `request`, `response` or `identifiers`.
        subject: the data subject by name, in clear; only its pseudonym is stored.
        case: the case by name, if the obligation names one.
        data: the content.
    """

    event_id: str
    part: str
    subject: str
    case: str
    data: bytes


class Sealer:
    """Seals under a data key per data subject, and per case where one is named. For one thread.

    Args:
        store: where sealed content is kept.
        wrapper: wraps the data keys.
        pseudonym_key: 32 bytes; whoever holds them can search for a subject.
        clock: UNIX time in nanoseconds.
        remember_seconds: how long an unwrapped data key stays in memory, at most.
        remember_keys: how many of them do, at most.
        remember_uses: how often one is used from there, at most.
    """

    def __init__(
        self,
        store: ContentStore,
        wrapper: KeyWrapper,
        pseudonym_key: bytes,
        clock: Callable[[], int],
        *,
        remember_seconds: float = 60.0,
        remember_keys: int = 1024,
        remember_uses: int = 1_000_000,
    ) -> None:
        if len(pseudonym_key) != KEY_BYTES:
            raise ValueError(f"the pseudonym key has {KEY_BYTES} bytes")
        self.store = store
        self._wrapper = wrapper
        self._pseudonym_key = pseudonym_key
        self._clock = clock
        self._remember = remember_seconds
        self._most_keys = remember_keys
        self._most_uses = remember_uses
        self._known: dict[Scope, _Known] = {}

    def scope(self, kind: ScopeKind, name: str) -> Scope:
        """Return the scope of a data subject or case named in clear.

        Raises:
            SealingError: the name is empty.
        """
        if not name.strip():
            raise SealingError(f"a {kind} has a name; an empty one names nobody")
        return Scope(kind, pseudonym(self._pseudonym_key, kind, name))

    def seal(self, contents: Sequence[Content]) -> list[dict[str, Any]]:
        """Seal all or none of these; they are on disk when this returns.

        Returns:
            For each the fields of its record `content.sealed`, without the principal.

        Raises:
            SealingUnavailableError: the store or the key wrapper does not work.
            SealingError: something is sealed under one of these names already, or has no such name.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            items = [self._sealed(content) for content in contents]
            try:
                self.store.add_items(items)
            except KeyGoneError as error:
                # An erasure overtook us: what comes after it is sealed under a new key.
                self._known.clear()
                if attempt == _ATTEMPTS:
                    raise SealingUnavailableError(f"content cannot be sealed: {error}") from error
                continue
            return [sealed_fields(item) for item in items]
        raise AssertionError("unreachable")

    def open(self, event_id: str, part: str) -> tuple[StoredItem, OpenedItem]:
        """Open one item. Whoever calls this has checked that it may be seen: see `ContentAccess`.

        Raises:
            ContentMissingError, ContentErasedError: it is not there, or no more.
            SealBrokenError: it does not open.
        """
        item = self.store.item(event_id, part)
        if item is None:
            raise ContentMissingError(f"no {part} of {event_id} is sealed here")
        keys = self.store.keys(item.key_ids)
        for key_id in item.key_ids:
            key = keys.get(key_id)
            if key is not None and key.erasure:
                raise ContentErasedError(
                    f"the {part} of {event_id} was rendered inaccessible: its key {key_id} was destroyed by the "
                    f"erasure {key.erasure}"
                )
            if key is None:
                raise SealBrokenError(f"the key {key_id} of the {part} of {event_id} is missing from the store")
        place = Place(self.store.log, item.event_id, item.part, item.subject, item.key_ids)
        # Unwrapped anew each time: a key that was destroyed a moment ago opens nothing from memory.
        data_keys = self._unwrapped([keys[key_id] for key_id in item.key_ids])
        return item, unseal(data_keys, place, SealedItem(item.seed, item.blob, item.commitment))

    def _sealed(self, content: Content) -> StoredItem:
        if content.part not in PARTS:
            raise SealingError(f"{content.part!r} is no part of a call; one of {', '.join(PARTS)}")
        subject = self.scope("subject", content.subject)
        scopes = [subject]
        if content.case:
            scopes.append(self.scope("case", content.case))
        live = [self._live(scope) for scope in scopes]
        place = Place(
            self.store.log, content.event_id, content.part, subject.pseudonym, tuple(key_id for key_id, _ in live)
        )
        sealed = seal([key for _, key in live], place, content.data)
        return StoredItem(
            item_id=uuid7(),
            event_id=content.event_id,
            part=content.part,
            subject=subject.pseudonym,
            key_id=live[0][0],
            case_key_id=live[1][0] if len(live) > 1 else "",
            size=len(content.data),
            commitment=sealed.commitment,
            seed=sealed.seed,
            blob=sealed.blob,
            sealed_ns=self._clock(),
        )

    def _live(self, scope: Scope) -> tuple[str, bytes]:
        """Return id and value of the key that content of this scope is sealed under now.

        One from memory may have been destroyed meanwhile; the store then refuses what was sealed under it.
        """
        now = time.monotonic()
        self._forget(now)
        known = self._known.get(scope)
        if known is not None:
            known.uses += 1
            if known.uses >= self._most_uses:
                del self._known[scope]
            return known.key_id, known.value
        key = self.store.live_key(scope)
        if key is None:
            made, key_id = secrets.token_bytes(KEY_BYTES), uuid7()
            wrapped = self._wrapper.wrap(made, _context(self.store.log, key_id, scope))
            key = self.store.add_key(scope, key_id, wrapped, self._wrapper.name, self._clock())
        [value] = self._unwrapped([key])
        if self._most_keys and self._most_uses > 1:
            self._known[scope] = _Known(now + self._remember, key.key_id, value)
        return key.key_id, value

    def _unwrapped(self, keys: Sequence[DataKey]) -> list[bytes]:
        values = self._wrapper.unwrap_all(
            [(key.wrapped, _context(self.store.log, key.key_id, key.scope)) for key in keys]
        )
        for key, value in zip(keys, values, strict=True):
            if len(value) != KEY_BYTES:
                raise SealBrokenError(f"the data key {key.key_id} has {len(value)} bytes")
        return values

    def _forget(self, now: float) -> None:
        # In the order in which they were learnt, so the first that is still good ends the search.
        while self._known and next(iter(self._known.values())).until < now:
            del self._known[next(iter(self._known))]
        while len(self._known) >= max(1, self._most_keys):
            del self._known[next(iter(self._known))]


def sealed_fields(item: StoredItem) -> dict[str, Any]:
    """Return the fields of `content.sealed`, without the principal: nothing in them can be guessed from."""
    fields: dict[str, Any] = {
        "of": item.event_id,
        "content": item.item_id,
        "part": item.part,
        "bytes": item.size,
        "commitment": item.commitment,
        "key": item.key_id,
    }
    if item.case_key_id:
        fields["case_key"] = item.case_key_id
    return fields


def _context(log: str, key_id: str, scope: Scope) -> bytes:
    return "\0".join((log, key_id, scope.kind, scope.pseudonym)).encode()
