"""What the ledger holds, charges and gives back, by a clock that the test drives."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.clock import NANOSECONDS
from gateway.errors import UnavailableError
from gateway.quota.ledger import Limit, LimitReached, Reservation
from gateway.quota.shared_ledger import SharedLedger
from gateway.quota.table import HOLDS
from tests.unit.quota.conftest import (
    NOON,
    DrivenClock,
    OpenLedger,
    requests_a_minute,
    streams_at_once,
    tokens_a_day,
    tokens_a_minute,
)


async def reserve(
    ledger: SharedLedger, *limits: Limit, tokens: int = 0, stream: bool = False, lease_seconds: int = 900
) -> Reservation:
    return await ledger.reserve(limits, tokens=tokens, stream=stream, lease_seconds=lease_seconds)


async def left(ledger: SharedLedger, limit: Limit) -> int:
    return (await ledger.standings((limit,)))[0].remaining


ALL = (requests_a_minute(60), tokens_a_minute(6000), tokens_a_day(10_000), streams_at_once(3))


async def test_a_reservation_holds_the_worst_case_in_every_limit_at_once(ledger: SharedLedger) -> None:
    held = await reserve(ledger, *ALL, tokens=1000, stream=True)
    assert [standing.remaining for standing in held.standings] == [59, 5000, 9000, 2]
    assert [standing.remaining for standing in await ledger.standings(ALL)] == [59, 5000, 9000, 2]
    assert [standing.reset_seconds for standing in held.standings] == [1, 10, 43_200, 0]


@pytest.mark.parametrize(("used", "remaining"), [(0, 10_000), (1, 9999), (400, 9600), (1000, 9000), (1500, 8500)])
async def test_settling_charges_what_was_used_instead_of_the_worst_case(
    ledger: SharedLedger, used: int, remaining: int
) -> None:
    held = await reserve(ledger, *ALL, tokens=1000, stream=True)
    await ledger.settle(held, tokens=used)
    assert [standing.remaining for standing in await ledger.standings(ALL)] == [59, 6000 - used, remaining, 3]


async def test_use_beyond_the_limit_is_charged_in_full(ledger: SharedLedger, clock: DrivenClock) -> None:
    day, minute = tokens_a_day(1000), tokens_a_minute(600)
    await ledger.settle(await reserve(ledger, day, minute, tokens=100), tokens=1200)
    assert await left(ledger, day) == 0
    with pytest.raises(LimitReached):
        await reserve(ledger, day, tokens=1)
    clock.move(60)
    assert await left(ledger, minute) == 0
    clock.move(60)
    assert await left(ledger, minute) == 600


async def test_releasing_gives_everything_back(ledger: SharedLedger) -> None:
    await ledger.release(await reserve(ledger, *ALL, tokens=1000, stream=True))
    assert [standing.remaining for standing in await ledger.standings(ALL)] == [60, 6000, 10_000, 3]


@pytest.mark.parametrize("order", ["settle settle", "settle release", "release release", "release settle"])
async def test_only_the_first_end_of_a_call_counts(ledger: SharedLedger, order: str) -> None:
    other = await reserve(ledger, *ALL, tokens=1000, stream=True)
    held = await reserve(ledger, *ALL, tokens=1000, stream=True)
    expected = None
    for end in order.split():
        await (ledger.settle(held, tokens=300) if end == "settle" else ledger.release(held))
        state = await ledger.standings(ALL)
        assert expected in (None, state)
        expected = state
    assert await left(ledger, ALL[3]) == 2
    await ledger.release(other)


@pytest.mark.parametrize(
    "refusing", [requests_a_minute(1, "b"), tokens_a_minute(99, "b"), tokens_a_day(99, "b"), streams_at_once(1, "b")]
)
async def test_a_refusal_by_the_last_limit_leaves_the_others_untouched(ledger: SharedLedger, refusing: Limit) -> None:
    if refusing.amount == 1:
        await reserve(ledger, refusing, stream=True)
    before = await ledger.standings((*ALL, refusing))
    with pytest.raises(LimitReached) as refusal:
        await reserve(ledger, *ALL, refusing, tokens=100, stream=True)
    assert refusal.value.standing.limit == refusing
    assert await ledger.standings((*ALL, refusing)) == before


async def test_a_refused_rate_can_be_tried_again_after_the_seconds_it_names(
    ledger: SharedLedger, clock: DrivenClock
) -> None:
    limit = requests_a_minute(2)
    await reserve(ledger, limit)
    await reserve(ledger, limit)
    with pytest.raises(LimitReached, match="2 requests in a minute; 0 are left") as refusal:
        await reserve(ledger, limit)
    assert (refusal.value.code, refusal.value.retry_after_seconds) == ("quota_requests", 30)
    clock.move(29.999)
    with pytest.raises(LimitReached):
        await reserve(ledger, limit)
    clock.move(0.001)
    await reserve(ledger, limit)


@pytest.mark.parametrize("limit", [tokens_a_minute(100), tokens_a_day(100)])
async def test_a_call_larger_than_the_limit_is_told_that_waiting_does_not_help(
    ledger: SharedLedger, limit: Limit
) -> None:
    with pytest.raises(LimitReached, match="may use up to 101 tokens") as refusal:
        await reserve(ledger, limit, tokens=101)
    assert refusal.value.retry_after_seconds == 0
    assert "fewer output tokens" in refusal.value.remedy
    await reserve(ledger, limit, tokens=100)


async def test_the_day_is_new_at_midnight_in_utc_and_not_before(ledger: SharedLedger, clock: DrivenClock) -> None:
    limit = tokens_a_day(1000)
    await ledger.settle(await reserve(ledger, limit, tokens=1000), tokens=1000)
    clock.move(43_199)
    with pytest.raises(LimitReached) as refusal:
        await reserve(ledger, limit, tokens=1)
    assert refusal.value.retry_after_seconds == 1
    clock.move(1)
    assert await left(ledger, limit) == 1000
    await reserve(ledger, limit, tokens=1000)


async def test_a_call_over_midnight_stays_held_and_is_charged_to_the_day_it_ends(
    ledger: SharedLedger, clock: DrivenClock
) -> None:
    limit = tokens_a_day(1000)
    held = await reserve(ledger, limit, tokens=600, lease_seconds=86_400)
    clock.move(43_260)
    with pytest.raises(LimitReached):
        await reserve(ledger, limit, tokens=401)
    await ledger.settle(held, tokens=250)
    assert await left(ledger, limit) == 750


async def test_a_clock_set_back_hands_out_nothing(ledger: SharedLedger, clock: DrivenClock) -> None:
    minute, day = requests_a_minute(1), tokens_a_day(100)
    await ledger.settle(await reserve(ledger, minute, day, tokens=100), tokens=100)
    for back in (1, 299, 300, 301, 3600, 86_400, 30 * 86_400):
        clock.now = NOON - back * NANOSECONDS
        refusal = LimitReached if back <= 300 else UnavailableError
        with pytest.raises(refusal):
            await reserve(ledger, minute)
        with pytest.raises(refusal):
            await reserve(ledger, day, tokens=1)
    clock.now = NOON + 60 * NANOSECONDS
    await reserve(ledger, minute)


async def test_a_clock_that_was_far_ahead_is_named_instead_of_limits_that_stand_still(
    ledger: SharedLedger, clock: DrivenClock
) -> None:
    clock.move(86_400)
    held = await reserve(ledger, streams_at_once(1), stream=True)
    clock.move(-86_400)
    with pytest.raises(UnavailableError, match="86400 s behind") as refusal:
        await reserve(ledger, requests_a_minute(60))
    assert refusal.value.code == "quota_clock"
    assert "set the clock right" in refusal.value.remedy
    await ledger.settle(held, tokens=0)
    assert await left(ledger, streams_at_once(1)) == 1, "a call under way could not end"


async def test_streams_are_limited_while_they_last(ledger: SharedLedger) -> None:
    limit = streams_at_once(2)
    first = await reserve(ledger, limit, stream=True)
    await reserve(ledger, limit, stream=True)
    with pytest.raises(LimitReached, match="2 streams at once") as refusal:
        await reserve(ledger, limit, stream=True)
    assert refusal.value.retry_after_seconds == 1
    await ledger.settle(first, tokens=0)
    await reserve(ledger, limit, stream=True)


async def test_a_call_that_does_not_stream_takes_no_stream(ledger: SharedLedger) -> None:
    limit = streams_at_once(1)
    held = await reserve(ledger, limit, stream=True)
    quick = await reserve(ledger, limit, stream=False)
    await ledger.settle(quick, tokens=0)
    assert await left(ledger, limit) == 0
    await ledger.settle(held, tokens=0)
    assert await left(ledger, limit) == 1


async def test_an_expired_lease_frees_what_it_held_and_no_sooner(ledger: SharedLedger, clock: DrivenClock) -> None:
    day, streams = tokens_a_day(1000), streams_at_once(1)
    await reserve(ledger, day, streams, tokens=900, stream=True, lease_seconds=30)
    clock.move(29)
    with pytest.raises(LimitReached):
        await reserve(ledger, streams, stream=True)
    clock.move(1)
    await reserve(ledger, streams, stream=True)
    assert await left(ledger, day) == 1000


async def test_a_call_that_outlives_its_lease_is_charged_and_gives_back_nothing_twice(
    ledger: SharedLedger, clock: DrivenClock
) -> None:
    day, streams = tokens_a_day(1000), streams_at_once(1)
    late = await reserve(ledger, day, streams, tokens=900, stream=True, lease_seconds=10)
    clock.move(20)
    await reserve(ledger, day, streams, tokens=500, stream=True)
    await ledger.settle(late, tokens=200)
    assert await left(ledger, day) == 300
    assert await left(ledger, streams) == 0


async def test_the_worst_case_of_a_call_stays_held_in_a_minute_however_long_it_lasts(
    ledger: SharedLedger, clock: DrivenClock
) -> None:
    limit = tokens_a_minute(600)
    slow = await reserve(ledger, limit, tokens=600)
    for _ in range(3):
        clock.move(60)
        assert await left(ledger, limit) == 0
        with pytest.raises(LimitReached):
            await reserve(ledger, limit, tokens=1)
    await ledger.settle(slow, tokens=1)
    assert await left(ledger, limit) == 599


async def test_what_a_call_did_not_use_of_a_minute_is_there_again_at_once(
    ledger: SharedLedger, clock: DrivenClock
) -> None:
    limit = tokens_a_minute(600)
    for _ in range(50):
        await ledger.settle(await reserve(ledger, limit, tokens=600), tokens=0)
        clock.move(0.001)
    held = await reserve(ledger, limit, tokens=600)
    clock.move(20)
    await ledger.release(held)
    assert await left(ledger, limit) == 600


async def test_a_minute_is_not_given_back_through_calls_that_end_after_others(
    ledger: SharedLedger, clock: DrivenClock
) -> None:
    """Two calls held early and not used leave room for what a minute allows, once."""
    limit = tokens_a_minute(1000)
    first, second = await reserve(ledger, limit, tokens=500), await reserve(ledger, limit, tokens=500)
    await ledger.settle(first, tokens=0)
    clock.move(30)
    await ledger.settle(await reserve(ledger, limit, tokens=500), tokens=500)
    clock.move(1)
    await ledger.settle(second, tokens=0)
    assert await left(ledger, limit) == 516
    with pytest.raises(LimitReached):
        await reserve(ledger, limit, tokens=517)


async def test_tokens_of_a_minute_held_by_a_lost_call_come_back_with_its_lease(
    ledger: SharedLedger, clock: DrivenClock
) -> None:
    limit = tokens_a_minute(600)
    await reserve(ledger, limit, tokens=600, lease_seconds=90)
    clock.move(89)
    with pytest.raises(LimitReached):
        await reserve(ledger, limit, tokens=1)
    clock.move(1)
    await reserve(ledger, limit, tokens=600)


@pytest.mark.parametrize("tokens", [2**40, 2**63, 10**30])
async def test_a_figure_without_sense_is_charged_and_breaks_nothing(
    ledger: SharedLedger, clock: DrivenClock, tokens: int
) -> None:
    limits = (requests_a_minute(60), tokens_a_minute(1), tokens_a_day(100), streams_at_once(1))
    held = await reserve(ledger, *limits, tokens=1, stream=True)
    await ledger.settle(held, tokens=tokens)
    assert [standing.remaining for standing in await ledger.standings(limits)] == [59, 0, 0, 1]
    clock.move(29 * 86_400)
    assert await left(ledger, limits[1]) == 0
    clock.move(2 * 86_400)
    assert [standing.remaining for standing in await ledger.standings(limits)] == [60, 1, 100, 1]


async def test_a_reservation_without_sense_is_refused_and_holds_nothing(ledger: SharedLedger) -> None:
    for limit in (tokens_a_minute(10**9), tokens_a_day(10**12)):
        with pytest.raises(LimitReached):
            await reserve(ledger, limit, tokens=10**30)
        assert await left(ledger, limit) == limit.amount


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["reserve", "settle", "release", "wait"]), st.integers(0, 400), st.integers(0, 9)),
        max_size=60,
    ),
    number=st.integers(0, 2**60),
)
async def test_a_days_use_and_holds_always_add_up_and_never_exceed_the_limit(
    ledger: SharedLedger, clock: DrivenClock, steps: list[tuple[str, int, int]], number: int
) -> None:
    day, streams = tokens_a_day(1000, f"{number}"), streams_at_once(4, f"{number}")
    clock.now = ((clock.now // NANOSECONDS // 86_400) + 1) * 86_400 * NANOSECONDS
    open_calls: list[Reservation] = []
    used = 0
    for what, tokens, which in steps:
        if what == "reserve":
            fits = used + sum(call.tokens for call in open_calls) + tokens <= 1000 and len(open_calls) < 4
            try:
                open_calls.append(await reserve(ledger, day, streams, tokens=tokens, stream=True, lease_seconds=90_000))
                assert fits
            except LimitReached:
                assert not fits
        elif what == "wait":
            clock.move(which)
        elif open_calls:
            call = open_calls.pop(which % len(open_calls))
            if what == "settle":
                spent = min(tokens, call.tokens)
                used += spent
                await ledger.settle(call, tokens=spent)
            else:
                await ledger.release(call)
        assert await left(ledger, day) == 1000 - used - sum(call.tokens for call in open_calls)
        assert await left(ledger, streams) == 4 - len(open_calls)
    for call in open_calls:
        await ledger.release(call)


async def test_a_call_held_by_as_many_limits_as_fit_passes_and_by_one_more_is_refused_whole(
    ledger: SharedLedger,
) -> None:
    limits = [tokens_a_day(1000, f"s{number}") for number in range(HOLDS + 1)]
    await ledger.release(await reserve(ledger, *limits[:HOLDS], tokens=10))
    with pytest.raises(UnavailableError, match=f"at most {HOLDS}") as refusal:
        await reserve(ledger, *limits, tokens=10)
    assert refusal.value.code == "quota_too_many_limits"
    assert {standing.remaining for standing in await ledger.standings(tuple(limits))} == {1000}


async def test_any_number_of_requests_a_minute_holds_nothing_and_passes(ledger: SharedLedger) -> None:
    limits = [requests_a_minute(10, f"s{number}") for number in range(HOLDS + 4)]
    assert len((await reserve(ledger, *limits)).standings) == HOLDS + 4


async def test_a_call_without_limits_passes(ledger: SharedLedger) -> None:
    held = await reserve(ledger, tokens=10**9)
    assert held.standings == ()
    await ledger.settle(held, tokens=10**9)


async def test_subjects_do_not_share_counters(ledger: SharedLedger) -> None:
    await reserve(ledger, requests_a_minute(1, "a"))
    await reserve(ledger, requests_a_minute(1, "b"))
    with pytest.raises(LimitReached):
        await reserve(ledger, requests_a_minute(1, "a"))


async def test_a_restart_keeps_the_days_use_and_the_rates(open_ledger: OpenLedger, clock: DrivenClock) -> None:
    before = open_ledger()
    rate, day = requests_a_minute(1), tokens_a_day(1000)
    await before.settle(await reserve(before, rate, day, tokens=700), tokens=650)
    after = open_ledger()
    assert await left(after, day) == 350
    with pytest.raises(LimitReached):
        await reserve(after, rate)


async def test_what_a_process_left_open_is_held_until_its_lease_ends(
    open_ledger: OpenLedger, clock: DrivenClock
) -> None:
    day = tokens_a_day(1000)
    lost = await reserve(open_ledger(), day, tokens=800, lease_seconds=60)
    after = open_ledger()
    assert await left(after, day) == 200
    await after.settle(lost, tokens=0)
    assert await left(after, day) == 200, "a process ended a call that another began"
    clock.move(60)
    await reserve(after, day, tokens=1000)
