"""RFC 8785 canonical JSON, restricted to what a record may hold: no floats, integers within 2^53 - 1.

The restriction removes the one hard part of the RFC (the shortest form of a float) and every disagreement about it.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from audit.errors import CanonicalError

MAX_INTEGER = 2**53 - 1
"""Largest integer that every JSON implementation reads exactly (RFC 7493, section 2.2)."""

_SCALARS = frozenset({str, int, bool, type(None)})

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


def canonical(value: Any) -> bytes:
    """Return the canonical form of a JSON value.

    Raises:
        CanonicalError: a float, an integer beyond 2^53 - 1, a key that is not text, a lone surrogate.
    """
    try:
        _check((value,))
        data = orjson.dumps(value, option=_OPTIONS)
    except (TypeError, RecursionError) as error:
        raise CanonicalError(f"no canonical form: {error}") from error
    if data.isascii():
        # The RFC sorts by UTF-16 code units, orjson by code points; for ASCII that is the same order.
        return data
    try:
        return orjson.dumps(_sorted_utf16(value))
    except TypeError as error:
        raise CanonicalError(f"no canonical form: {error}") from error


def _check(values: Iterable[Any]) -> None:
    """Refuse the types that orjson takes and the canonical form leaves out; it refuses keys and integers by itself."""
    for value in values:
        kind = type(value)
        if kind in _SCALARS:
            continue
        if kind is dict:
            _check(value.values())
        elif kind is list or kind is tuple:
            _check(value)
        else:
            raise CanonicalError(f"{kind.__name__} has no canonical form: {value!r}")


def _sorted_utf16(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted_utf16(value[key]) for key in sorted(value, key=_utf16)}
    if isinstance(value, list | tuple):
        return [_sorted_utf16(item) for item in value]
    return value


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-be", "surrogatepass")
