"""Splits a stream of server-sent events into whole events, whatever chunks they arrive in.

Events end with a blank line (WHATWG HTML, section 9.2.5). Lines end with LF or CRLF; a carriage return alone,
which that standard allows and no model server sends, is refused, for readers differ on it.
"""

import re

MAX_EVENT = 1_048_576
"""Largest event (bytes)."""

_BLANK_LINE = re.compile(rb"\n\r?\n")


class EventError(ValueError):
    """The stream breaks the rules above; the message says how."""


class EventSplitter:
    """Takes chunks, gives whole events. Which chunks the bytes come in makes no difference to the events,
    except that blank lines between events may stand before the next event or stand alone.
    """

    __slots__ = ("_held", "_size", "_tail")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0
        self._tail = b""

    @property
    def held(self) -> int:
        """Bytes held back of an event under way."""
        return self._size

    def split(self, chunk: bytes) -> list[bytes]:
        """Return the events that are complete with this chunk, each with its closing blank line."""
        joint = self._tail + chunk
        if _BLANK_LINE.search(joint) is None:
            self._hold(chunk, joint)
            return []
        buffer = b"".join([*self._held, chunk]) if self._held else chunk
        events = []
        start = 0
        for match in _BLANK_LINE.finditer(buffer):
            end = match.end()
            events.append(buffer[start:end])
            start = end
        self._held = []
        self._size = 0
        self._tail = b""
        if start < len(buffer):
            rest = buffer[start:]
            self._hold(rest, rest)
        return events

    def rest(self) -> bytes:
        """Return what is held back at the end of the stream, and let go of it."""
        rest = b"".join(self._held)
        self._held = []
        self._size = 0
        self._tail = b""
        return rest

    def _hold(self, chunk: bytes, joint: bytes) -> None:
        self._size += len(chunk)
        self._held.append(chunk)
        self._tail = joint[-2:]


def check_size(size: int) -> None:
    """Check the size of an event, or of the part of it that arrived (bytes).

    Raises:
        EventError: larger than `MAX_EVENT`.
    """
    if size > MAX_EVENT:
        raise EventError(f"an event is larger than {MAX_EVENT} bytes")


def check_event(event: bytes) -> None:
    """Check one whole event.

    Raises:
        EventError: larger than `MAX_EVENT`, or with a carriage return alone.
    """
    check_size(len(event))
    if b"\r" in event and event.count(b"\r") != event.count(b"\r\n"):
        raise EventError("a line ends with a carriage return alone")


def event_data(event: bytes) -> bytes:
    """Return the data of an event: its data lines, joined by line feeds."""
    lines = []
    for line in event.splitlines():
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines)


def with_data(event: bytes, data: bytes) -> bytes:
    """Return the event with other data, in one line where the first data line stood."""
    lines = []
    written = False
    for line in event.splitlines(keepends=True):
        if not line.startswith(b"data:") and line.rstrip(b"\r\n") != b"data":
            lines.append(line)
        elif not written:
            name = b"data: " if line.startswith(b"data: ") else b"data:"
            lines.append(name + data + (b"\r\n" if line.endswith(b"\r\n") else b"\n"))
            written = True
    return b"".join(lines)
