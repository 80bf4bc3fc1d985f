"""What one counter admits, whatever calls begin, last and end: properties of the pure functions."""

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.clock import NANOSECONDS
from gateway.quota import counting
from gateway.quota.counting import Refused, State
from tests.unit.quota.conftest import NOON, requests_a_minute, streams_at_once, tokens_a_day, tokens_a_minute

Step = tuple[str, int, int]

STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "take", "settle", "wait"]), st.integers(0, 1200), st.integers(0, 40)),
    max_size=50,
)

FRESH: State = (0, 0, 0, 0)


@given(amount=st.integers(1, 1000), steps=STEPS)
@example(
    amount=1000,
    steps=[
        ("take", 500, 0),
        ("take", 500, 0),
        ("settle", 0, 0),
        ("wait", 0, 30),
        ("take", 500, 0),
        ("settle", 500, 1),
        ("wait", 0, 1),
        ("settle", 0, 0),
        ("take", 1000, 0),
        ("settle", 1000, 0),
    ],
)
def test_tokens_used_in_any_span_of_time_are_at_most_the_burst_and_the_rate_times_its_length(
    amount: int, steps: list[Step]
) -> None:
    limit, state, now = tokens_a_minute(amount), FRESH, NOON
    under_way: list[int] = []
    used: list[tuple[int, int]] = []
    for what, units, which in steps:
        if what == "wait":
            now += which * NANOSECONDS
        elif what == "take":
            outcome = counting.take(limit, units, state, now)
            if not isinstance(outcome, Refused):
                state, held, _ = outcome
                under_way.append(held)
        elif under_way:
            held = under_way.pop(which % len(under_way))
            spent = min(units, held)
            tat, day, used_today, all_held = counting.charge(limit, spent, state, now)
            state = (tat, day, used_today, all_held - held)
            used.append((now, spent))
    for first, (begin, _) in enumerate(used):
        total = 0
        for end, units in used[first:]:
            total += units
            assert total <= amount + Fraction((end - begin) * amount, 60 * NANOSECONDS)


@given(
    amount=st.integers(1, 10**9),
    ahead=st.integers(0, 70 * NANOSECONDS),
    share=st.integers(0, 100),
    cost=st.integers(1, 10**9),
)
def test_a_refused_rate_is_taken_after_its_wait_even_if_all_that_was_held_has_been_used(
    amount: int, ahead: int, share: int, cost: int
) -> None:
    limit = tokens_a_minute(amount)
    held = amount * share // 100
    state: State = (NOON + ahead, 0, 0, held)
    outcome = counting.take(limit, cost, state, NOON)
    if not isinstance(outcome, Refused):
        assert cost <= amount - held
    elif not outcome.wait_seconds:
        assert cost > amount
    else:
        tat, *_ = counting.charge(limit, held, state, NOON)
        later = NOON + outcome.wait_seconds * NANOSECONDS
        assert not isinstance(counting.take(limit, cost, (tat, 0, 0, 0), later), Refused)


@given(amount=st.integers(1, 10**12), held=st.integers(0, 10**12), ahead=st.integers(0, 10**13))
def test_where_a_limit_stands_is_exactly_what_it_takes(amount: int, held: int, ahead: int) -> None:
    for limit in (tokens_a_minute(amount), tokens_a_day(amount), streams_at_once(amount)):
        state: State = (NOON + ahead, NOON // NANOSECONDS // 86_400, ahead, held)
        left = counting.stand(limit, state, NOON).remaining
        assert 0 <= left <= amount
        if left:
            taken = counting.take(limit, left, state, NOON)
            assert not isinstance(taken, Refused)
            assert taken[2].remaining == 0
        assert isinstance(counting.take(limit, left + 1, state, NOON), Refused)


@given(amount=st.integers(1, 10_000), taken=st.integers(1, 50), later=st.integers(0, 120))
def test_requests_given_back_never_make_more_than_the_burst(amount: int, taken: int, later: int) -> None:
    limit, state, tats = requests_a_minute(amount), FRESH, []
    for _ in range(min(taken, amount)):
        outcome = counting.take(limit, 1, state, NOON)
        assert not isinstance(outcome, Refused)
        state = outcome[0]
        tats.append(state[0])
    now = NOON + later * NANOSECONDS
    before = counting.stand(limit, state, now).remaining
    for number, tat in enumerate(tats, start=1):
        state = counting.give_back(limit, tat, state, now)
        assert counting.stand(limit, state, now).remaining <= min(amount, before + number)
    assert counting.stand(limit, state, NOON).remaining <= amount


@given(tokens=st.integers(0, 10**40), now=st.integers(0, 4 * 10**18))
def test_a_state_always_fits_in_the_file(tokens: int, now: int) -> None:
    for limit in (tokens_a_minute(1), tokens_a_day(10**12)):
        state = FRESH
        for _ in range(3):
            state = counting.charge(limit, tokens, state, now)
            assert all(0 <= value < 2**63 for value in state)
