"""What of a record is indexed. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

NAMED = ("principal", "system", "action", "decision", "agent", "trace_id")
"""Fields of their own columns, beside time, type and reasons."""

_NOT_TEXT = frozenset({"v", "log", "chain", "seq", "prev", "event_id", "time", "type", "input", "trace_id", "peer"})
_DIGEST = re.compile(r"[0-9a-f]{32,}")

MAX_TEXT = 8_192
"""Characters of one record that are searched as text."""


def named(document: Mapping[str, Any], field: str) -> str | None:
    """Return the value of a named field; None where the record has none."""
    value = document.get(field)
    return value if isinstance(value, str) and value else None


def reasons(document: Mapping[str, Any]) -> list[str]:
    """Return the reasons of a decision, each once."""
    found = document.get("reasons")
    return sorted({each for each in found if isinstance(each, str)}) if isinstance(found, list) else []


def text(document: Mapping[str, Any]) -> str:
    """Return what is searched as text: every text that is no digest and no field of the chain."""
    return "\n".join(_texts({name: value for name, value in document.items() if name not in _NOT_TEXT}))[:MAX_TEXT]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value and not _DIGEST.fullmatch(value):
            yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
