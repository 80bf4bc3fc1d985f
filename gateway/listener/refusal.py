"""The listener's own answers: a problem document (RFC 9457), after which the connection closes."""

from http import HTTPStatus

import orjson

from gateway.errors import GatewayError

STATUS_LINES = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, phrase)
    for status in range(200, 600)
    for phrase in (
        HTTPStatus(status).phrase.encode("ascii") if status in HTTPStatus._value2member_map_ else b"Unassigned",
    )
}


def render(error: GatewayError, date: bytes) -> bytes:
    """Return the whole answer; `date` is a complete `Date` header line."""
    body = orjson.dumps(error.problem())
    head = [
        STATUS_LINES[error.status],
        date,
        b"content-type: application/problem+json\r\nconnection: close\r\ncontent-length: %d\r\n" % len(body),
    ]
    head.extend(b"%b: %b\r\n" % (name, value) for name, value in error.headers)
    head.append(b"\r\n")
    head.append(body)
    return b"".join(head)
