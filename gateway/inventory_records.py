"""The fields of records about the inventory: the same, whether govctl or the control plane makes the change."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from identity.registry import Agent

_DESCRIBED = ("kind", "status", "team", "owner", "risk_tier", "system", "environment")

ROOM_BYTES = 32_768
"""Room for the selectors of an entry, or the changes of a file, in their record (bytes)."""


def registered(agent: Agent) -> dict[str, Any]:
    """Return the fields of `agent.registered`, without the principal."""
    return {"agent": agent.id, **{name: getattr(agent, name) for name in _DESCRIBED}}


def entry(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the records `entry.…`, without the principal.

    Args:
        shown: the entry as it is shown to people, its sets and tuples as lists.
    """
    selectors, left_out = within_room(shown["selectors"])
    more = {"selectors_left_out": left_out} if left_out else {}
    return {**shown, "selectors": selectors, **more}


def within_room(texts: Sequence[str]) -> tuple[list[str], int]:
    """Return the first of the texts, as many as a record has room for, and how many are left out."""
    room = ROOM_BYTES
    for place, text in enumerate(texts):
        room -= len(orjson.dumps(text)) + 1
        if room < 0:
            return list(texts[:place]), len(texts) - place
    return list(texts), 0
