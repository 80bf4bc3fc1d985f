"""What a sink can do, and what is reported of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from audit.store.base import StoredRecord


class Sink(Protocol):
    """Takes copies of records. Used by one thread; no method is called by two at a time."""

    def send(self, batch: Sequence[StoredRecord]) -> None:
        """Hand over records of one chain, in order; they are the receiver's when this returns.

        Raises:
            SinkUnavailableError: none of them counts as taken; to be tried again.
            SinkRefusedError: some can never be taken.
        """

    def close(self) -> None:
        """Give back connections. The sink can be used again afterwards."""


@dataclass(frozen=True, slots=True)
class SinkEvent:
    """Something about a sink that belongs on record.

    Attributes:
        sink: its name.
        type: record type.
    """

    type: ClassVar[str] = ""
    sink: str

    def fields(self) -> dict[str, Any]:
        """Return what the record says."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SinkFailed(SinkEvent):
    """It takes no records any more; what it missed is sent once it does again."""

    type: ClassVar[str] = "sink.failed"
    cause: str

    def fields(self) -> dict[str, Any]:
        """Return what the record says."""
        return {"sink": self.sink, "cause": self.cause}


@dataclass(frozen=True, slots=True)
class SinkRecovered(SinkEvent):
    """It takes records again; so many waited for it."""

    type: ClassVar[str] = "sink.recovered"
    behind: int

    def fields(self) -> dict[str, Any]:
        """Return what the record says."""
        return {"sink": self.sink, "behind": self.behind}


@dataclass(frozen=True, slots=True)
class RecordsMissed(SinkEvent):
    """Records that were gone from the store before the sink could take them: from `first` up to, without, `stop`."""

    type: ClassVar[str] = "sink.records_missed"
    of_chain: str
    first: int
    stop: int
    cause: str

    def fields(self) -> dict[str, Any]:
        """Return what the record says."""
        return {
            "sink": self.sink, "of_chain": self.of_chain, "first": self.first, "stop": self.stop, "cause": self.cause,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class SinkRestarted(SinkEvent):
    """How far it came is lost, or is not true of a chain any more: what is kept is sent again from its beginning."""

    type: ClassVar[str] = "sink.restarted"
    of_chain: str
    cause: str

    def fields(self) -> dict[str, Any]:
        """Return what the record says; the chain is left out where all are meant."""
        chain = {"of_chain": self.of_chain} if self.of_chain else {}
        return {"sink": self.sink, **chain, "cause": self.cause}


@dataclass(frozen=True, slots=True)
class RecordsDiverted(SinkEvent):
    """Records that the receiver refuses, kept in the sink's dead letters instead."""

    type: ClassVar[str] = "sink.records_diverted"
    of_chain: str
    sequences: tuple[int, ...]
    cause: str

    def fields(self) -> dict[str, Any]:
        """Return what the record says."""
        return {
            "sink": self.sink, "of_chain": self.of_chain, "sequences": list(self.sequences), "cause": self.cause,
        }  # fmt: skip


Report = Callable[[SinkEvent], None]
"""Puts an event on record and returns when it is durable. Called in the sink's thread; if it raises, it is called again
later, and the sink does not go on before."""
