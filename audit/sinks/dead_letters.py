"""Records that a receiver refuses for good: a file of JSON lines beside the cursor, only ever added to."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson

from audit.sinks.errors import SinkUnavailableError
from audit.store.base import StoredRecord


class DeadLetters:
    """The dead letters of one sink.

    Args:
        directory: where the file is.
        sink: name of the sink.
        clock: UNIX time in nanoseconds.
    """

    def __init__(self, directory: Path, sink: str, clock: Callable[[], int]) -> None:
        self.path = directory / f"{sink}.dead.jsonl"
        self._clock = clock

    def add(self, batch: Sequence[StoredRecord], refused: Mapping[int, str]) -> None:
        """Keep the refused records of a batch; they are on disk when this returns.

        Args:
            batch: the records.
            refused: which of them, by index, and why.

        Raises:
            SinkUnavailableError: the file cannot be written.
        """
        lines = bytearray()
        for index, cause in sorted(refused.items()):
            record = batch[index]
            line = {
                "time": str(self._clock()),
                "cause": cause,
                "chain": record.chain,
                "seq": record.sequence,
                "hash": record.hash,
                "record": record.record.decode("utf-8", "backslashreplace"),
            }
            lines += orjson.dumps(line) + b"\n"
        try:
            self._append(bytes(lines))
        except OSError as error:
            raise SinkUnavailableError(f"{self.path} cannot be written: {error.strerror}") from error

    def _append(self, lines: bytes) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = _end_of_last_line(descriptor)
            os.ftruncate(descriptor, end)
            view = memoryview(lines)
            while view:
                written = os.pwrite(descriptor, view, end)
                view, end = view[written:], end + written
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _end_of_last_line(descriptor: int) -> int:
    """Return where to go on: what follows the last line feed was being written when the process was killed."""
    size = os.fstat(descriptor).st_size
    step = 1 << 20
    while size > 0:
        start = max(0, size - step)
        found = os.pread(descriptor, size - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0
