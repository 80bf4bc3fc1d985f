"""Records of the sinks: copies of the log on their way to other systems."""

from typing import Literal

from pydantic import Field

from audit.events.base import Count, EventDefinition, Name, Record, Text, define


class SinkFailed(Record):
    """Written when a sink takes no records any more; what it missed is sent once it does again."""

    type: Literal["sink.failed"]
    sink: Name
    cause: Text


class SinkRecovered(Record):
    """Written when a sink takes records again."""

    type: Literal["sink.recovered"]
    sink: Name
    behind: Count = Field(description="Records that waited for it.")


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(SinkFailed, "integrity", "medium", written=False),
    define(SinkRecovered, "integrity", "low", written=False),
)
