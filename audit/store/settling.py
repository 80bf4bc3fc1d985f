"""Brings a file's bytes to the disk when a sync of them may have failed before.

After a failed fsync Linux counts the pages as written: the next fsync succeeds, reads still find the bytes, and a power
cut takes them away. Only writing the bytes anew makes a later fsync mean something. A chain that goes on after a failed
commit, in this process or a new one, finds the commit's frames in SQLite's write-ahead log, so they are settled first.
"""

import os
from pathlib import Path

_PIECE = 1 << 20


def settle(path: Path) -> None:
    """Write a file's bytes over themselves and sync it; a file that is not there is settled.

    Raises:
        OSError: the disk does not take them.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        place = 0
        while piece := os.pread(descriptor, _PIECE, place):
            place += _write(descriptor, piece, place)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, piece: bytes, place: int) -> int:
    done = 0
    while done < len(piece):
        done += os.pwrite(descriptor, piece[done:], place + done)
    return done
