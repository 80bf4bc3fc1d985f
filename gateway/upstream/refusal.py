"""What a backend says about a caller's request, reduced to what a caller may see."""

import re
from typing import Any

import orjson

MAX_TEXT = 1000
"""Longest text passed on of each field (characters)."""

_SECRET = re.compile(r"(?i)\b(bearer|basic|authorization|api[-_]?key|token|cookie)\b|\bsk-")
_GENERIC = "The model server refused the request."


def caller_error(body: bytes) -> bytes:
    """Return an error in the shape of the OpenAI API with the known fields of the backend's, and nothing else of it.

    A text that speaks of credentials is replaced: a backend may echo the head of the gateway's own request.
    """
    fields = _fields(body)
    message = _text(fields.get("message")) or _GENERIC
    error: dict[str, Any] = {"message": message, "type": _text(fields.get("type")) or "invalid_request_error"}
    error["param"] = _text(fields.get("param"))
    code = fields.get("code")
    error["code"] = code if type(code) is int else _text(code)
    return orjson.dumps({"error": error})


def _fields(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(document, dict):
        return {}
    inner = document.get("error")
    return inner if isinstance(inner, dict) else document


def _text(value: object) -> str | None:
    if not isinstance(value, str) or _SECRET.search(value):
        return None
    return "".join(each if each.isprintable() else " " for each in value[:MAX_TEXT])
