"""JSON read without a choice of meaning: a member named twice, NaN and numbers without bounds are refused.

Rules: RFC 7519, section 4; RFC 7515, section 10.12.
"""

import json
from typing import Any


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object in UTF-8.

    Raises:
        ValueError: not JSON, not an object, nested too deeply, or a member is there twice.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - callers catch one type for every fault of a text
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
