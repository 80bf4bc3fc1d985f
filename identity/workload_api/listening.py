"""Makes the socket that workloads connect to, where nobody else can put one in its place."""

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from identity.errors import IdentityError

BACKLOG = 1024
"""Connections that may wait to be accepted."""


class WorkloadApiError(IdentityError):
    """The socket cannot be served."""


def listen(path: Path, mode: int) -> socket.socket:
    """Return a socket that listens at `path` with these permissions. One that nobody listens on any more is replaced.

    Raises:
        WorkloadApiError: another process listens there, others may write the directory, or it cannot be made.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _alone_in(path.parent):
            _remove_stale(path)
            previous = os.umask(0o777 & ~mode)
            try:
                listening.bind(str(path))
            finally:
                os.umask(previous)
            listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise WorkloadApiError(
            f"the Workload API cannot listen on {path}: {error.strerror or error}; choose another "
            "identity.workload_api.socket, shorter than 108 bytes, in a directory that the gateway may write"
        ) from error
    except BaseException:
        listening.close()
        raise
    return listening


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Keep other gateways out while a socket is replaced: of two that start at once, one finds the other's."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(opened)
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
            raise WorkloadApiError(
                f"others may write the directory {directory} and put a socket of their own in place of the Workload "
                "API's; take their permission away (chmod go-w), or choose another directory"
            )
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on; anything else is left alone."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise WorkloadApiError(f"{path} is there and is no socket; remove it, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # somebody listens and is busy
    raise WorkloadApiError(f"another process serves {path}; stop it, or choose another path")
