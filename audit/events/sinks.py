"""Records of the sinks: copies of the log on their way to other systems."""

from typing import Literal

from pydantic import Field

from audit.events.base import Count, EventDefinition, Name, Record, Text, absent, define


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


class _Copies(Record):
    sink: Name
    of_chain: Name = Field(description="Chain of the records that are meant.")
    cause: Text


class SinkRecordsMissed(_Copies):
    """Written when records were gone from the log before a sink took them: its receiver never gets these."""

    type: Literal["sink.records_missed"]
    first: Count = Field(description="Sequence number of the first of them.")
    stop: Count = Field(description="Sequence number after the last of them.")


class SinkRecordsDiverted(_Copies):
    """Written when a receiver refuses records for good, and they were put into the sink's dead letters instead."""

    type: Literal["sink.records_diverted"]
    sequences: list[Count] = Field(description="Sequence numbers of the records.")


class SinkRestarted(Record):
    """Written when what is kept is sent again from its beginning: the cursor was lost, or a chain is another one."""

    type: Literal["sink.restarted"]
    sink: Name
    of_chain: Name = absent("Chain that is sent again; absent where all are.")
    cause: Text


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(SinkFailed, "integrity", "medium"),
    define(SinkRecovered, "integrity", "low"),
    define(SinkRecordsMissed, "integrity", "high"),
    define(SinkRecordsDiverted, "integrity", "medium"),
    define(SinkRestarted, "integrity", "medium"),
)
