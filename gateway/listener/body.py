"""Request bodies put together from the wire: of a known length, or in chunks read strictly (RFC 9112, 7.1)."""

import re
from typing import Protocol

from gateway.errors import BodyTooLargeError, RequestError

CHUNK_OVERHEAD_BYTES = 16_384
"""Bytes of chunk framing allowed beyond the size of the body itself: bodies of one-byte chunks cost the
listener more than the sender."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_SIZE_LINE_BEGIN = re.compile(rb"(?:[0-9A-Fa-f]{1,8}\r?)?")
_LONGEST_SIZE_LINE = 10


class BodyReader(Protocol):
    """Takes the bytes that follow a head until the body is complete."""

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; return those beyond the body's end, or None while the body is not complete.

        Raises:
            RequestError: a rule is broken; BodyTooLargeError among them.
        """

    def body(self) -> bytes:
        """Return the complete body."""


def too_large(limit: int) -> BodyTooLargeError:
    """Return the error for a body larger than `limit` bytes."""
    return BodyTooLargeError(
        f"The request body is larger than {limit} bytes.", remedy="Send less.", code="body-too-large"
    )


class LengthBody:
    """A body of a known number of bytes."""

    __slots__ = ("_left", "_parts")

    def __init__(self, length: int) -> None:
        self._left = length
        self._parts = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        left = self._left
        if len(data) < left:
            self._parts += data
            self._left = left - len(data)
            return None
        self._parts += data[:left]
        self._left = 0
        return data[left:]

    def body(self) -> bytes:
        return bytes(self._parts)


class ChunkedBody:
    """A body in chunks. Sizes of one to eight hexadecimal digits; no extensions, no trailers."""

    __slots__ = ("_ended", "_left", "_limit", "_overhead", "_parts", "_pending", "_separator")

    def __init__(self, limit: int) -> None:
        """Args: limit: largest body (bytes)."""
        self._limit = limit
        self._parts = bytearray()
        self._pending = b""
        self._left = 0
        self._separator = False
        self._ended = False
        self._overhead = 0

    def body(self) -> bytes:
        return bytes(self._parts)

    def feed(self, data: bytes) -> bytes | None:
        if self._pending:
            data = self._pending + data
            self._pending = b""
        at = 0
        while True:
            if self._left:
                piece = data[at : at + self._left]
                self._parts += piece
                self._left -= len(piece)
                at += len(piece)
                if self._left:
                    return None
                self._separator = True
            if self._separator:
                if not self._line_end(data, at):
                    return None
                at += 2
                self._separator = False
                if self._ended:
                    return data[at:]
            size_line = _SIZE_LINE.match(data, at)
            if size_line is None:
                self._keep_partial_size(data, at)
                return None
            at = size_line.end()
            self._begin_chunk(int(size_line[1], 16), len(size_line[0]))

    def _begin_chunk(self, size: int, framing: int) -> None:
        self._overhead += framing + 2
        if len(self._parts) + size > self._limit:
            raise too_large(self._limit)
        if self._overhead > CHUNK_OVERHEAD_BYTES + len(self._parts) + size:
            raise RequestError(
                "The chunks of the request body are too small.",
                remedy="Send larger chunks, or a Content-Length.",
                code="chunk-overhead",
            )
        self._left = size
        if size == 0:
            self._ended = self._separator = True

    def _line_end(self, data: bytes, at: int) -> bool:
        """Whether CR LF is at `at`; False if it is not complete yet."""
        found = data[at : at + 2]
        if found == b"\r\n":
            return True
        if len(found) == 2 or found not in (b"", b"\r"):
            if self._ended:
                raise RequestError(
                    "There are trailers after the last chunk, or it does not end in CR LF.",
                    remedy="Send all fields in the head.",
                    code="trailers",
                )
            raise RequestError("A chunk does not end in CR LF after its size.", code="chunk-framing")
        self._pending = found
        return False

    def _keep_partial_size(self, data: bytes, at: int) -> None:
        rest = data[at : at + _LONGEST_SIZE_LINE + 1]
        if _SIZE_LINE_BEGIN.fullmatch(rest) is None:
            digits = rest.lstrip(b"0123456789abcdefABCDEF")
            if digits[:1] in (b";", b" ", b"\t"):
                raise RequestError(
                    "A chunk has an extension.", remedy="Send chunks without extensions.", code="chunk-extension"
                )
            raise RequestError(
                "The size of a chunk is not one to eight hexadecimal digits and CR LF.", code="chunk-size"
            )
        self._pending = rest
