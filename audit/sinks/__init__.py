"""Copies of the log to other systems: at least once, in order within each chain, never in the way of serving."""

from audit.sinks.base import (
    RecordsDiverted,
    RecordsMissed,
    Report,
    Sink,
    SinkEvent,
    SinkFailed,
    SinkRecovered,
    SinkRestarted,
)
from audit.sinks.cursor import CursorFile, read_cursors
from audit.sinks.errors import CursorError, SinkError, SinkRefusedError, SinkUnavailableError
from audit.sinks.follower import Follower
from audit.sinks.forwarding import Following

__all__ = [
    "CursorError",
    "CursorFile",
    "Follower",
    "Following",
    "RecordsDiverted",
    "RecordsMissed",
    "Report",
    "Sink",
    "SinkError",
    "SinkEvent",
    "SinkFailed",
    "SinkRecovered",
    "SinkRefusedError",
    "SinkRestarted",
    "SinkUnavailableError",
    "read_cursors",
]
