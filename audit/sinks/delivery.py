"""Hands a batch to a sink and finds the records that it refuses."""

from collections.abc import Callable, Iterator, Sequence

from audit.sinks.base import Sink
from audit.sinks.errors import SinkRefusedError
from audit.store.base import StoredRecord

Batch = Sequence[StoredRecord]


class RefusedRecordError(Exception):
    """A record that the receiver refuses, and nobody asked to divert it."""

    def __init__(self, record: StoredRecord, cause: str) -> None:
        super().__init__(f"refuses the record {record.sequence} of the chain {record.chain}: {cause}")


Divert = Callable[[Batch, dict[int, str]], None]
"""Keeps the refused records of a batch (by index, with the cause) elsewhere, durably."""


def deliver(sink: Sink, batch: Batch, divert: Divert | None) -> Iterator[StoredRecord]:
    """Send a batch; yield the last record of each part that is done with.

    A part that is refused without saying which records are at fault is halved until they are found. Those before them
    are sent first, so the order within the chain stays.

    Args:
        sink: where to.
        batch: records of one chain.
        divert: what becomes of refused records; None: stop at the first.

    Raises:
        SinkUnavailableError: the rest is to be tried again.
        RefusedRecordError: a record is refused; those before it are sent.
    """
    parts = [batch]
    while parts:
        part = parts.pop()
        try:
            sink.send(part)
        except SinkRefusedError as error:
            if not error.refused and len(part) > 1:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
                continue
            refused = error.refused or {0: str(error)}
            if divert is None:
                first = min(refused)
                if first > 0:
                    yield part[first - 1]
                raise RefusedRecordError(part[first], refused[first]) from error
            divert(part, refused)
        yield part[-1]
