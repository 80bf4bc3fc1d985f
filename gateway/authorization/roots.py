"""The roots of a bundle: the parts of `data` that it may fill, and no other.

Rules: www.openpolicyagent.org, bundle file format: roots do not overlap, and nothing lies outside them.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from gateway.errors import ConfigError

Place = tuple[str, ...]
"""A path in `data`."""


def parse_roots(roots: Sequence[str]) -> tuple[Place, ...]:
    """Return roots as places; the empty one is everything.

    Raises:
        ConfigError: one of them lies in another.
    """
    places = sorted(tuple(root.split("/")) if root else () for root in roots)
    for outer, inner in pairwise(places):  # sorted: a place stands right before what lies in it
        if inner[: len(outer)] == outer:
            raise ConfigError(f"the roots {'/'.join(outer)!r} and {'/'.join(inner)!r} of the manifest overlap.")
    return tuple(places)


def is_covered(roots: Sequence[Place], place: Place) -> bool:
    """Whether a place lies in one of the roots."""
    return any(place[: len(root)] == root for root in roots)


def outside(roots: Sequence[Place], place: Place, document: Any) -> Place | None:
    """Return the first place in a document at `place` that no root covers, or None."""
    if is_covered(roots, place):
        return None
    if not isinstance(document, dict) or not any(root[: len(place)] == place for root in roots):
        return place
    found = (outside(roots, (*place, key), item) for key, item in document.items())
    return next((each for each in found if each is not None), None)
