"""The secret store of a worker: what is on this machine it reads, what is fetched it is told by the control process.

What a worker was told it uses without asking, until the time it was given with it ends. It asks once for a value,
however many calls wait for it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.secrets.passing import fields_of, question_message
from gateway.secrets.reference_store import ReferenceStore, unusable_reference
from gateway.secrets.store import Resolved, Secret

FETCHED = ("vault:", "exchange:")
"""What the references begin with that the control process fetches."""

ANSWER_SECONDS = 60.0
"""Longest wait for an answer of the control process (seconds)."""

MOST_HELD = 10_000
"""Most values at hand; those used on behalf of single agents are the many."""

_Unit = tuple[str, str]


@dataclass(slots=True)
class _Held:
    fields: Mapping[str, Secret]
    others: frozenset[str]
    version: int
    lease_id: str
    until: float
    resolved: dict[str, Resolved]


class WorkerSecrets:
    """What a worker's upstream client resolves references by (`gateway.secrets.store.SecretStore`).

    Args:
        local: resolves what is on this machine.
        send: sends a message to the control process.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        local: ReferenceStore,
        send: Callable[[Mapping[str, Any]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.local = local
        self._send = send
        self._clock = clock
        self._held: dict[_Unit, _Held] = {}
        self._waiting: dict[_Unit, asyncio.Future[None]] = {}
        self._parsed: dict[str, tuple[str, str]] = {}
        self._used: set[_Unit] = set()

    async def resolve(self, reference: str, principal: str = "") -> Resolved:
        """See `SecretStore.resolve`."""
        if not reference.startswith(FETCHED):
            return await self.local.resolve(reference)
        unit_reference, field = self._parts(reference)
        unit = (unit_reference, principal)
        held = self._held.get(unit)
        if held is None or held.until <= self._clock():
            held = await self._asked(unit, refused=False)
        self._used.add(unit)
        found = held.resolved.get(field)
        if found is None:
            found = held.resolved[field] = _resolved(reference, field, held)
        return found

    async def refused(self, used: Resolved, principal: str = "") -> Resolved | None:
        """See `SecretStore.refused`."""
        if not used.reference.startswith(FETCHED):
            return await self.local.refused(used)
        unit_reference, _ = self._parts(used.reference)
        unit = (unit_reference, principal)
        held = self._held.get(unit)
        if held is None or not any(used is each for each in held.resolved.values()):
            now = await self.resolve(used.reference, principal)  # another one came meanwhile
        else:
            await self._asked(unit, refused=True)
            now = await self.resolve(used.reference, principal)
        return None if _same(now, used) else now

    def heard(self, message: Mapping[str, Any]) -> None:
        """Take what the control process says of a value."""
        unit = (str(message["unit"]), str(message["principal"]))
        waiting = self._waiting.pop(unit, None)
        if "fields" in message:
            before = self._held.pop(unit, None)
            held = _Held(
                fields_of(message),
                frozenset(message["others"]),
                message["version"],
                message["lease"],
                self._clock() + message["usable_seconds"],
                {},
            )
            if before is not None and _unchanged(before, held):
                before.until = held.until  # what was resolved of it stays as it is
                held = before
            self._held[unit] = held
            while len(self._held) > MOST_HELD:
                del self._held[next(iter(self._held))]
        else:
            self._held.pop(unit, None)
        if waiting is not None and not waiting.done():
            error = message.get("error")
            if error is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(unusable_reference(unit[0], error["detail"], error["code"]))

    def take_used(self) -> list[_Unit]:
        """Return which values were used since the last call."""
        used, self._used = self._used, set()
        return sorted(used)

    async def _asked(self, unit: _Unit, *, refused: bool) -> _Held:
        """Ask, or wait for the answer that is under way."""
        waiting = self._waiting.get(unit)
        if waiting is None:
            waiting = self._waiting[unit] = asyncio.get_running_loop().create_future()
            waiting.add_done_callback(_looked_at)
            self._send(question_message(unit, refused=refused))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.shield(waiting)
        except TimeoutError:
            if self._waiting.get(unit) is waiting:
                del self._waiting[unit]
            raise unusable_reference(unit[0], "the control process does not answer", "secret_unavailable") from None
        held = self._held.get(unit)
        if held is None:
            raise unusable_reference(unit[0], "it was taken away at this moment", "secret_unavailable")
        return held

    def _parts(self, reference: str) -> tuple[str, str]:
        parts = self._parsed.get(reference)
        if parts is None:
            unit, _, field = reference.partition("#")
            parts = self._parsed[reference] = (unit, field)
        return parts


def _resolved(reference: str, field: str, held: _Held) -> Resolved:
    value = held.fields.get(field) if field else None
    if field and value is None:
        if field in held.others:
            raise unusable_reference(reference, f"the field {field} is empty or no text", "secret_unusable")
        there = ", ".join(sorted(held.fields)) or "none"
        raise unusable_reference(reference, f"there is no field {field}; there are: {there}", "secret_missing")
    if not field and len(held.fields) == 1:
        value = next(iter(held.fields.values()))
    return Resolved(reference, value, held.fields, held.version, held.lease_id)


def _same(one: Resolved, other: Resolved) -> bool:
    if one.value is not None and other.value is not None:
        return one.value.same_as(other.value)
    return _same_fields(one.fields, other.fields)


def _unchanged(one: _Held, other: _Held) -> bool:
    same = (one.version, one.lease_id, one.others) == (other.version, other.lease_id, other.others)
    return same and _same_fields(one.fields, other.fields)


def _same_fields(one: Mapping[str, Secret], other: Mapping[str, Secret]) -> bool:
    return one.keys() == other.keys() and all(value.same_as(other[name]) for name, value in one.items())


def _looked_at(waiting: "asyncio.Future[None]") -> None:
    """Take the error of an answer that nobody waits for any more."""
    if not waiting.cancelled():
        waiting.exception()
