"""What a gateway's process does before it serves: takes its state directory and its addresses."""

import contextlib
import fcntl
import os
import resource
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import ConfigError


def bind(address: str, port: int, section: str) -> socket.socket:
    """Return a socket bound to an address of the configuration's `section`.

    Raises:
        ConfigError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"{section}: cannot listen on {address} port {port}: {error.strerror}. "
            f"Choose another {section}.port, or stop what uses it."
        ) from error
    return sock


def address_of(sock: socket.socket) -> str:
    """Return the address of a socket as a URL writes it."""
    address, port = sock.getsockname()[:2]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def leave_no_core() -> None:
    """Let no process of the gateway leave its memory, which has secrets, in a file when it crashes (core(5))."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def remove_old_metrics(directory: Path) -> None:
    """Remove what gateways left behind that were killed."""
    for left in directory.glob("*"):
        if left.name != str(os.getpid()):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def only_gateway(state_dir: Path) -> Iterator[None]:
    """Hold the state directory: one gateway at a time."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = state_dir / "gateway.pid"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise ConfigError(
                f"Another gateway (process {file.read().strip() or '?'}) runs on {state_dir}. Stop it first."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
