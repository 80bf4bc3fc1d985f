"""Keeps what is taken from Vault and from exchanges: fetched once, kept fresh, used for a bounded time.

Runs in the control process. Workers ask by unit (a reference without its field; one for each agent, where a backend
wants that) and are told of every change. One fetch is under way for a unit at a time, whoever asks; after a failure the
next one waits, longer each time and never all at once.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from audit.errors import AuditUnavailableError
from gateway.secrets.fetched import Fetched, SecretSourceError
from gateway.secrets.passing import answer_message, failure_message, forget_message

_log = structlog.get_logger("govgateway.secrets")

FIRST_DELAY_SECONDS = 0.25
"""Wait after the first failure; doubles with each that follows."""

LONGEST_DELAY_SECONDS = 15.0

REFETCH_SECONDS = 2.0
"""How often at most a value is fetched anew because a backend refuses it."""

RENEW_SHARE = 0.5
"""Share of a lifetime after which it is renewed, or a new value fetched."""

MARGIN_SHARE, MOST_MARGIN_SECONDS = 0.1, 60.0
"""A value is not used in the last part of its lifetime."""

IDLE_SECONDS = 1800.0
"""A value that nobody used for so long is forgotten, and its lease ended."""

GRACE_SECONDS = 30.0
"""How long a replaced lease stands, for calls under way with it (seconds)."""

TICK_SECONDS = 0.5

CLOSE_SECONDS = 10.0
"""Longest time that ending the leases takes when the gateway ends (seconds)."""

Unit = tuple[str, str]
"""A reference without its field, and the agent on whose behalf alone it is used; empty for all."""


class Source(Protocol):
    """What units are fetched from."""

    @property
    def logins(self) -> int:
        """Counts logins: what was leased under an earlier one ends with it."""
        ...

    async def fetch(self, unit: str) -> Fetched:
        """Return what a unit has now.

        Raises:
            SecretSourceError: it gives nothing.
        """
        ...

    async def renew(self, lease_id: str) -> float:
        """Prolong a lease; return the seconds from now on. Raises as `fetch`."""
        ...

    async def revoke(self, lease_id: str) -> None:
        """End a lease. Raises as `fetch`."""
        ...

    async def tend(self) -> None:
        """Keep the login alive. Raises as `fetch`."""
        ...

    def bounds(self, unit: str) -> tuple[float, float]:
        """Return how often a unit without an end is looked at again, and how long it is used unconfirmed (seconds)."""
        ...


@dataclass(slots=True)
class Kept:
    """One unit as the keeper has it. Times are monotonic seconds.

    Attributes:
        fetched: the value; None while there is none.
        confirmed: when it was last fetched or renewed.
        bound: how long after that it may be used, while it cannot be confirmed (seconds).
        ends: when it must not be used any more, for its own sake.
        due: when it is looked at again.
        refetched: when it was last fetched because a backend refused it.
        failures: how many fetches failed in a row.
        error: why, of the last one.
        used: when a worker last said that it used it.
        last_use: the same in UNIX seconds, and of the current value's first fetch.
        login: the login that it was leased under.
        expected: the configuration names it: it is kept also while nobody uses it.
        workers: who is told of changes.
    """

    fetched: Fetched | None = None
    confirmed: float = 0.0
    bound: float = 0.0
    ends: float = float("inf")
    due: float = 0.0
    refetched: float = float("-inf")
    failures: int = 0
    error: SecretSourceError | None = None
    used: float = 0.0
    last_use: int = 0
    login: int = 0
    expected: bool = False
    workers: set[int] = field(default_factory=set)


class SecretKeeper:
    """Fetches, keeps, renews and forgets.

    Args:
        source: where units come from.
        send: sends a message to a worker.
        record: puts something on record; raises AuditUnavailableError.
        active: returns whether an agent may still act.
        clock: monotonic seconds.
        chance: from 0 to 1.
    """

    def __init__(
        self,
        source: Source,
        send: Callable[[int, Mapping[str, Any]], None],
        record: Callable[[str, dict[str, Any]], object],
        active: Callable[[str], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._send = send
        self._record = record
        self._active = active
        self._clock = clock
        self._chance = chance
        self._kept: dict[Unit, Kept] = {}
        self._fetching: dict[Unit, asyncio.Task[None]] = {}
        self._ending: list[tuple[float, str]] = []
        self._background: set[asyncio.Task[None]] = set()

    # named by the configuration

    def expect(self, units: Collection[str], others: Collection[str] = ()) -> None:
        """Have these at hand before the first call needs them, and go on keeping them; forget all but the `others`."""
        for unit, kept in list(self._kept.items()):
            kept.expected = unit[0] in units and not unit[1]
            if unit[0] not in units and unit[0] not in others:
                self._forget(unit, "idle")
        for reference in units:
            unit = (reference, "")
            kept = self._kept.setdefault(unit, Kept(used=self._clock()))
            if not kept.expected:
                kept.expected = True
                self.start(self._prefetch(unit))

    async def _prefetch(self, unit: Unit) -> None:
        await self.have(unit)

    def look(self, reference: str) -> tuple[Fetched | None, SecretSourceError | None]:
        """Return what is at hand of a reference that all share, and why nothing is; nothing of both: not yet known."""
        kept = self._kept.get((reference.partition("#")[0], ""))
        if kept is None:
            return None, None
        return (kept.fetched if self._usable(kept) > 0 else None), kept.error

    def last_use(self, reference: str) -> int:
        """Return when a reference was last used, by anybody, UNIX seconds; 0: not since the gateway started."""
        unit = reference.partition("#")[0]
        return max((kept.last_use for (each, _), kept in self._kept.items() if each == unit), default=0)

    # asked by workers

    def heard(self, worker: int, message: Mapping[str, Any]) -> None:
        """Take a worker's question: `{"unit", "principal", "refused": digest or ""}`."""
        unit: Unit = (str(message["unit"]), str(message["principal"]))
        self.start(self._answer(worker, unit, refetch=bool(message.get("refused"))))

    def used(self, units: Collection[tuple[str, str]]) -> None:
        """Take note that a worker used units."""
        now = self._clock()
        for each in units:
            kept = self._kept.get((each[0], each[1]))
            if kept is not None:
                kept.used, kept.last_use = now, int(time.time())

    async def _answer(self, worker: int, unit: Unit, *, refetch: bool) -> None:
        kept = self._kept.setdefault(unit, Kept())
        kept.workers.add(worker)
        kept.used = self._clock()
        if unit[1] and not self._active(unit[1]):
            refused = SecretSourceError(f"{unit[1]} is not active", "secret_denied")
            self._send(worker, failure_message(unit, refused))
            return
        await self.have(unit, refetch=refetch)
        if self._kept.get(unit) is kept:  # else it was forgotten meanwhile, and the worker was told so
            self._tell(unit, kept, (worker,))

    async def have(self, unit: Unit, *, refetch: bool = False) -> Kept:
        """Return a unit, fetched if it is not at hand.

        Args:
            unit: which.
            refetch: fetch it anew, as the value at hand was refused; not more often than every `REFETCH_SECONDS`.
        """
        kept = self._kept.setdefault(unit, Kept())
        now = self._clock()
        fetching = self._fetching.get(unit)
        if fetching is None:
            fresh = self._usable(kept) > 0
            again = refetch and now - kept.refetched >= REFETCH_SECONDS
            if (fresh and not again) or (kept.failures and now < kept.due):
                return kept
            if again:
                kept.refetched = now
            fetching = self._fetch_once(unit, kept)
        await asyncio.wait({fetching})  # it raises nothing, and is nobody's to cancel
        return kept

    # kept fresh

    async def run(self) -> None:
        """Keep everything fresh until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self.tick()

    async def tick(self) -> None:
        """Do what is due."""
        now = self._clock()
        for lease in [lease for at, lease in self._ending if at <= now]:
            self.start(self._end_lease(lease))
        self._ending = [each for each in self._ending if each[0] > now]
        for unit, kept in list(self._kept.items()):
            if unit in self._fetching:
                continue
            if unit[1] and not self._active(unit[1]):
                self._forget(unit, "revoked")
            elif now - kept.used > IDLE_SECONDS and not kept.expected:
                self._forget(unit, "idle")
            elif kept.due <= now or (kept.fetched and kept.fetched.lease_id and kept.login != self._source.logins):
                self._fetch_once(unit, kept)
        if self._kept:
            with suppress(SecretSourceError):  # what is kept is fetched again and says so
                await self._source.tend()

    def problem(self) -> str:
        """Return what does not work; empty if everything does."""
        troubled = [(unit, kept) for unit, kept in self._kept.items() if kept.failures and kept.error is not None]
        if not troubled:
            return ""
        away = [each for each in troubled if each[1].error and each[1].error.code == "secret_unavailable"]
        (unit, kept) = (away or troubled)[0]
        more = f" (and {len(troubled) - 1} more)" if len(troubled) > 1 else ""
        left = self._usable(kept)
        goes_on = f"; its last value is used for {left:.0f} more seconds at most" if left > 0 else ""
        return f"{unit[0]}: {kept.error}{goes_on}{more}"

    def versions(self) -> dict[str, int]:
        """Return the versions of what all share and is at hand, and -1 of what cannot be had, by reference."""
        found = {}
        for (reference, principal), kept in self._kept.items():
            if not principal and (kept.fetched is not None or kept.error is not None):
                usable = kept.fetched is not None and self._usable(kept) > 0
                found[reference] = kept.fetched.version if kept.fetched is not None and usable else -1
        return found

    def inventory(self) -> list[dict[str, Any]]:
        """Return every unit at hand: reference, agent, version, lease, and when it was used; no value."""
        return [
            {
                "reference": unit[0],
                "principal": unit[1],
                "version": kept.fetched.version if kept.fetched else 0,
                "dynamic": bool(kept.fetched and kept.fetched.lifetime_seconds is not None),
                "lease": kept.fetched.lease_id if kept.fetched else "",
                "since": kept.fetched.since if kept.fetched else None,
                "last_use": kept.last_use,
                "usable_seconds": max(0, int(min(self._usable(kept), 10**9))),
                "problem": str(kept.error) if kept.failures and kept.error else "",
            }
            for unit, kept in sorted(self._kept.items())
        ]

    async def close(self) -> None:
        """End every lease and forget everything."""
        for task in (*self._background, *self._fetching.values()):
            task.cancel()
        await asyncio.gather(*self._background, *self._fetching.values(), return_exceptions=True)
        leases = [lease for _, lease in self._ending]
        leases += [kept.fetched.lease_id for kept in self._kept.values() if kept.fetched and kept.fetched.lease_id]
        self._kept.clear()
        self._ending.clear()
        with suppress(TimeoutError):  # whatever is left ends with the login, or with itself
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*map(self._end_lease, leases))

    # inside

    def _fetch_once(self, unit: Unit, kept: Kept) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(self._fetch(unit, kept))
        self._fetching[unit] = task
        task.add_done_callback(lambda _: self._fetching.pop(unit, None))
        return task

    async def _fetch(self, unit: Unit, kept: Kept) -> None:
        asked = self._clock()
        try:
            before = kept.fetched
            fetched = None
            if before is not None and before.renewable and kept.login == self._source.logins:
                fetched = await self._renewed(before)
            fetched = fetched or await self._source.fetch(unit[0])
            if self._kept.get(unit) is not kept:  # it was forgotten meanwhile
                if fetched.lease_id:
                    self.start(self._end_lease(fetched.lease_id))
                return
            self._take(unit, kept, fetched, asked)
        except SecretSourceError as error:
            self._failed(unit, kept, error)
        except AuditUnavailableError as error:
            self._failed(unit, kept, SecretSourceError(f"it cannot be put on record: {error}", "audit_unavailable"))
        except Exception:
            _log.exception("secret-fetch-failed", reference=unit[0])
            self._failed(unit, kept, SecretSourceError("the gateway failed", "secret_unavailable"))
        self._tell(unit, kept, tuple(kept.workers))

    async def _renewed(self, before: Fetched) -> Fetched | None:
        """Prolong a lease, None where it is gone; where it comes to its last end, the next value will be another."""
        try:
            seconds = await self._source.renew(before.lease_id)
        except SecretSourceError as error:
            if error.code == "secret_unavailable":
                raise
            return None
        first = before.lifetime_seconds or seconds
        return Fetched(
            before.fields, before.version, before.lease_id, seconds, seconds >= first / 2, before.since, before.others
        )

    def _take(self, unit: Unit, kept: Kept, fetched: Fetched, asked: float) -> None:
        before = kept.fetched
        same = before is not None and _same(before, fetched)
        if not same:
            self._record(
                "secret.read",
                {
                    "secret": unit[0][:512],
                    "purpose": "first" if before is None else "rotated",
                    "version": fetched.version,
                    "lease": fetched.lease_id[:512],
                    **({"on_behalf_of": unit[1]} if unit[1] else {}),
                },
            )
        if before is not None and before.lease_id and before.lease_id != fetched.lease_id:
            self._ending.append((self._clock() + GRACE_SECONDS, before.lease_id))
        refresh, stale = self._source.bounds(unit[0])
        kept.bound = refresh + stale
        lifetime = fetched.lifetime_seconds
        if kept.failures:
            _log.info("secret-recovered", reference=unit[0])
        kept.fetched, kept.confirmed, kept.failures, kept.error = fetched, asked, 0, None
        kept.login = self._source.logins
        if lifetime is None:
            kept.ends, kept.due = float("inf"), asked + refresh * (0.9 + 0.1 * self._chance())
        else:
            kept.ends = asked + lifetime - min(lifetime * MARGIN_SHARE, MOST_MARGIN_SECONDS)
            kept.due = asked + lifetime * RENEW_SHARE * (0.8 + 0.2 * self._chance())

    def _failed(self, unit: Unit, kept: Kept, error: SecretSourceError) -> None:
        if not kept.failures:
            _log.warning("secret-unavailable", reference=unit[0], code=error.code, detail=str(error))
        kept.failures += 1
        kept.error = error
        if error.code in {"secret_denied", "secret_missing"} and kept.fetched is not None:
            kept.ends = self._clock()  # taken away from us, or away: it is not used on
        delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(kept.failures - 1, 16))
        kept.due = self._clock() + delay * (0.5 + self._chance() / 2)

    def _usable(self, kept: Kept) -> float:
        """Return how long the value at hand may be used (seconds); 0 and less: not at all."""
        if kept.fetched is None:
            return 0.0
        now = self._clock()
        if kept.fetched.lifetime_seconds is not None:
            return kept.ends - now
        return min(kept.ends, kept.confirmed + kept.bound) - now

    def _tell(self, unit: Unit, kept: Kept, workers: Collection[int]) -> None:
        usable = self._usable(kept)
        if kept.fetched is not None and usable > 0:
            message = answer_message(unit, kept.fetched, usable)
        else:
            message = failure_message(unit, kept.error or SecretSourceError("it is not at hand", "secret_unavailable"))
        for worker in workers:
            self._send(worker, message)

    def _forget(self, unit: Unit, cause: str) -> None:
        kept = self._kept.pop(unit)
        for worker in kept.workers:
            self._send(worker, forget_message(unit))
        if kept.fetched is not None and kept.fetched.lease_id:
            with suppress(AuditUnavailableError):
                lease = kept.fetched.lease_id[:512]
                self._record("secret.released", {"secret": unit[0][:512], "lease": lease, "cause": cause})
            self.start(self._end_lease(kept.fetched.lease_id))

    async def _end_lease(self, lease_id: str) -> None:
        try:
            await self._source.revoke(lease_id)
        except SecretSourceError as error:
            _log.warning("lease-not-revoked", detail=str(error))

    def start(self, work: Awaitable[None]) -> None:
        """Carry something out beside; waited for by `close`."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _same(one: Fetched, other: Fetched) -> bool:
    """Return whether two fetches gave the same values."""
    if one.lease_id != other.lease_id or one.version != other.version or one.fields.keys() != other.fields.keys():
        return False
    return all(value.same_as(other.fields[name]) for name, value in one.fields.items())
