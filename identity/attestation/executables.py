"""Which program a process runs: its path, and the SHA-256 of its file, read once for each version of the file."""

import hashlib
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

MAX_BYTES = 256 * 1024 * 1024
"""Largest program that is hashed (bytes); a larger one has no digest, so that no entry that asks for one matches it."""

REMEMBERED = 1024
"""Digests kept."""

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileId:
    """A version of a file: another one has another change time, which no one but the kernel sets."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, stat: os.stat_result) -> "FileId":
        """Take it from what the kernel says of a file."""
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class Digests:
    """Computes the digests of programs, one at a time, and remembers them. For use from several threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[FileId, str] = OrderedDict()
        self._lock = Lock()

    def sha256(self, file: BinaryIO) -> str:
        """Return the digest of an open file (hexadecimal), or nothing if it is too large or changes meanwhile."""
        before = FileId.of(os.fstat(file.fileno()))
        if before.size > MAX_BYTES:
            return ""
        with self._lock:
            known = self._known.get(before)
            if known is not None:
                self._known.move_to_end(before)
                return known
            digest, read = hashlib.sha256(), 0
            while chunk := file.read(_CHUNK):
                read += len(chunk)
                if read > MAX_BYTES:
                    return ""
                digest.update(chunk)
            if FileId.of(os.fstat(file.fileno())) != before:
                return ""
            self._known[before] = digest.hexdigest()
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return self._known[before]


def path_here(link: Path, stat: os.stat_result) -> str:
    """Return the path of the program behind `/proc/<pid>/exe` if that path is the same file here, else nothing.

    A process in a mount namespace of its own, which any user can make, can have any file at any path.
    """
    try:
        path = link.readlink()
        here = path.stat()
    except OSError:
        return ""
    return str(path) if (here.st_dev, here.st_ino) == (stat.st_dev, stat.st_ino) else ""
