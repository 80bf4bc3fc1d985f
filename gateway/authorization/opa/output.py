"""Passes what OPA writes to the gateway's log: line by line, each of bounded length, so many a period."""

import asyncio
import time
from collections import deque

import orjson
import structlog

MAX_LINE = 2000
"""Longest part of a line that is passed on (characters)."""

LINES, PERIOD = 100, 60.0
"""Most lines passed on in a period (seconds); the rest is counted."""

_log = structlog.get_logger("govgateway.opa")


async def relay_output(stream: asyncio.StreamReader, last: deque[str]) -> None:
    """Read to the end of the stream; keep the latest lines in `last` for an error message."""
    bound = _Bound()
    pending = b""
    while data := await stream.read(4096):
        *lines, pending = (pending + data).split(b"\n")
        pending = pending[: 4 * MAX_LINE]
        for line in lines:
            _relay(line, last, bound)
    if pending:
        _relay(pending, last, bound)


class _Bound:
    """Counts the lines of a period."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._lines = 0

    def passes(self) -> bool:
        """Whether another line may be passed on."""
        now = time.monotonic()
        if now - self._start > PERIOD:
            if self._lines > LINES:
                _log.warning("policy-engine-output-dropped", lines=self._lines - LINES)
            self._start, self._lines = now, 0
        self._lines += 1
        return self._lines <= LINES


def _relay(line: bytes, last: deque[str], bound: _Bound) -> None:
    level, text = _parse(line)
    if not text:
        return
    last.append(text)
    if bound.passes():
        log = _log.error if level in {"error", "fatal", "panic"} else _log.info
        log("policy-engine-output", detail=text)


def _parse(line: bytes) -> tuple[str, str]:
    """Return level and text of a line: OPA writes JSON to its log, and plain text before there is one."""
    text = line.decode(errors="replace").strip()[:MAX_LINE]
    try:
        document = orjson.loads(line)
    except ValueError:
        return "error", text
    if not isinstance(document, dict) or not isinstance(document.get("msg"), str):
        return "error", text
    details = [str(document[key]) for key in ("err", "error") if document.get(key)]
    return str(document.get("level", "")), ": ".join([document["msg"], *details])[:MAX_LINE]
