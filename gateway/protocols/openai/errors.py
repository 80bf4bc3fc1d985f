"""Errors in the shape of OpenAI's API, which its SDKs turn into their own exceptions."""

from typing import Any

import orjson

from gateway.errors import GatewayError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_MAY_PASS = frozenset({408, 429, 500, 502, 503, 504})


def error_answer(error: GatewayError, request_id: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return headers and body of an error answer; the SDKs choose their exception by the status.

    SDKs repeat a call by themselves where the status suggests that this may help. Any other refusal stays what
    it is however often the call is repeated, and `x-should-retry: false` says so.
    """
    body = orjson.dumps({"error": _document(error)})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
    ]
    if error.status not in _MAY_PASS:
        headers.append((b"x-should-retry", b"false"))
    return headers, body


def error_event(error: GatewayError, request_id: str) -> bytes:
    """Return the server-sent event that makes the SDKs raise `APIError` in the middle of a stream.

    The head of the answer is gone by then, so the request id stands in the event.
    """
    return b"data: " + orjson.dumps({"error": {**_document(error), "request_id": request_id}}) + b"\n\n"


def _document(error: GatewayError) -> dict[str, Any]:
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    document: dict[str, Any] = {
        "message": f"{error.detail} {error.remedy}" if error.remedy else error.detail,
        "type": kind,
        "param": error.extensions.get("param"),
        "code": error.code,
    }
    for name, value in error.extensions.items():
        document.setdefault(name, value)
    return document
