"""The end of a chain as noted in a file beside the gateway: what tells an older copy of the chain from the chain.

The file holds sequence and hash of a recent end. A chain that comes back shorter, or with another record in that place,
is an older or a changed copy. Somebody who can write both changes both; only a witness outside notices that.
"""

import os
from pathlib import Path

from audit.chain import GENESIS, Head


def head_path(directory: Path, chain: str) -> Path:
    """Return the file that holds the end of a chain."""
    return directory / f"{chain}.head"


def read_head(path: Path) -> Head | None:
    """Read a noted end; None if there is none. One that cannot be read counts as a changed one."""
    try:
        sequence, digest = path.read_text().split()
        return Head(int(sequence), digest)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return Head(0, GENESIS)


def write_head(path: Path, head: Head) -> None:
    """Note an end, whole or not at all. Best effort: a disk that takes nothing shows at the next commit."""
    temporary = path.with_suffix(".head.new")
    try:
        with temporary.open("w") as file:
            file.write(f"{head.sequence} {head.hash}\n")
            file.flush()
            os.fsync(file.fileno())  # a name without its content would look like a changed chain
        temporary.replace(path)
    except OSError:
        return
