"""The arithmetic of rates and days."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import NANOSECONDS
from gateway.quota import gcra

windows = st.sampled_from([1, 60, 3600])
amounts = st.integers(1, 10**9)
moments = st.integers(0, 2**62)
MIDNIGHT = 20_000 * 86_400 * NANOSECONDS


@given(
    window=windows,
    amount=st.integers(1, 1000),
    start=st.integers(0, 2**61),
    calls=st.lists(st.tuples(st.integers(0, 30 * NANOSECONDS), st.integers(1, 400)), max_size=60),
)
def test_no_span_of_time_admits_more_than_the_burst_and_the_rate_times_its_length(
    window: int, amount: int, start: int, calls: list[tuple[int, int]]
) -> None:
    interval = gcra.interval_ns(window, amount)
    now, tat = start, 0
    taken: list[tuple[int, int]] = []
    for pause, cost in calls:
        now += pause
        tat, wait = gcra.take(tat, now, cost, interval, amount)
        if wait == 0:
            taken.append((now, cost))
    for first, (begin, _) in enumerate(taken):
        total = 0
        for moment, cost in taken[first:]:
            total += cost
            assert total * window * NANOSECONDS <= amount * (window * NANOSECONDS + moment - begin)


@given(
    window=windows, amount=amounts, now=moments, ahead=st.integers(0, 2 * 3600 * NANOSECONDS), cost=st.integers(1, 2000)
)
def test_a_refused_call_is_taken_after_exactly_its_wait_and_not_a_nanosecond_sooner(
    window: int, amount: int, now: int, ahead: int, cost: int
) -> None:
    interval = gcra.interval_ns(window, amount)
    tat = now + ahead
    after, wait = gcra.take(tat, now, cost, interval, amount)
    if wait == -1:
        assert cost > amount
    elif wait > 0:
        assert after == tat
        assert gcra.take(tat, now + wait, cost, interval, amount)[1] == 0
        assert gcra.take(tat, now + wait - 1, cost, interval, amount)[1] == 1


@given(amount=amounts, now=moments, tat=moments, more=st.integers(1, 10**6))
def test_a_cost_above_the_burst_is_never_taken_and_moves_nothing(amount: int, now: int, tat: int, more: int) -> None:
    assert gcra.take(tat, now, amount + more, gcra.interval_ns(60, amount), amount) == (tat, -1)


@given(window=windows, amount=amounts, now=moments, ahead=st.integers(-NANOSECONDS, 2 * 3600 * NANOSECONDS))
def test_exactly_the_remaining_units_can_be_taken(window: int, amount: int, now: int, ahead: int) -> None:
    interval = gcra.interval_ns(window, amount)
    left = gcra.remaining(now + ahead, now, interval, amount)
    assert 0 <= left <= amount
    if left:
        assert gcra.take(now + ahead, now, left, interval, amount)[1] == 0
    assert gcra.take(now + ahead, now, left + 1, interval, amount)[1] != 0


def test_the_interval_is_rounded_up_so_that_the_rate_is_not_exceeded() -> None:
    assert gcra.interval_ns(60, 7) == 8_571_428_572
    assert gcra.interval_ns(60, 60) == NANOSECONDS


def test_a_day_ends_at_midnight_in_utc() -> None:
    assert gcra.day_of(MIDNIGHT - 1) == 19_999
    assert gcra.day_of(MIDNIGHT) == 20_000
    assert gcra.until_next_day(MIDNIGHT - 1) == 1
    assert gcra.until_next_day(MIDNIGHT) == 86_400 * NANOSECONDS


def test_seconds_are_rounded_up() -> None:
    assert [gcra.seconds_up(ns) for ns in (0, 1, NANOSECONDS, NANOSECONDS + 1)] == [0, 1, 1, 2]
