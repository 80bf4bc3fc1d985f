"""Which backend a call goes to, and for how long one that cannot be reached is set aside."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import NANOSECONDS
from gateway.upstream.balancer import ASIDE_SECONDS, FAILURES, Balancer
from gateway.upstream.client import Backend
from tests.support.scripted_backend import make_backend

A, B, C = (make_backend(f"http://127.0.0.1:{port}", name=name) for port, name in enumerate("abc", 1))
ALL = (A, B, C)


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000 * NANOSECONDS

    def __call__(self) -> int:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += round(seconds * NANOSECONDS)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def balancer(time: Time) -> Balancer:
    return Balancer(time)


def fail(balancer: Balancer, backend: Backend, times: int = FAILURES) -> None:
    for _ in range(times):
        balancer.acquire((backend,))
        balancer.failed(backend)


def test_equal_backends_take_turns(balancer: Balancer) -> None:
    taken = []
    for _ in range(9):
        taken.append(balancer.acquire(ALL))
        balancer.answered(taken[-1])
        balancer.release(taken[-1])
    assert taken == [A, B, C] * 3


def test_the_backend_with_the_fewest_calls_under_way_is_chosen(balancer: Balancer) -> None:
    held = [balancer.acquire(ALL) for _ in range(6)]
    assert Counter(held) == {A: 2, B: 2, C: 2}
    balancer.release(B)
    assert balancer.acquire(ALL) is B


def test_a_backend_already_tried_is_not_chosen_again(balancer: Balancer) -> None:
    first = balancer.acquire(ALL)
    second = balancer.acquire(ALL, [first])
    third = balancer.acquire(ALL, [first, second])
    assert {first, second, third} == set(ALL)
    with pytest.raises(ValueError, match="every candidate"):
        balancer.acquire(ALL, [first, second, third])


def test_one_failure_is_no_reason_to_set_a_backend_aside(balancer: Balancer) -> None:
    fail(balancer, A, FAILURES - 1)
    assert A in {balancer.acquire((A, B)) for _ in range(2)}


def test_a_backend_that_keeps_failing_gets_no_calls_while_another_works(balancer: Balancer) -> None:
    fail(balancer, A)
    assert {balancer.acquire((A, B)) for _ in range(20)} == {B}
    assert balancer.snapshot()["a"]["healthy"] is False
    assert balancer.snapshot()["b"]["healthy"] is True


def test_when_its_time_is_up_it_gets_one_call_and_the_others_keep_away(balancer: Balancer, time: Time) -> None:
    fail(balancer, A)
    balancer.acquire((B,))
    time.pass_seconds(ASIDE_SECONDS[0])
    assert balancer.acquire((A, B)) is A
    assert {balancer.acquire((A, B)) for _ in range(20)} == {B}
    balancer.answered(A)
    assert balancer.acquire((A, B)) is A


def test_each_further_failure_doubles_the_time_up_to_the_longest(balancer: Balancer, time: Time) -> None:
    fail(balancer, A)
    waits = []
    for _ in range(10):
        waited = 0.0
        while balancer.acquire((A, B)) is B:
            balancer.release(B)
            time.pass_seconds(0.5)
            waited += 0.5
        balancer.failed(A)
        waits.append(waited)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_a_long_call_that_ends_says_nothing_about_whether_the_backend_can_be_reached(balancer: Balancer) -> None:
    balancer.acquire((A,))
    fail(balancer, A)
    balancer.release(A)
    assert balancer.snapshot()["a"] == {"outstanding": 0, "healthy": False}


def test_a_model_with_one_backend_is_always_tried(balancer: Balancer) -> None:
    fail(balancer, A, 20)
    assert balancer.acquire((A,)) is A


def test_when_all_are_set_aside_the_one_whose_time_is_up_first_is_tried(balancer: Balancer, time: Time) -> None:
    fail(balancer, A, FAILURES + 3)
    fail(balancer, B)
    time.pass_seconds(0.1)
    assert balancer.acquire((A, B)) is B


@given(st.lists(st.sampled_from(["begin", "answered", "end", "failed"]), max_size=60))
def test_the_count_of_calls_under_way_is_always_true(events: list[str]) -> None:
    balancer, held = Balancer(Time()), []
    for event in events:
        if event == "begin":
            held.append(balancer.acquire(ALL))
        elif held:
            backend = held[0]
            if event == "answered":
                balancer.answered(backend)
                continue
            held.pop(0)
            (balancer.release if event == "end" else balancer.failed)(backend)
    counted = {name: state["outstanding"] for name, state in balancer.snapshot().items()}
    assert {name: count for name, count in counted.items() if count} == Counter(backend.name for backend in held)
