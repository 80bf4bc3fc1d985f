"""Records of the log about itself: keys, checkpoints' witnesses, segments, holds, the clock."""

from typing import Literal

from pydantic import Field

from audit.events.base import (
    Count,
    EventDefinition,
    Id,
    Integer,
    Name,
    Nanoseconds,
    Part,
    Principal,
    Record,
    Sha256,
    Text,
    absent,
    define,
)


class LogRecovered(Record):
    """Written when records can be written again after the store had failed."""

    type: Literal["log.recovered"]
    cause: Text = Field(description="Why they could not be.")


class LogBroken(Record):
    """Written when the log is found not to be what it was, where it still can be; the tree goes no further."""

    type: Literal["log.broken"]
    cause: Text


class LogCheckpointKeyCreated(Record):
    """Written when a key was made that signs the log's checkpoints."""

    type: Literal["log.checkpoint_key_created"]
    verifier_key: Text = Field(description="The verifier key (C2SP signed note).")


class LogCheckpointKeyRotated(Record):
    """Written when another key signs the log's checkpoints from now on."""

    type: Literal["log.checkpoint_key_rotated"]
    principal: Principal
    verifier_key: Text = Field(description="The verifier key (C2SP signed note).")
    replaced: Name = Field(description="The verifier key before.")
    cause: Text


class Journal(Part):
    """Where the journal of the retention stood, so that one that was shortened is noticed."""

    entries: Count
    head: Sha256


class _Kept(Record):
    principal: Principal
    journal: Journal


class _Segment(_Kept):
    segment: Name = Field(description="Number of the segment.")
    start: Count = Field(description="Index of its first record in the tree.")
    end: Count = Field(description="Index after its last record: the size of the tree that closes it.")
    root: Sha256 = Field(description="Root of the tree of that size.")


class LogSealed(_Segment):
    """Written when a segment is closed: nothing is added to it any more, and only whole segments are deleted."""

    type: Literal["log.sealed"]


class LogSegmentDeleted(_Segment):
    """Written before the records of a segment whose time has passed are deleted; the hashes stay."""

    type: Literal["log.segment_deleted"]
    records: Count
    cause: Text = Field(description="The rules of retention that allow it.")


class Hold(Part):
    """What a legal hold keeps. An empty list means all."""

    types: list[Name]
    systems: list[Text]
    principals: list[Id] = Field(description="As caller, as one whom the caller acts for, or as one acted on.")
    since: Count = Field(description="UNIX seconds; 0 is from the beginning.")
    until: Count = Field(description="UNIX seconds, not included; 0 is without an end.")


class LogLegalHoldSet(_Kept):
    """Written when a legal hold begins: what it covers is not deleted."""

    type: Literal["log.legal_hold_set"]
    hold: Name
    covers: Hold
    cause: Text


class LogLegalHoldLifted(_Kept):
    """Written when a legal hold ends."""

    type: Literal["log.legal_hold_lifted"]
    hold: Name
    cause: Text


class ClockStepped(Record):
    """Written when the clock of a writer went back: the records after it may be earlier than those before."""

    type: Literal["clock.stepped"]
    before: Nanoseconds = Field(description="Time of the writer's record before this one.")
    seconds: Integer = Field(description="By how much the clock moved; negative: back.")


class ClockStatus(Record):
    """Written at start, and when synchronisation begins or ends: what keeps the clock, and how far off it may be."""

    type: Literal["clock.status"]
    source: Name = Field(description="What keeps the clock, as the operating system says.")
    synchronised: bool
    offset_us: Integer = absent("Measured offset, microseconds.")
    error_us: Count = absent("Largest error, microseconds.")


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(LogRecovered, "integrity", "high"),
    define(LogBroken, "integrity", "critical"),
    define(LogCheckpointKeyCreated, "integrity", "medium"),
    define(LogCheckpointKeyRotated, "integrity", "medium", written=False),
    define(LogSealed, "integrity"),
    define(LogSegmentDeleted, "integrity", "medium"),
    define(LogLegalHoldSet, "integrity", "medium"),
    define(LogLegalHoldLifted, "integrity", "medium"),
    define(ClockStepped, "integrity", "medium"),
    define(ClockStatus, "integrity"),
)
