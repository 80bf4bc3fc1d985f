"""The embedded quota ledger: every worker of a machine counts in one mapped file, under one lock.

A lease that expires because its gateway died gives back its holds; its requests stay counted and its tokens per minute
flow back by themselves.
"""

from collections.abc import Callable
from pathlib import Path

from gateway.clock import Clock
from gateway.quota import gcra
from gateway.quota.ledger import Limit, LimitReached, Reservation, Standing
from gateway.quota.table import COUNTER, KIND_HELD, KIND_HELD_USED, LedgerTable, Mode

_NS = 1_000_000_000

_Update = tuple[int, tuple[int, int, int, int]]
"""A counter's offset and its new TAT, day, used and held."""


class SharedLedger:
    """Counts in a file shared by processes (`gateway.quota.ledger.QuotaLedger`)."""

    def __init__(self, path: Path, slots: int, clock: Clock, mode: Mode = "shared") -> None:
        """Open the ledger, making it if there is none.

        Args:
            path, slots, mode: see `LedgerTable`.
            clock: the time.

        Raises:
            ConfigError: the file is damaged, foreign, or of another size.
        """
        self._table = LedgerTable(path, slots, mode)
        self._clock = clock
        self._open: dict[int, list[_Update]] = {}

    async def reserve(self, limits: tuple[Limit, ...], *, tokens: int, stream: bool, lease_seconds: int) -> Reservation:
        """Hold one call in every limit, all or none (see `QuotaLedger.reserve`)."""
        table = self._table
        memory, unpack = table.map, COUNTER.unpack_from
        table.lock()
        try:
            now = table.now(self._clock())
            table.sweep(now)
            today = gcra.day_of(now)
            next_day = gcra.seconds_up(gcra.until_next_day(now))
            updates: list[_Update] = []
            holds: list[tuple[int, int, int]] = []
            standings: list[Standing] = []
            for limit in limits:
                _name, key, unit, window, amount = limit
                cost = tokens if unit == "tokens" else 1 if unit == "requests" or stream else 0
                counter = table.counter(key, now, today, updates)
                tat, day, used, held = unpack(memory, counter)
                if day < today:
                    day, used = today, 0
                if window == 0:
                    if cost and held + cost > amount:
                        raise _refused(limit, 0, 1, cost)
                    held += cost
                    if cost:
                        holds.append((counter, KIND_HELD, cost))
                    standings.append(Standing(limit, max(amount - held, 0), 0))
                elif window == gcra.DAY_SECONDS:
                    if used + held + cost > amount:
                        raise _refused(limit, max(amount - used - held, 0), next_day, cost)
                    held += cost
                    holds.append((counter, KIND_HELD_USED, cost))
                    standings.append(Standing(limit, amount - used - held, next_day))
                else:
                    interval = -(-window * _NS // amount)
                    tat, wait = gcra.take(tat, now, cost, interval, amount)
                    left = gcra.remaining(tat, now, interval, amount)
                    if wait:
                        raise _refused(limit, left, gcra.seconds_up(wait) if wait > 0 else -1, cost)
                    ahead = tat - now
                    standings.append(Standing(limit, left, -(-ahead // _NS) if ahead > 0 else 0))
                updates.append((counter, (tat, day, used, held)))
            # The lease first: if this process dies in between, the holds are recounted from it.
            lease_id = table.new_lease(now + lease_seconds * _NS, holds)
            for counter, state in updates:
                COUNTER.pack_into(memory, counter, *state)
        finally:
            table.unlock()
        self._open[lease_id] = updates
        return Reservation(lease_id, tokens, limits, tuple(standings), stream)

    async def settle(self, reservation: Reservation, *, tokens: int) -> None:
        """Replace the held tokens by those used (see `QuotaLedger.settle`)."""
        self._end(reservation, tokens, requests=1)

    async def release(self, reservation: Reservation) -> None:
        """Give everything back (see `QuotaLedger.release`)."""
        self._end(reservation, 0, requests=0)

    async def standings(self, limits: tuple[Limit, ...]) -> tuple[Standing, ...]:
        """Return where the limits stand, without changing them or waiting for anybody."""
        now = self._clock()
        return tuple(self._standing(limit, now) for limit in limits)

    def close(self) -> None:
        """Unmap the file."""
        self._table.close()

    def _standing(self, limit: Limit, now: int) -> Standing:
        today = gcra.day_of(now)
        tat, day, used, held = self._table.peek(limit.key)
        if limit.window_seconds == 0:
            return Standing(limit, max(limit.amount - held, 0), 0)
        if limit.window_seconds == gcra.DAY_SECONDS:
            left = limit.amount - held - (used if day == today else 0)
            return Standing(limit, max(left, 0), gcra.seconds_up(gcra.until_next_day(now)))
        interval = gcra.interval_ns(limit.window_seconds, limit.amount)
        return Standing(limit, gcra.remaining(tat, now, interval, limit.amount), max(gcra.seconds_up(tat - now), 0))

    def _end(self, reservation: Reservation, tokens: int, *, requests: int) -> None:
        if reservation.id not in self._open:
            return
        table = self._table
        memory = table.map
        table.lock()
        try:
            updates = self._open.pop(reservation.id)
            now = table.now(self._clock())
            today = gcra.day_of(now)
            table.end_lease(reservation.id)
            for (_name, key, unit, window, amount), (_counter, state) in zip(reservation.limits, updates, strict=True):
                if window == 0:
                    continue
                before, after = (reservation.tokens, tokens) if unit == "tokens" else (1, requests)
                if window == gcra.DAY_SECONDS:
                    if not after:
                        continue
                    counter = table.counter(key, now, today)
                    tat, day, used, held = COUNTER.unpack_from(memory, counter)
                    used = after if day < today else used + after
                    COUNTER.pack_into(memory, counter, tat, max(day, today), used, held)
                    continue
                shift = (after - before) * -(-window * _NS // amount)
                if shift < 0:
                    # What came back with time while the call lasted must not be given back a second time.
                    shift = max(shift, now - state[0])
                if shift < 0 or after > before:
                    counter = table.counter(key, now, today)
                    tat, day, used, held = COUNTER.unpack_from(memory, counter)
                    tat = (tat if shift < 0 else max(tat, now)) + shift
                    COUNTER.pack_into(memory, counter, tat, day, used, held)
        finally:
            table.unlock()


def _refused(limit: Limit, remaining: int, wait: int, cost: int) -> LimitReached:
    """Say which limit refuses and what the caller can do. `wait` is -1 where waiting does not help."""
    names: dict[str, Callable[[], str]] = {
        "requests": lambda: f"{limit.amount} requests in {_window(limit)}",
        "tokens": lambda: f"{limit.amount} tokens in {_window(limit)}",
        "streams": lambda: f"{limit.amount} streams at once",
    }
    allowed = names[limit.unit]()
    if wait < 0 or (limit.unit == "tokens" and cost > limit.amount):
        return LimitReached(
            Standing(limit, remaining, 0),
            0,
            f"This call may use up to {cost} tokens; the limit {limit.name} allows {allowed}.",
            remedy="Ask for fewer output tokens (max_tokens), or send less.",
        )
    detail = f"The limit {limit.name} allows {allowed}; {remaining} are left"
    detail += f", this call may use {cost}." if limit.unit == "tokens" else "."
    return LimitReached(
        Standing(limit, remaining, wait), max(wait, 1), detail, remedy=f"Try again in {max(wait, 1)} s."
    )


def _window(limit: Limit) -> str:
    return "a day (UTC)" if limit.window_seconds == gcra.DAY_SECONDS else "a minute"
