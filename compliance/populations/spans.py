"""Spans of time: put together, and taken from each other."""

from collections.abc import Sequence

Span = tuple[int, int]
"""From a time to a time that is not included, UNIX nanoseconds."""


def merged(spans: Sequence[Span]) -> list[Span]:
    """Return spans in order that cover the same, none of which touch."""
    found: list[Span] = []
    for since, until in sorted(spans):
        if found and since <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], until))
        else:
            found.append((since, until))
    return found


def less(spans: Sequence[Span], without: Sequence[Span]) -> list[Span]:
    """Return spans in order without the parts that lie in others, which are in order as well."""
    left: list[Span] = []
    for since, until in spans:
        at = since
        for begin, end in without:
            if end <= at or begin >= until:
                continue
            if begin > at:
                left.append((at, begin))
            at = max(at, end)
        if at < until:
            left.append((at, until))
    return left


def overlap(spans: Sequence[Span], within: Span) -> int:
    """Return how long spans in order lie within another one."""
    return sum(max(0, min(until, within[1]) - max(since, within[0])) for since, until in spans)
