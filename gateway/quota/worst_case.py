"""The most tokens a call can use: what is reserved before it is forwarded."""

from gateway.protocols.base import Call

MAX_TOKENS = 2**40
"""Bound of a reservation (tokens); a sum beyond it is refused by every real limit anyway."""


def worst_case_tokens(call: Call, max_tokens: int) -> int:
    """Return input bound plus output bound of every choice (tokens).

    Args:
        call: the parsed request.
        max_tokens: output bound per choice, after the policy's obligations (tokens; 0 where nothing is generated).
    """
    return min(call.input_tokens_bound + max_tokens * max(call.choices, 1), MAX_TOKENS)
