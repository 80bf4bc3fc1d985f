"""The lock of the ledger's file: the kernel frees it when its holder dies, and nobody waits for it for long."""

import fcntl
import time

from gateway.errors import UnavailableError

LOCK_SECONDS = 0.05
"""How long a worker waits for another's update (seconds); one takes microseconds."""

_SPINS = 32


def take_lock(descriptor: int) -> None:
    """Take the lock (flock, exclusive) of an open file.

    The lock belongs to the open file: a process forked after the file was opened shares it and must not count.

    Raises:
        UnavailableError: another process holds it for too long.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _take_patiently(descriptor)


def free_lock(descriptor: int) -> None:
    """Give the lock back."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def _take_patiently(descriptor: int) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    tries = 0
    while True:
        tries += 1
        # An update is shorter than the shortest sleep, unless its process lost the processor.
        if tries > _SPINS:
            time.sleep(0.0001)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UnavailableError(
                    "The quota ledger is held by a process that does not move.",
                    remedy="The operator has to look for a stopped worker.",
                    code="quota_ledger_locked",
                ) from None
        else:
            return
