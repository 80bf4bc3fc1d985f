"""The embedded quota ledger: every worker of a machine counts in one mapped file, under one lock.

Requests are charged when a call begins. Tokens, of a minute and of a day, are held when it begins and charged when it
is settled: the worst case stays held however long the call lasts, since all of it may still be used in any minute.
A lease that expires because its gateway died gives back its holds; its request stays charged, its tokens never are.
A call that outlives its lease is charged in full when it is settled.
"""

from pathlib import Path

from gateway.clock import NANOSECONDS, Clock
from gateway.quota import counting, gcra
from gateway.quota.ledger import Limit, LimitReached, Reservation, Standing
from gateway.quota.table import COUNTER, KIND_HELD, KIND_HELD_USED, LedgerTable, Mode

_Update = tuple[int, counting.State]
"""A counter's offset and its new state."""


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
            updates: list[_Update] = []
            holds: list[tuple[int, int, int]] = []
            standings: list[Standing] = []
            for limit in limits:
                unit = limit.unit
                cost = tokens if unit == "tokens" else 1 if unit == "requests" or stream else 0
                counter = table.counter(limit.key, now, today, updates)
                outcome = counting.take(limit, cost, unpack(memory, counter), now)
                if isinstance(outcome, counting.Refused):
                    raise _refused(limit, outcome, cost)
                state, held, standing = outcome
                updates.append((counter, state))
                standings.append(standing)
                if held:
                    holds.append((counter, KIND_HELD_USED if unit == "tokens" else KIND_HELD, held))
            # The lease first: if this process dies in between, the holds are recounted from it.
            lease_id = table.new_lease(now + lease_seconds * NANOSECONDS, holds)
            for counter, state in updates:
                COUNTER.pack_into(memory, counter, *state)
            table.commit()
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
        return tuple(counting.stand(limit, self._table.peek(limit.key), now) for limit in limits)

    def close(self) -> None:
        """Unmap the file."""
        self._table.close()

    def _end(self, reservation: Reservation, tokens: int, *, requests: int) -> None:
        if reservation.id not in self._open:
            return
        table = self._table
        memory, unpack = table.map, COUNTER.unpack_from
        table.lock()
        try:
            updates = self._open.pop(reservation.id)
            now = table.now(self._clock(), strict=False)
            today = gcra.day_of(now)
            table.begin()
            try:
                for limit, (_counter, taken) in zip(reservation.limits, updates, strict=True):
                    if limit.unit == "tokens" and tokens > 0:
                        counter = table.counter(limit.key, now, today)
                        state = counting.charge(limit, tokens, unpack(memory, counter), now)
                    elif limit.unit == "requests" and not requests and taken[0] > now:
                        counter = table.counter(limit.key, now, today)
                        state = counting.give_back(limit, taken[0], unpack(memory, counter), now)
                    else:
                        continue
                    COUNTER.pack_into(memory, counter, *state)
            finally:
                table.end_lease(reservation.id)
                table.commit()
        finally:
            table.unlock()


def _refused(limit: Limit, refused: counting.Refused, cost: int) -> LimitReached:
    """Say which limit refuses and what the caller can do."""
    remaining, wait = refused
    if limit.unit == "streams":
        allowed = f"{limit.amount} streams at once"
    else:
        allowed = f"{limit.amount} {limit.unit} in {_window(limit)}"
    if not wait:
        return LimitReached(
            Standing(limit, remaining, 0),
            0,
            f"This call may use up to {cost} tokens; the limit {limit.name} allows {allowed}.",
            remedy="Ask for fewer output tokens (max_tokens), or send less.",
        )
    detail = f"The limit {limit.name} allows {allowed}; {remaining} are left"
    detail += f", this call may use {cost}." if limit.unit == "tokens" else "."
    return LimitReached(Standing(limit, remaining, wait), wait, detail, remedy=f"Try again in {wait} s.")


def _window(limit: Limit) -> str:
    return "a day (UTC)" if limit.window_seconds == gcra.DAY_SECONDS else "a minute"
