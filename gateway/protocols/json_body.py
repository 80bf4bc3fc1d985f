"""Strict JSON bodies: one document, one meaning, whoever parses it next.

Two parsers may only be trusted to see the same document when nothing in it is left to them. So a body is
refused unless it is declared as JSON, is plain UTF-8, has no duplicate key at any depth (RFC 8259, section 4,
leaves their meaning open), no number that does not fit 64 bits (section 6), no unpaired surrogate
(section 8.2), and stays within bounds of nesting and size. The `code` of each refusal names the rule.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from gateway.errors import MediaTypeError, RequestError
from gateway.protocols.base import Headers

MAX_DEPTH = 64
"""Deepest nesting of objects and arrays (levels)."""

MAX_KEYS = 50_000
"""Most members of all objects of a document together."""

MAX_CONTAINERS = 50_000
"""Most objects and arrays of a document together."""

MAX_VALUES = 1_000_000
"""Most values of all objects and arrays of a document together."""

MAX_SEARCHED = 50_000
"""How many values are looked at to name the place of a fault; beyond them the place is left out."""

_MIN_INTEGER = -(2**63)
_MAX_INTEGER = 2**64 - 1
_LONG_LIST = 32
_SCALARS = frozenset({str, int, bool, type(None)})
_NUMBERS = frozenset({int, float})
_JSON_TYPES = frozenset({b"application/json", b"application/json; charset=utf-8"})


class _DuplicateKeyError(ValueError):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class _BoundError(ValueError):
    """A bound of depth or number is passed; `_refuse_bound` finds out which and where."""


def require_json(headers: Headers) -> None:
    """Check that the body is declared as JSON, in UTF-8 and without a content coding.

    Raises:
        MediaTypeError: another content type, more than one, none, or a content encoding.
    """
    declared: list[bytes] = []
    for name, value in headers:
        if name == b"content-type":
            declared.append(value)
        elif name == b"content-encoding":
            raise MediaTypeError(
                "The body has a content encoding, which the gateway does not decode.",
                remedy="Send the body uncompressed, without a content-encoding header.",
                code="content_encoding_unsupported",
            )
    if len(declared) == 1 and (declared[0] in _JSON_TYPES or _is_json(declared[0])):
        return
    if not declared:
        raise MediaTypeError(
            "The request has no content-type header.",
            remedy="Send 'content-type: application/json'.",
            code="content_type_missing",
        )
    raise MediaTypeError(
        "The content type of the request is not application/json in UTF-8."
        if len(declared) == 1
        else "The request has more than one content-type header.",
        remedy="Send 'content-type: application/json' once.",
        code="content_type_unsupported",
    )


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Parse a body whose top level is an object.

    Raises:
        RequestError: the body breaks one of the rules above; the detail says where.
    """
    if len(body) > MAX_VALUES and _outside_strings(body, b",") >= MAX_VALUES:
        raise RequestError(
            f"The JSON body has more than {MAX_VALUES} values.",
            remedy="Split the request.",
            code="json_too_many_values",
        )
    if len(body) > MAX_CONTAINERS and _outside_strings(body, b"[", b"{") > MAX_CONTAINERS:
        raise RequestError(
            f"The JSON body has more than {MAX_CONTAINERS} objects and arrays.",
            remedy="Split the request.",
            code="json_too_many_containers",
        )
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _syntax_error(body, error) from None
    if type(document) is not dict:
        raise RequestError("The JSON body is not an object.", remedy="Send one object: {…}.", code="json_not_an_object")
    try:
        keys = _count_keys(document, 1)
    except _BoundError:
        raise _bound_error(document) from None
    if keys > MAX_KEYS:
        raise RequestError(
            f"The JSON body has {keys} members; at most {MAX_KEYS} are taken.",
            remedy="Split the request.",
            code="json_too_many_keys",
        )
    # A duplicate key is lost in parsing. If the document written out again is the body to the byte, none was.
    if orjson.dumps(document) != body:
        _refuse_duplicates(body)
    return document


def _is_json(value: bytes) -> bool:
    media_type, *parameters = value.lower().split(b";")
    if media_type.strip() != b"application/json":
        return False
    return all(parameter.strip() in {b"charset=utf-8", b'charset="utf-8"', b"charset=utf8"} for parameter in parameters)


def _outside_strings(body: bytes, *marks: bytes) -> int:
    """Return how often the marks occur in the body: exactly outside of strings where it matters, else at most so."""
    count = sum(body.count(mark) for mark in marks)
    if count <= MAX_CONTAINERS:
        return count
    inside = False
    count = 0
    # Without escapes every quote opens or closes a string; what lies between is text.
    for part in body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"'):
        if not inside:
            count += sum(part.count(mark) for mark in marks)
        inside = not inside
    return count


def _count_keys(container: dict[str, Any] | list[Any], depth: int) -> int:
    if depth > MAX_DEPTH:
        raise _BoundError
    keys = 0
    values: Any
    if type(container) is dict:
        keys = len(container)
        values = container.values()
    else:
        values = container
        if len(values) > _LONG_LIST:
            kinds = set(map(type, values))
            if kinds <= _SCALARS:
                return 0
            if kinds <= _NUMBERS and min(values) > _MIN_INTEGER and max(values) <= _MAX_INTEGER:
                return 0
    for value in values:
        kind = type(value)
        if kind is dict or kind is list:
            keys += _count_keys(value, depth + 1)
        elif kind is float and not _MIN_INTEGER < value <= _MAX_INTEGER:
            raise _BoundError  # an integer outside of 64 bits is parsed as a float at or beyond these
    return keys


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return members


_DUPLICATE_FINDER = json.JSONDecoder(object_pairs_hook=_unique)


def _refuse_duplicates(body: bytes) -> None:
    text = body.decode()
    try:
        _DUPLICATE_FINDER.decode(text)
    except RecursionError:  # in a value that a later duplicate of its key replaces
        raise RequestError(
            f"The JSON body nests deeper than {MAX_DEPTH} levels.",
            remedy="Send a flatter document.",
            code="json_too_deep",
        ) from None
    except _DuplicateKeyError as error:
        raise RequestError(
            f"The key {_shown(error.key)} occurs twice in {_duplicate_place(text, error.key)}.",
            remedy="Send each key once.",
            code="json_duplicate_key",
        ) from None


def _duplicate_place(text: str, key: str) -> str:
    """Return the path of the object that has `key` twice; parses again, for the message only."""

    class Doubled(dict[str, Any]):
        pass

    def mark(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = sum(name == key for name, _ in pairs) > 1
        return Doubled(pairs) if twice else dict(pairs)

    document = json.JSONDecoder(object_pairs_hook=mark).decode(text)
    for path, value in _walk(document, ""):
        if isinstance(value, Doubled):
            return path or "the top level"
    return "an object that a later duplicate replaces"


def _bound_error(document: dict[str, Any]) -> RequestError:
    searched = 0
    for path, value in _walk(document, ""):
        if type(value) is float and not _MIN_INTEGER < value <= _MAX_INTEGER:
            return RequestError(
                f"The number at {path} does not fit 64 bits.",
                remedy=f"Send numbers from {_MIN_INTEGER} to {_MAX_INTEGER}.",
                code="json_number_out_of_range",
            )
        searched += 1
    if searched >= MAX_SEARCHED:
        return RequestError(
            "The JSON body has a number that does not fit 64 bits, or nests too deeply.",
            remedy=f"Send numbers from {_MIN_INTEGER} to {_MAX_INTEGER}, in at most {MAX_DEPTH} levels.",
            code="json_out_of_bounds",
        )
    return RequestError(
        f"The JSON body nests deeper than {MAX_DEPTH} levels.",
        remedy="Send a flatter document.",
        code="json_too_deep",
    )


def _walk(document: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the values of a document with their places, at most `MAX_SEARCHED` of them: a refusal must stay cheap."""
    waiting: list[tuple[str, Any, int]] = [(path, document, 0)]
    seen = 0
    while waiting:
        place, value, depth = waiting.pop()
        yield place, value
        if depth > MAX_DEPTH:
            continue
        if isinstance(value, dict):
            inner = [(f"{place}.{key[:40]}" if place else key[:40], each) for key, each in value.items()]
        elif isinstance(value, list):
            inner = [(f"{place}[{index}]", each) for index, each in enumerate(value[: MAX_SEARCHED - seen])]
        else:
            continue
        seen += len(inner)
        if seen > MAX_SEARCHED:
            return
        waiting.extend((name, each, depth + 1) for name, each in reversed(inner))


def _syntax_error(body: bytes, error: orjson.JSONDecodeError) -> RequestError:
    try:
        text = body.decode()
    except UnicodeDecodeError as wrong:
        detail = f"The body is not UTF-8: byte {wrong.start} cannot be decoded."
        return RequestError(detail, remedy="Send the body in UTF-8.", code="json_not_utf8")
    place = f"line {error.lineno}, column {error.colno}"
    reason = error.msg.lower()
    if not body:
        code, detail, remedy = "body_empty", "The request has no body.", "Send a JSON object."
    elif text.startswith("\ufeff"):
        code, detail = "json_byte_order_mark", "The JSON body begins with a byte order mark."
        remedy = "Send UTF-8 without a byte order mark."
    elif "surrogate" in reason:
        code, detail = "json_lone_surrogate", f"A string has half of a surrogate pair at {place}."
        remedy = "Send both halves of the pair, or the character itself."
    elif "depth" in reason or "recursion" in reason:
        code, detail = "json_too_deep", f"The JSON body nests deeper than {MAX_DEPTH} levels."
        remedy = "Send a flatter document."
    elif "infinity" in reason:
        code, detail = "json_number_out_of_range", f"The number at {place} does not fit 64 bits."
        remedy = f"Send numbers from {_MIN_INTEGER} to {_MAX_INTEGER}."
    elif text[error.pos : error.pos + 9].lstrip("-").startswith(("NaN", "Infinity")):
        code, detail = "json_not_a_number", f"NaN and Infinity are no JSON numbers: {place}."
        remedy = "Send a finite number or null."
    else:
        code, detail = "json_syntax", f"The body is not JSON: {error.msg} at {place}."
        remedy = "Send one valid JSON object."
    return RequestError(detail, remedy=remedy, code=code)


def _shown(key: str) -> str:
    return f'"{key[:40]}"'
