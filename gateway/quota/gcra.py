"""The three ways of counting, as plain functions on integers: GCRA, calendar day, concurrency.

GCRA keeps one timestamp a key, the theoretical arrival time (TAT): the moment at which the key is whole again. A call
of `cost` units moves it by `cost * interval`; it may lie at most `burst * interval` ahead of now. Times are in
nanoseconds.

Units whose use is known only later (tokens) are held apart and charged when they were used. While they are held they
count as if charged at `now`; TAT and holds together never pass the burst, so what is charged never passes it either,
and what was held and not used was never in the TAT and needs no refund.
"""

DAY_SECONDS = 86_400

MAX_DEBT_DAYS = 30
"""Longest time (days) for which a charge beyond a rate can keep it used up."""

_NS = 1_000_000_000


def interval_ns(window_seconds: int, amount: int) -> int:
    """Return the time one unit takes to come back (nanoseconds), rounded up so that the rate is never exceeded."""
    return -(-window_seconds * _NS // amount)


def take(tat: int, now: int, cost: int, interval: int, burst: int) -> tuple[int, int]:
    """Try to take `cost` units.

    Returns:
        The new TAT and how long to wait: 0 means taken; else the TAT is the old one and after exactly that many
        nanoseconds the same call would be taken. A `cost` above `burst` never is (-1).
    """
    if cost > burst:
        return tat, -1
    new = max(tat, now) + cost * interval
    wait = new - burst * interval - now
    return (new, 0) if wait <= 0 else (tat, wait)


def remaining(tat: int, now: int, interval: int, burst: int) -> int:
    """Return the units that could be taken now."""
    ahead = tat - now
    return burst if ahead <= 0 else max(burst - -(-ahead // interval), 0)


def charge(tat: int, now: int, units: int, interval: int) -> int:
    """Return the TAT after `units` were used, allowed or not.

    The debt ends after `MAX_DEBT_DAYS`, so that a figure without sense cannot shut a key out for good.
    """
    return min(max(tat, now) + units * interval, now + MAX_DEBT_DAYS * DAY_SECONDS * _NS)


def day_of(now: int) -> int:
    """Return the number of the calendar day in UTC."""
    return now // (_NS * DAY_SECONDS)


def until_next_day(now: int) -> int:
    """Return the time until the next calendar day begins in UTC (nanoseconds)."""
    return (day_of(now) + 1) * DAY_SECONDS * _NS - now


def seconds_up(nanoseconds: int) -> int:
    """Return whole seconds, rounded up."""
    return -(-nanoseconds // _NS)
