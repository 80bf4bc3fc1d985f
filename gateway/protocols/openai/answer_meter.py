"""The meter of an answer that comes whole: relayed unchanged, checked to be one, its usage read."""

import orjson

from gateway.errors import UpstreamError
from gateway.protocols.base import Usage
from gateway.protocols.openai.routes import Route
from gateway.protocols.openai.usage import read_usage

MAX_ANSWER = 64 * 1024 * 1024
"""Largest answer (bytes)."""


class AnswerMeter:
    """Holds the bytes back until the answer is complete, so that nothing of a broken one is relayed.

    Where the backend reports no usage, `usage.known` stays False and the worst case is charged.
    """

    __slots__ = ("_parts", "_route", "_size", "usage")

    def __init__(self, route: Route) -> None:
        self.usage = Usage()
        self._route = route
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the answer; nothing is relayed before its end."""
        self._size += len(data)
        if self._size > MAX_ANSWER:
            raise UpstreamError(
                f"The answer of the model server is larger than {MAX_ANSWER} bytes.",
                remedy="Ask for less at once.",
                code="upstream_answer_too_large",
            )
        self._parts.append(data)
        return b""

    def finish(self) -> bytes:
        """Return the answer as it came, having read its usage."""
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise _garbage("is not JSON, or not complete") from None
        if type(document) is not dict or type(document.get(self._route.answer_key)) is not list:
            raise _garbage(f'has no "{self._route.answer_key}"')
        figures = read_usage(document.get("usage"))
        if figures is not None:
            self.usage.input_tokens, self.usage.output_tokens = figures
            self.usage.known = True
        return body


def _garbage(what: str) -> UpstreamError:
    return UpstreamError(
        f"The answer of the model server {what}.",
        remedy="The operator has to look at the model server.",
        code="upstream_garbage",
    )
