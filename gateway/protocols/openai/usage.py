"""Reads the token figures of an answer, in either naming of the API."""

_NAMES = (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"))
_MOST = 2**53


def read_usage(usage: object) -> tuple[int, int] | None:
    """Return input and output tokens, or None where `usage` reports none that can be trusted.

    A figure that is missing, negative, no integer or beyond 2^53 is no figure. Output may be absent, as it
    is for embeddings.
    """
    if type(usage) is not dict:
        return None
    for input_name, output_name in _NAMES:
        taken = usage.get(input_name)
        if taken is None:
            continue
        given = usage.get(output_name)
        if given is None:
            given = 0
        if type(taken) is int and type(given) is int and 0 <= taken < _MOST and 0 <= given < _MOST:
            return taken, given
        return None
    return None
