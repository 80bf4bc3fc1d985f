"""Checkpoints (C2SP tlog-checkpoint 1.0): origin, size and root of a tree, as the text of a note."""

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass

from audit.tlog.errors import NoteError

_SIZE = re.compile("0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree at one moment.

    Attributes:
        origin: name of the log.
        size: number of leaves.
        root: root hash (32 bytes).
        extensions: further lines; here the end of each chain: `chain <name> <records> <hash of the last>`.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def to_text(self) -> bytes:
        """Return the note's text.

        Raises:
            NoteError: it would not be read as this checkpoint: a line is empty or two, the size is none.
        """
        lines = (self.origin, str(self.size), b64encode(self.root).decode(), *self.extensions)
        text = "".join(f"{line}\n" for line in lines).encode()
        if parse_checkpoint(text) != self:
            raise NoteError(f"a line of the checkpoint of {self.origin!r} has a newline in it")
        return text


def parse_checkpoint(text: bytes) -> Checkpoint:
    """Parse the text of a note as a checkpoint.

    Raises:
        NoteError: it is none.
    """
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise NoteError("a checkpoint is UTF-8") from error
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise NoteError("a checkpoint has at least three lines, none of them empty")
    if any(c < " " for line in lines for c in line):
        raise NoteError("a checkpoint has no control characters but newlines")
    origin, size, root, *extensions = lines[:-1]
    if not _SIZE.fullmatch(size) or int(size) >= 2**63:
        raise NoteError(f"{size[:40]!r} is no size of a tree")
    try:
        digest = b64decode(root, validate=True)
    except ValueError as error:
        raise NoteError("the root of a checkpoint is base64") from error
    if len(digest) != 32 or b64encode(digest).decode() != root:
        raise NoteError("the root of a checkpoint is base64 of 32 bytes")
    return Checkpoint(origin, int(size), digest, tuple(extensions))
