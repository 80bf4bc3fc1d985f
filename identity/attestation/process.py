"""Attests the process at the other end of a Unix socket, and does not mistake another one for it.

Who connected is what the kernel noted when it did: user, groups, process id, and a descriptor of that very process
(`SO_PEERPIDFD`, Linux 6.5). The rest is read from `/proc` by the process id, which is safe if the process, by its
descriptor, is still there afterwards: its id cannot have been given to another one. What changed since is refused: a
process that has ended, that runs another program, that has other credentials.

Where this ends:

- What a process does between `connect` and the server's `accept` is not seen. One that starts another program in this
  time while a relative keeps the socket is taken for the other program. Selectors of path and digest therefore tell
  apart programs of one user that do not deceive each other; against deceit, give programs users of their own.
- Before Linux 6.5 the descriptor is opened by process id at `accept`. If the process ended before that and its id was
  given away, the new holder is attested; a process that started later than the accept is refused.
- Path and digest of another user's program can be read only with CAP_SYS_PTRACE; without it those selectors are absent.
"""

import errno
import grp
import os
import pwd
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from identity.attestation.cgroups import membership
from identity.attestation.executables import Digests, path_here
from identity.errors import IdentityError

_SO_PEERGROUPS = 59
_SO_PEERPIDFD = 77
_NOT_OFFERED = {errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
_CREDENTIALS = struct.Struct("3i")
_MOST_GROUPS = 1024
"""Bytes that Python lets `getsockopt` return: 256 groups. Of more, `/proc` tells."""

_MOST_PROC_BYTES = 1024 * 1024
_digests = Digests()


class ProcessError(IdentityError):
    """A process cannot be attested.

    Attributes:
        rule: stable slug: `process-unseen`, `process-ended`, `pid-reused`, `program-changed`, `credentials-changed`,
            `process-unreadable`.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class ProcessEvidence:
    """What the kernel noted of the process that connected. Holds a descriptor: close it.

    Attributes:
        pid: process id, in this process's namespace.
        uid, gid: effective user and group when it connected.
        groups: supplementary groups when it connected; None if there were too many for the kernel to hand over.
    """

    __slots__ = ("_pidfd", "_program", "_refusal", "_root", "gid", "groups", "pid", "uid")

    def __init__(self, pid: int, uid: int, gid: int, groups: tuple[int, ...] | None, pidfd: int) -> None:
        self.pid, self.uid, self.gid, self.groups = pid, uid, gid, groups
        self._pidfd = pidfd
        self._root = Path("/proc") / str(pid)
        self._refusal: ProcessError | None = None
        self._program = self._running()

    def selectors(self) -> frozenset[str]:
        """Return everything that is known of the process. Reads files, the program among them: not for an event loop.

        Raises:
            ProcessError: it has ended or is not what it was when it connected.
        """
        self.confirm()
        try:
            found = self._read()
        except OSError as error:
            self.confirm()
            raise ProcessError(
                "process-unreadable",
                f"/proc tells nothing of process {self.pid}: {error.strerror}; check its mount options",
            ) from error
        self.confirm()
        return frozenset(found)

    def confirm(self) -> None:
        """Check that the process is there and runs the program that it ran when it connected. Takes microseconds.

        Raises:
            ProcessError: it does not.
        """
        if self._refusal is not None:
            raise self._refusal
        if self.pid <= 0:
            raise ProcessError(
                "process-unseen", "the caller's process cannot be seen from here; share its process namespace"
            )
        program = self._running()
        if self._pidfd < 0 or _has_ended(self._pidfd):
            raise ProcessError("process-ended", f"process {self.pid}, which opened the connection, has ended")
        if program != self._program:
            raise ProcessError(
                "program-changed", f"process {self.pid} runs another program than when it connected; connect again"
            )

    def close(self) -> None:
        """Let go of the process."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def refuse(self, error: ProcessError) -> None:
        """Make every later question end in this error."""
        self._refusal = error

    def _running(self) -> tuple[int, int] | None:
        try:
            return _same_file((self._root / "exe").stat())
        except OSError:
            return None

    def _read(self) -> set[str]:
        status = _fields(_bounded(self._root / "status"))
        if status["Uid"].split()[1] != str(self.uid) or status["Gid"].split()[1] != str(self.gid):
            raise ProcessError(
                "credentials-changed",
                f"process {self.pid} has another user or group than when it connected; connect again",
            )
        groups = self.groups if self.groups is not None else tuple(map(int, status["Groups"].split()))
        found = {f"unix:uid:{self.uid}", f"unix:gid:{self.gid}"}
        found |= _named("unix:user:", self.uid, lambda number: pwd.getpwuid(number).pw_name)
        found |= _named("unix:group:", self.gid, _group_name)
        for number in groups:
            found.add(f"unix:supplementary_gid:{number}")
            found |= _named("unix:supplementary_group:", number, _group_name)
        return found | self._program_selectors() | self._membership_selectors()

    def _program_selectors(self) -> set[str]:
        link = self._root / "exe"
        try:
            file = link.open("rb")
        except PermissionError:
            return set()
        with file:
            stat = os.fstat(file.fileno())
            if _same_file(stat) != self._program:
                return set()
            found = {f"unix:sha256:{digest}" for digest in [_digests.sha256(file)] if digest}
        return found | {f"unix:path:{path}" for path in [path_here(link, stat)] if path}

    def _membership_selectors(self) -> set[str]:
        belongs = membership(_bounded(self._root / "cgroup"))
        facts = {"systemd:id": belongs.unit, "systemd:slice": belongs.slice, "container:id": belongs.container}
        return {f"{name}:{value}" for name, value in facts.items() if value}


def attest_process(sock: socket.socket) -> ProcessEvidence:
    """Take down who is at the other end of a connection. Call at once when it is accepted; takes microseconds.

    Raises:
        OSError: not a connected Unix socket.
    """
    accepted = time.clock_gettime(time.CLOCK_BOOTTIME)
    pid, uid, gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    groups = _peer_groups(sock)
    try:
        return ProcessEvidence(pid, uid, gid, groups, sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD))
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            return ProcessEvidence(pid, uid, gid, groups, -1)
    return _by_number(pid, uid, gid, groups, accepted)


def _by_number(pid: int, uid: int, gid: int, groups: tuple[int, ...] | None, accepted: float) -> ProcessEvidence:
    try:
        evidence = ProcessEvidence(pid, uid, gid, groups, os.pidfd_open(pid) if pid > 0 else -1)
    except OSError:
        return ProcessEvidence(pid, uid, gid, groups, -1)
    if _started(pid) > accepted:
        evidence.refuse(ProcessError("pid-reused", f"process {pid} is younger than the connection; connect again"))
    return evidence


def _started(pid: int) -> float:
    """Return when a process started, in seconds since boot, or never if it has ended."""
    with suppress(OSError):
        after_name = _bounded(Path("/proc") / str(pid) / "stat").rpartition(")")[2].split()
        return int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return float("inf")


def _same_file(stat: os.stat_result) -> tuple[int, int]:
    """Identify the file of a running program: while it runs, no other file gets these numbers."""
    return stat.st_dev, stat.st_ino


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _peer_groups(sock: socket.socket) -> tuple[int, ...] | None:
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS)
    except OSError:
        return None
    return struct.unpack(f"{len(raw) // 4}I", raw)


def _named(prefix: str, number: int, name: Callable[[int], str]) -> set[str]:
    try:
        return {prefix + name(number)}
    except KeyError:
        return set()


def _group_name(number: int) -> str:
    return grp.getgrgid(number).gr_name


def _bounded(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MOST_PROC_BYTES).decode("utf-8", "surrogateescape")


def _fields(status: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
