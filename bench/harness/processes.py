"""Starts and stops the programs of a benchmark and reads what they cost from /proc."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
Cores = frozenset[int]


class BenchError(Exception):
    """The benchmark cannot go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a process tree, bytes.

    Attributes:
        rss: sum of the resident sets; pages shared by several processes count once each time.
        pss: the same with every shared page divided among its users.
        peak: sum of the largest resident set each process ever had.
    """

    rss: int
    pss: int
    peak: int


class Program:
    """A program under way, in a session of its own, confined to some cores."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        cores: Cores,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        nice: int = 0,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*placed(cores, nice), *(str(word) for word in command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**_clean_environment(), **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the program's first process."""
        return self._process.pid

    def pids(self) -> list[int]:
        """Return the process and all its descendants."""
        return descendants(self.pid)

    def check(self) -> None:
        """Raise BenchError with the end of the log if the program has ended."""
        status = self._process.poll()
        if status is not None:
            raise BenchError(f"{self.name} ended with status {status}. The end of {self.log}:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """Return the last lines the program wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until ready() says so; raise BenchError if the program ends or the time passes."""
        limit = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > limit:
                raise BenchError(
                    f"{self.name} was not ready after {seconds:.0f} s. The end of {self.log}:\n{self.log_tail()}"
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """End the whole session: politely, then at once."""
        pids = self.pids()
        for sign, patience in ((signal.SIGTERM, 8.0), (signal.SIGKILL, 5.0)):
            if self._process.poll() is None:
                _signal_group(self.pid, sign)
            limit = time.monotonic() + patience
            while time.monotonic() < limit:
                if self._process.poll() is not None and not any(_alive(pid) for pid in pids):
                    return
                time.sleep(0.05)
            for pid in pids:
                if _alive(pid):
                    _signal(pid, sign)


def placed(cores: Cores, nice: int) -> list[str]:
    """Return the words before a command that confine it to some cores and lower its priority by `nice`."""
    numbers = ",".join(str(core) for core in sorted(cores))
    return ["taskset", "--cpu-list", numbers, "nice", "-n", str(nice)]


def confine(pids: Iterable[int], cores: Cores) -> None:
    """Move running processes, with all their threads, to other cores."""
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), cores)


def _clean_environment() -> dict[str, str]:
    keep = ("PATH", "HOME", "LANG", "TMPDIR")
    return {name: os.environ[name] for name in keep if name in os.environ}


def _signal_group(pid: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, sign)


def _signal(pid: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)


def _alive(pid: int) -> bool:
    fields = _stat(pid)
    return fields is not None and fields[0] not in ("Z", "X")


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat after the command's name, or None if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def descendants(root: int) -> list[int]:
    """Return root and all processes below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo.extend(children.get(pid, ()))
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return user plus system time of the processes so far, seconds."""
    ticks = 0
    for pid in pids:
        fields = _stat(pid)
        if fields is not None:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def busy_seconds() -> float:
    """Return the time all cores of the machine were busy so far, or stolen by its host, seconds."""
    user, nice, system, _idle, _wait, irq, softirq, steal = (
        int(word) for word in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND


def memory(pids: Iterable[int]) -> Memory:
    """Return the resident memory of the processes."""
    rss = pss = peak = 0
    for pid in pids:
        try:
            rollup = _kilobytes(Path(f"/proc/{pid}/smaps_rollup"))
            status = _kilobytes(Path(f"/proc/{pid}/status"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        rss += rollup.get("Rss", 0)
        pss += rollup.get("Pss", 0)
        peak += status.get("VmHWM", 0)
    return Memory(rss * 1024, pss * 1024, peak * 1024)


def _kilobytes(path: Path) -> dict[str, int]:
    values = {}
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            values[name] = int(words[0])
    return values


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def listening(port: int) -> bool:
    """Tell whether somebody accepts connections on the port."""
    with socket.socket() as sock:
        sock.settimeout(0.5)
        return sock.connect_ex(("127.0.0.1", port)) == 0
