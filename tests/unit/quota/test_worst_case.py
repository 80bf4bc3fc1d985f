"""The worst case of a call is never below what it can use."""

import pytest

from gateway.protocols.base import Call
from gateway.quota.worst_case import MAX_TOKENS, worst_case_tokens


def call(input_tokens: int, choices: int = 1) -> Call:
    return Call("openai", "", "", "", "", "", input_tokens_bound=input_tokens, choices=choices)


@pytest.mark.parametrize(
    ("input_tokens", "choices", "max_tokens", "worst"),
    [(10, 1, 90, 100), (10, 3, 90, 280), (10, 1, 0, 10), (10, 0, 90, 100), (0, 1, 0, 0)],
)
def test_the_input_counts_once_and_the_output_for_every_choice(
    input_tokens: int, choices: int, max_tokens: int, worst: int
) -> None:
    assert worst_case_tokens(call(input_tokens, choices), max_tokens) == worst


def test_what_no_limit_could_allow_stays_a_number_that_fits() -> None:
    assert worst_case_tokens(call(10**30, 10**30), 10**30) == MAX_TOKENS
