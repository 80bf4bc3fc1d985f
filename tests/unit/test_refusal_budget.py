"""Refusals cost the caller nothing, so only so many of each identity go on record."""

from gateway.clock import NANOSECONDS
from gateway.refusal_budget import RefusalBudget


def test_a_burst_is_recorded_and_then_so_many_a_second_and_the_rest_is_counted():
    now = [10**18]
    budget = RefusalBudget(lambda: now[0], per_second=10, burst=20)
    assert sum(budget.take("a") for _ in range(100)) == 20
    assert budget.take("b"), "each identity has its own"
    assert budget.suppressed() == {"a": 80}
    assert budget.suppressed() == {}
    now[0] += NANOSECONDS
    assert sum(budget.take("a") for _ in range(100)) == 10
