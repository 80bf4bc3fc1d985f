"""Renders content inaccessible: destroys the data key of a subject or case, and says so in the log.

The order is what survives a kill: the intent is kept in the store, which takes the keys out of use; the intent is put
on record; keys, seeds and ciphertexts are destroyed; that is put on record; the erasure is marked as done. What was
begun is finished by `resume`, or by asking for the same erasure again. A kill just before the mark puts the same
erasure on record twice, under the same id.
"""

from collections.abc import Callable, Sequence
from typing import Any

from audit.event_id import uuid7
from audit.sealing.access import Record
from audit.sealing.envelope import ScopeKind
from audit.sealing.errors import ContentMissingError, ErasureHeldError, SealingError
from audit.sealing.sealer import Sealer
from audit.sealing.store import ContentStore, ErasureEntry, StoredItem

Held = Callable[[Sequence[str]], str]
"""Tells which legal hold keeps one of these calls (event ids); empty if none does."""


class Erasure:
    """Erases by data subject or by case.

    Args:
        sealer: turns names into pseudonyms.
        record: writes to the audit log; returns once it is durable.
        clock: UNIX time in nanoseconds.
        held: asks whether a legal hold keeps the content.
        backups: names of known backups, in which wrapped keys live on until they are treated.
    """

    def __init__(
        self, sealer: Sealer, record: Record, clock: Callable[[], int], held: Held, backups: Sequence[str] = ()
    ) -> None:
        self._sealer = sealer
        self._store: ContentStore = sealer.store
        self._record = record
        self._clock = clock
        self._held = held
        self._backups = list(backups)

    def search(self, kind: ScopeKind, name: str, who: str, why: str) -> list[StoredItem]:
        """Return what is sealed of a subject or case, without the sealed bytes; the search is put on record."""
        _check_reason(why)
        found = self._store.items_of(self._sealer.scope(kind, name))
        self._record("content.searched", {"principal": who, "scope": kind, "cause": why, "contents": len(found)})
        return found

    def erase(self, kind: ScopeKind, name: str, who: str, why: str) -> list[dict[str, Any]]:
        """Render what is sealed of a subject or case inaccessible. Once more does no harm.

        Returns:
            The fields of the records `content.erased`: of what this call finished, else of the last erasure before.

        Raises:
            ContentMissingError: nothing was ever sealed of it.
            ErasureHeldError: a legal hold keeps some of it; nothing was done.
            AuditError: the log or the store fails; what was begun is finished by calling again.
        """
        _check_reason(why)
        scope = self._sealer.scope(kind, name)
        held = self._held([item.event_id for item in self._store.items_of(scope) if not self._gone(item)])
        if held:
            raise ErasureHeldError(f"nothing was erased: {held}. Lift the hold first, if the law allows it.")
        begun = self._store.begin_erasure(uuid7(), scope, who, why.strip(), self._clock())
        finished = [self._finish(entry) for entry in self._store.erasures(scope, unfinished=True)]
        if finished or begun is not None:
            return finished
        earlier = self._store.erasures(scope)
        if not earlier:
            raise ContentMissingError(f"nothing is sealed of this {kind}")
        return [self._fields(earlier[-1])]

    def resume(self) -> list[dict[str, Any]]:
        """Finish every erasure that was begun; return the fields of their records."""
        return [self._finish(entry) for entry in self._store.erasures(unfinished=True)]

    def _finish(self, entry: ErasureEntry) -> dict[str, Any]:
        if not entry.destroyed_ns:
            self._record("content.erasing", self._common(entry))
            self._store.destroy(entry.erasure_id, self._clock())
        fields = self._fields(entry)
        self._record("content.erased", fields)
        self._store.confirm_erasure(entry.erasure_id, self._clock())
        return fields

    def _gone(self, item: StoredItem) -> bool:
        keys = self._store.keys(item.key_ids)
        return any(key_id not in keys or keys[key_id].erasure for key_id in item.key_ids)

    def _fields(self, entry: ErasureEntry) -> dict[str, Any]:
        return {**self._common(entry), "begun": str(entry.begun_ns), "backups": self._backups}

    def _common(self, entry: ErasureEntry) -> dict[str, Any]:
        return {
            "principal": entry.who,
            "erasure": entry.erasure_id,
            "scope": entry.scope.kind,
            "keys": list(entry.keys),
            "contents": entry.contents,
            "cause": entry.why,
        }


def _check_reason(why: str) -> None:
    if not why.strip():
        raise SealingError("erasing and searching need a reason")
