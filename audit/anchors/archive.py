"""Keeps time stamps as files, each beside the very bytes that it stamps.

<directory>/<size>-<digest>.checkpoint   the signed note
<directory>/<size>-<digest>.tsr          the authority's answer (RFC 3161, DER)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from audit.anchors.errors import AnchorError
from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.note import note_text
from audit.tlog.tiles import DirectoryTiles

_NOTE, _STAMP = ".checkpoint", ".tsr"


@dataclass(frozen=True, slots=True)
class KeptTimestamp:
    """A time stamp as it is kept, unverified.

    Attributes:
        path: file of the stamp.
        note: the signed checkpoint that it is of.
        response: the authority's answer.
    """

    path: Path
    note: bytes
    response: bytes


class TimestampArchive:
    """The time stamps of one log."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, note: bytes, response: bytes) -> Path:
        """Keep a time stamp and what it is of; on disk when this returns. Return the stamp's path.

        Raises:
            AnchorError: it cannot be written.
        """
        name = f"{parse_checkpoint(note_text(note)).size:020d}-{sha256(note).hexdigest()[:16]}"
        files = DirectoryTiles(self._directory)
        try:
            files.write(name + _NOTE, note)
            files.write(name + _STAMP, response)
        except OSError as error:
            raise AnchorError(f"the time stamp cannot be kept in {self._directory}: {error.strerror}") from error
        return self._directory / (name + _STAMP)

    def all(self) -> Iterator[KeptTimestamp]:
        """Return every time stamp, by size of the tree.

        Raises:
            AnchorError: one cannot be read, or the checkpoint that it is of was taken away.
        """
        try:
            for path in sorted(self._directory.glob(f"*{_STAMP}")):
                yield KeptTimestamp(path, path.with_suffix(_NOTE).read_bytes(), path.read_bytes())
        except OSError as error:
            raise AnchorError(f"the time stamps in {self._directory} cannot be read: {error}") from error
