"""What one counter says to one call, as plain functions on its state: take, charge, give back, look.

Requests are charged when a call is taken. Tokens, of a minute and of a day, and streams are held when it is taken;
tokens are charged when they were used. What is held counts as if it were charged now, so that charges and holds
together never pass the limit however the calls under way end.
"""

from typing import NamedTuple

from gateway.clock import NANOSECONDS
from gateway.quota import gcra
from gateway.quota.ledger import Limit, Standing

MAX_USED = 2**62
"""Where a day's use stops counting (tokens): beyond every limit, within 64 bits."""

State = tuple[int, int, int, int]
"""TAT (ns), day number, units used that day, units held."""


class Refused(NamedTuple):
    """A call that a limit does not take.

    Attributes:
        remaining: units that a smaller call could take now.
        wait_seconds: when the call would be taken if all that is held were used now, rounded up; 0 where waiting
            does not help, because the call alone is larger than the limit.
    """

    remaining: int
    wait_seconds: int


Taken = tuple[State, int, Standing]
"""The new state, the units held in it until the call ends, and where the limit stands then."""


def take(limit: Limit, cost: int, state: State, now: int) -> Taken | Refused:
    """Take a call of `cost` units, or refuse it."""
    window = limit.window_seconds
    if window == gcra.DAY_SECONDS:
        return _take_of_day(limit, cost, state, now)
    return _take_of_rate(limit, cost, state, now) if window else _take_at_once(limit, cost, state)


def _take_at_once(limit: Limit, cost: int, state: State) -> Taken | Refused:
    tat, day, used, held = state
    left = limit.amount - held - cost
    if cost and left < 0:
        return Refused(max(left + cost, 0), 1)
    return (tat, day, used, held + cost), cost, Standing(limit, max(left, 0), 0)


def _take_of_day(limit: Limit, cost: int, state: State, now: int) -> Taken | Refused:
    tat, day, used, held = state
    today = gcra.day_of(now)
    if day < today:
        used = 0
    left = limit.amount - used - held - cost
    reset = gcra.seconds_up(gcra.until_next_day(now))
    if left < 0:
        return Refused(max(left + cost, 0), reset if cost <= limit.amount else 0)
    return (tat, today, used, held + cost), cost, Standing(limit, left, reset)


def _take_of_rate(limit: Limit, cost: int, state: State, now: int) -> Taken | Refused:
    tat, day, used, held = state
    _name, _key, unit, window, amount = limit
    interval = -(-window * NANOSECONDS // amount)
    before = (tat if tat > now else now) + held * interval  # noqa: FURB136 - max() costs twice as much
    whole, wait = gcra.take(before, now, cost, interval, amount)
    ahead = whole - now
    left = max(amount - -(-ahead // interval), 0)
    if wait:
        return Refused(left, gcra.seconds_up(wait) if wait > 0 else 0)
    standing = Standing(limit, left, -(-ahead // NANOSECONDS))
    if unit == "tokens":
        return (tat, day, used, held + cost), cost, standing
    return (whole, day, used, held), 0, standing


def charge(limit: Limit, tokens: int, state: State, now: int) -> State:
    """Charge tokens that were used, whether the limit allows them or not. The hold is not touched."""
    tat, day, used, held = state
    if limit.window_seconds == gcra.DAY_SECONDS:
        today = gcra.day_of(now)
        return tat, today, min((used if day == today else 0) + tokens, MAX_USED), held
    return gcra.charge(tat, now, tokens, gcra.interval_ns(limit.window_seconds, limit.amount)), day, used, held


def give_back(limit: Limit, taken_tat: int, state: State, now: int) -> State:
    """Give back a request that was charged when it was taken and made the TAT `taken_tat` (ns).

    What came back with time since then must not be given back a second time.
    """
    tat, day, used, held = state
    interval = gcra.interval_ns(limit.window_seconds, limit.amount)
    return tat - min(interval, max(taken_tat - now, 0)), day, used, held


def stand(limit: Limit, state: State, now: int) -> Standing:
    """Return where the limit stands."""
    tat, day, used, held = state
    window, amount = limit.window_seconds, limit.amount
    if window == 0:
        return Standing(limit, max(amount - held, 0), 0)
    if window == gcra.DAY_SECONDS:
        left = amount - held - (used if day == gcra.day_of(now) else 0)
        return Standing(limit, max(left, 0), gcra.seconds_up(gcra.until_next_day(now)))
    interval = gcra.interval_ns(window, amount)
    whole = max(tat, now) + held * interval
    return Standing(limit, gcra.remaining(whole, now, interval, amount), gcra.seconds_up(whole - now))
