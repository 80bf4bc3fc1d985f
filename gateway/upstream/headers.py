"""Which header fields pass: allow-lists in both directions.

From the caller only what describes the form of the body and of the answer wished for; never a credential, a cookie, an
address or a forwarding header. From the backend only what describes the body.
"""

from collections.abc import Sequence

_FROM_CALLER = frozenset({b"accept", b"content-type", b"openai-beta"})
_FROM_BACKEND = frozenset({b"content-type", b"content-language", b"openai-processing-ms", b"openai-version"})


def request_headers(headers: Sequence[tuple[bytes, bytes]], traceparent: str) -> list[tuple[bytes, bytes]]:
    """Return the header fields to send to a backend; names in lower case."""
    passed = [header for header in headers if header[0] in _FROM_CALLER]
    passed.append((b"accept-encoding", b"identity"))
    passed.append((b"traceparent", traceparent.encode()))
    return passed


def own_authorization(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the caller's own `Authorization`, for the backends whose configuration says so; no other one gets it."""
    return [header for header in headers if header[0] == b"authorization"]


def response_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the header fields of a backend's answer that the caller gets; names in lower case."""
    return [header for header in headers if header[0] in _FROM_BACKEND]
