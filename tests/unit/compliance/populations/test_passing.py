"""Signs that a gateway ran: silences are what a plain look at all the times finds, in whatever order they come."""

from datetime import date
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.period import Period
from compliance.populations.passing import SILENCE_NS, Signs
from compliance.populations.spans import less, merged, overlap

DAY = Period(date(2027, 3, 1), date(2027, 3, 2))
MINUTE = 60 * 10**9
AROUND = 24 * 60
minutes = st.integers(-AROUND + 1, 3 * AROUND - 1)
edges = st.tuples(st.integers(0, 2 * AROUND), st.integers(0, 2 * AROUND)).map(sorted)
spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted).map(tuple), max_size=6)


def at(minute: int) -> int:
    return DAY.start_ns + minute * MINUTE


@settings(max_examples=300, deadline=None)
@given(st.lists(minutes, max_size=60), edges)
def test_silences_are_the_long_stretches_between_neighbours(times, span):
    signs = Signs(DAY)
    for each in times:
        signs.note(at(each))
    begin, end = at(span[0]), at(span[1])
    marks = sorted({at(-AROUND), *map(at, times), at(3 * AROUND)})
    expected = [
        (max(since, begin), min(until, end))
        for since, until in pairwise(marks)
        if until - since > SILENCE_NS and max(since, begin) < min(until, end)
    ]
    assert list(signs.silences((0, at(10 * AROUND)), (begin, end))) == expected


@given(st.lists(minutes, max_size=30), minutes)
def test_a_sign_before_a_time_is_before_it_and_less_than_ten_minutes_from_the_last_one(times, moment):
    signs = Signs(DAY)
    for each in times:
        signs.note(at(each))
    found = signs.before(at(moment))
    before = [at(each) for each in times if each < moment]
    if before:
        assert max(before) - 10 * MINUTE < found <= max(before)
    else:
        assert found == 0


def minutes_of(some: list[tuple[int, int]]) -> set[int]:
    return {minute for since, until in some for minute in range(since, until)}


@given(spans, spans)
def test_spans_are_merged_and_taken_from_each_other_like_sets_of_minutes(some, without):
    left = less(merged(some), merged(without))
    assert minutes_of(left) == minutes_of(some) - minutes_of(without)
    assert all(one[1] <= other[0] for one, other in pairwise(left))


@given(spans, st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted).map(tuple))
def test_what_lies_within_a_span_is_counted_once(some, within):
    assert overlap(merged(some), within) == len(minutes_of(some) & minutes_of([within]))
