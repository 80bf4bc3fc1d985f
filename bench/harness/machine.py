"""What the benchmark knows of the machine, and the network namespace it runs in."""

import fcntl
import os
import platform
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.processes import Cores

SIOCSIFFLAGS = 0x8914
IFF_UP_LOOPBACK_RUNNING = 0x1 | 0x8 | 0x40


# The parts around the target give way to it where they share a core.
HARNESS_NICE = 5


@dataclass(frozen=True, slots=True)
class Layout:
    """Which cores the target has, and which the generator, the sidecar and the backends.

    One worker is confined to one core, so that its figures are those of one core. The parts around it have
    the others; at saturation, where they would run out before a fast target does, they also take what the
    target leaves of its own, at a lower priority. Two workers on a machine of two cores share both with everything.

    Attributes:
        target: cores of the target.
        harness: cores of the parts around it.
        everything: all cores, for the parts around it at saturation.
    """

    target: Cores
    harness: Cores
    everything: Cores

    @classmethod
    def for_workers(cls, workers: int) -> "Layout":
        """Return the layout for a number of workers on this machine."""
        cores = sorted(os.sched_getaffinity(0))
        everything = frozenset(cores)
        if len(cores) > workers:
            return cls(frozenset(cores[:workers]), frozenset(cores[workers:]), everything)
        return cls(everything, everything, everything)

    def around(self, mode: str) -> Cores:
        """Return the cores of the parts around the target under a load of that mode."""
        return self.everything if mode == "saturate" else self.harness

    @property
    def harness_workers(self) -> int:
        """Workers of the sidecar and of the backend."""
        return min(4, len(self.harness))


def describe() -> dict[str, Any]:
    """Return processor, cores, memory, kernel and load of this machine."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    total = next(
        int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")
    )
    return {
        "processor": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(total / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def raise_loopback() -> None:
    """Bring up the loopback interface of a new network namespace."""
    with socket.socket() as sock:
        request = struct.pack("16sh", b"lo", IFF_UP_LOOPBACK_RUNNING)
        fcntl.ioctl(sock, SIOCSIFFLAGS, request + bytes(22))


def only_loopback() -> bool:
    """Tell whether this network namespace has no interface but loopback."""
    return {name for _, name in socket.if_nameindex()} <= {"lo"}
