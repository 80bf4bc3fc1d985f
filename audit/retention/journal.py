"""The book of segments, holds and deletions: one hash-linked file, only ever added to.

Each line is a canonical JSON object that names the hash of the line before. What is read is the sum of all lines, so a
line that was changed, taken out or moved is noticed at once. That lines were cut off the end is noticed with the help
of the log, whose records name how many lines there were and the hash of the last: see `check`.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from audit.canonical import canonical
from audit.chain import GENESIS, Head
from audit.errors import CanonicalError
from audit.retention.errors import RetentionError
from audit.retention.holds import Covers, Hold
from audit.retention.segments import Segment

FILE_NAME = "retention.journal"


@dataclass(slots=True)
class Book:
    """What the journal says, all lines taken together.

    Attributes:
        segments: all that were closed, in order.
        holds: those that stand, by id.
        lifted: ids of those that were lifted.
        begun: number of the segment whose deletion was begun and is not done; 0 if none is.
        recorded: whether that deletion is on record, so that rows may be gone.
        deleted: how many segments, from the first on, are deleted.
        entries: number of lines.
        head: hash of the last line (hex).
    """

    segments: list[Segment] = field(default_factory=list)
    holds: dict[str, Hold] = field(default_factory=dict)
    lifted: set[str] = field(default_factory=set)
    begun: int = 0
    recorded: bool = False
    deleted: int = 0
    entries: int = 0
    head: str = GENESIS

    def beginning(self, chain: str) -> tuple[Head, Head]:
        """Return where the kept part of a chain may begin.

        The first kept record follows the first of the two ends if nothing is being deleted (both are the same then). If
        a deletion was interrupted, it lies between them, and the second end is a record that is still there.
        """
        done = self.segments[self.deleted - 1].heads.get(chain, Head()) if self.deleted else Head()
        return done, self.segments[self.begun - 1].heads.get(chain, done) if self.begun else done

    def mark(self) -> dict[str, Any]:
        """Return what the log is told of the journal, so that a shortened one is noticed."""
        return {"entries": self.entries, "head": self.head}


class Journal:
    """The journal in a directory, for one process at a time; others wait.

    Args:
        directory: where the file is.
        log: name of the log.
        clock: UNIX time in nanoseconds.
    """

    def __init__(self, directory: Path, log: str, clock: Callable[[], int]) -> None:
        self._path = directory / FILE_NAME
        self._log = log
        self._clock = clock

    def read(self, until: int | None = None) -> Book:
        """Return what the journal says, or said after its first `until` lines.

        Raises:
            RetentionError: it was changed, or cannot be read.
        """
        book = Book()
        for document, digest in self._lines():
            if until is not None and book.entries >= until:
                break
            self._apply(book, document)
            book.entries += 1
            book.head = digest
        return book

    def check(self, marks: Iterable[tuple[int, str]]) -> Book:
        """Return what the journal says, once it holds all that the log knows of it.

        Args:
            marks: number of lines and hash of the last, as records of the log name them.

        Raises:
            RetentionError: lines were cut off its end, or it was written anew.
        """
        wanted = dict(marks)
        hashes = {0: GENESIS}
        for number, (_, digest) in enumerate(self._lines(), 1):
            hashes[number] = digest
        for entries, head in sorted(wanted.items()):
            if hashes.get(entries) != head:
                raise RetentionError(
                    f"{self._path} is not the one that the log knows: line {entries} is missing or another one. "
                    f"Nothing is deleted until it is restored."
                )
        return self.read()

    @contextmanager
    def locked(self) -> "Iterator[Writer]":
        """Hold the journal for writing."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RetentionError(f"{self._path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Writer(self, descriptor, self._log, self._clock)
        finally:
            os.close(descriptor)

    def _lines(self) -> Iterator[tuple[dict[str, Any], str]]:
        try:
            content = self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            raise RetentionError(f"{self._path} cannot be read: {error.strerror}") from error
        head = GENESIS
        # What follows the last line feed was being written when the process was killed: nobody was told of it.
        for number, line in enumerate(content.split(b"\n")[:-1]):
            try:
                document = orjson.loads(line)
                good = canonical(document) == line and (document["n"], document["prev"]) == (number, head)
                good = good and document["log"] == self._log
            except (orjson.JSONDecodeError, CanonicalError, KeyError, TypeError):
                good = False
            if not good:
                raise RetentionError(
                    f"{self._path} was changed: line {number + 1} does not follow the one before it. Nothing is "
                    f"deleted until it is restored."
                )
            head = sha256(line).hexdigest()
            yield document, head

    def _apply(self, book: Book, document: dict[str, Any]) -> None:
        try:
            _APPLY[document["kind"]](book, document)
        except (KeyError, IndexError, ValueError) as error:
            raise RetentionError(f"{self._path}: line {book.entries + 1} makes no sense here") from error


class Writer:
    """Adds lines while the journal is held."""

    def __init__(self, journal: Journal, descriptor: int, log: str, clock: Callable[[], int]) -> None:
        self._descriptor = descriptor
        self._journal = journal
        self._log = log
        self._clock = clock
        self.book = journal.read()

    def append(self, kind: str, fields: dict[str, Any]) -> Book:
        """Add a line; it is on disk when this returns what the journal says then.

        Raises:
            RetentionError: it cannot be written.
        """
        book = self.book
        line = canonical(
            {
                **fields,
                "kind": kind,
                "log": self._log,
                "n": book.entries,
                "prev": book.head,
                "time": str(self._clock()),
            }
        )
        try:
            size = os.fstat(self._descriptor).st_size
            content = os.pread(self._descriptor, size, 0)
            whole = content.rfind(b"\n") + 1
            if whole != size:
                os.ftruncate(self._descriptor, whole)
            os.write(self._descriptor, line + b"\n")
            os.fsync(self._descriptor)
        except OSError as error:
            raise RetentionError(f"the journal of retention cannot be written: {error.strerror}") from error
        self.book = self._journal.read()
        if self.book.entries != book.entries + 1:
            raise RetentionError("the journal of retention was not written whole: is the disk full?")
        return self.book


def _sealed(book: Book, document: dict[str, Any]) -> None:
    if document["segment"] != len(book.segments) + 1:
        raise ValueError
    last = book.segments[-1] if book.segments else None
    heads = {chain: Head(sequence, digest) for chain, (sequence, digest) in document["heads"].items()}
    book.segments.append(
        Segment(
            number=document["segment"],
            start=last.end if last is not None else 0,
            end=document["end"],
            root=document["root"],
            before=last.heads if last is not None else {},
            heads=heads,
            note=document["note"].encode(),
            sealed_ns=int(document["time"]),
        )
    )


def _hold_set(book: Book, document: dict[str, Any]) -> None:
    covers = Covers.from_document(document["covers"])
    hold = Hold(document["hold"], covers, document["by"], document["cause"], int(document["time"]))
    if hold.hold_id in book.holds or hold.hold_id in book.lifted:
        raise ValueError
    book.holds[hold.hold_id] = hold


def _hold_lifted(book: Book, document: dict[str, Any]) -> None:
    del book.holds[document["hold"]]
    book.lifted.add(document["hold"])


def _deletion_begun(book: Book, document: dict[str, Any]) -> None:
    if book.begun or document["segment"] != book.deleted + 1:
        raise ValueError
    book.begun = book.segments[document["segment"] - 1].number


def _deletion_recorded(book: Book, document: dict[str, Any]) -> None:
    if document["segment"] != book.begun:
        raise ValueError
    book.recorded = True


def _deletion_withdrawn(book: Book, document: dict[str, Any]) -> None:
    if document["segment"] != book.begun or book.recorded:
        raise ValueError
    book.begun = 0


def _deletion_done(book: Book, document: dict[str, Any]) -> None:
    if document["segment"] != book.begun or not book.recorded:
        raise ValueError
    book.deleted, book.begun, book.recorded = book.begun, 0, False


_APPLY: dict[str, Callable[[Book, dict[str, Any]], None]] = {
    "segment.sealed": _sealed,
    "hold.set": _hold_set,
    "hold.lifted": _hold_lifted,
    "deletion.begun": _deletion_begun,
    "deletion.recorded": _deletion_recorded,
    "deletion.withdrawn": _deletion_withdrawn,
    "deletion.done": _deletion_done,
}
