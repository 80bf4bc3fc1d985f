"""Writers of the audit log whose file calls fail, or who are killed: what they said, and what is in the chain.

The shim is C and compiled where it is used, so tests that use it need `cc` and Linux.
"""

import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from audit.store import SqliteStore
from audit.verification import verify_store
from tests.support.fault_injection_writer import CHAIN, LOG

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests/support/faults/shim.c"

FAIL, DO_AND_FAIL, KILL, DO_AND_KILL, HALF_AND_KILL, HALF_AND_FAIL = range(6)
"""What becomes of the call: see the shim."""

Call = Literal["W", "S", "R", "T", "U", "O", "*"]
"""Write, sync, rename, truncate, unlink, open for writing; any of them."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        call: the kind of call that it happens to.
        ending: how the file's path ends; empty: any file of the log. A directory's ends with a slash.
        at: at which of these calls, from 1.
        count: for how many of them; 0: from then on for ever.
        error: the errno.
        mode: what becomes of the call.
        opening: armed before the chain is opened, not only once calls are recorded.
    """

    call: Call
    ending: str = ""
    at: int = 1
    count: int = 1
    error: int = errno.EIO
    mode: int = FAIL
    opening: bool = False


@dataclass(slots=True)
class Said:
    """What a writer said before it ended.

    Attributes:
        status: its exit status; negative: the signal that ended it.
        durable: ids of the records that it was told are on disk.
        refused: ids of those that it was told are not, or the calls that came to no record, with the cause.
        opened: whether it could open the chain.
        failed: why it could not go on; empty if it could.
        healthy: whether the log worked at the end; None if it did not come so far.
        seen: how many calls the fault looked at.
        backlog: records that were still waiting after the close.
    """

    status: int
    durable: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    opened: bool = False
    failed: str = ""
    healthy: bool | None = None
    seen: int = 0
    backlog: int = -1


class Nursery:
    """Starts writers quickly: they are forked off one process that has everything loaded. A context manager."""

    def __init__(self, shim: Path | None = None, *, before: tuple[str, ...] = ()) -> None:
        """
        Args:
            shim: the compiled shim; without it there are no faults and no traces.
            before: a program that runs it, for instance one that mounts a disk first.
        """
        self._shim = shim
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", "tests.support.fault_injection_writer"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, **({"LD_PRELOAD": str(shim)} if shim else {})},
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)

    def run(
        self,
        directory: Path,
        *,
        calls: int = 40,
        callers: int = 4,
        payload: int = 100,
        fault: Fault | None = None,
        kill_after: float | None = None,
        gives_up: bool = False,
        seconds: float = 20,
        trace: Path | None = None,
    ) -> Said:
        """Let a writer record calls.

        Args:
            directory: of the log.
            calls: how many it begins at most.
            callers: how many at a time.
            payload: bytes in each intent.
            fault: what goes wrong.
            kill_after: seconds after which it is killed.
            gives_up: whether it ends at the first refusal, instead of trying again.
            seconds: when it ends at the latest.
            trace: where every file call is written down, with its data.
        """
        said = directory.parent / f"{directory.name}.said"
        said.unlink(missing_ok=True)
        assert self._shim or not (fault or trace), "faults and traces need the shim"
        scenario: dict[str, Any] = {
            "directory": str(directory), "said": str(said), "calls": calls, "callers": callers, "payload": payload,
            "fault": asdict(fault) if fault else None, "kill_after": kill_after, "gives_up": gives_up,
            "seconds": seconds, "trace": str(trace) if trace else None, "shim": self._shim is not None,
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(scenario) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the nursery ended"
        return _heard(json.loads(answer)["status"], said)


def _heard(status: int, path: Path) -> Said:
    said = Said(status)
    # A line without its end was being said when the writer died.
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    for line in lines:
        kind, _, text = line.rstrip("\n").partition(" ")
        if not line.endswith("\n"):
            continue
        if kind == "durable":
            said.durable.append(text)
        elif kind == "refused":
            event_id, _, cause = text.partition(" ")
            said.refused[event_id] = cause
        elif kind == "opened":
            said.opened = True
        elif kind == "failed":
            said.failed = text
        elif kind in {"healthy", "unhealthy"}:
            said.healthy = kind == "healthy"
        elif kind == "seen":
            said.seen = int(text)
        elif kind == "closed":
            said.backlog = int(text)
    return said


def compile_shim(directory: Path) -> Path:
    """Compile the shim and return where it is.

    Raises:
        subprocess.CalledProcessError: `cc` does not.
    """
    shim = directory / "shim.so"
    options = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["cc", *options, "-o", str(shim), str(SOURCE), "-ldl", "-lpthread"], check=True, timeout=60)
    return shim


def ids_of(directory: Path) -> list[str]:
    """Return the ids of the records of the chain, in order."""
    store = SqliteStore(directory, LOG)
    if CHAIN not in store.chains():
        return []
    with store.reader(CHAIN) as reader:
        return [record.event_id for record in reader.records()]


def assert_kept(directory: Path, told: list[str]) -> list[str]:
    """Verify that the chain is whole and that everything told durable is in it; return the ids in order."""
    for report in verify_store(SqliteStore(directory, LOG), processes=1):
        assert report.findings == [], report.findings[:3]
    stored = ids_of(directory)
    missing = set(told) - set(stored)
    assert not missing, f"{len(missing)} of {len(told)} records that were told durable are gone"
    return stored


def types_of(directory: Path) -> list[str]:
    """Return the types of the records of the chain, in order."""
    with SqliteStore(directory, LOG).reader(CHAIN) as reader:
        return [record.type for record in reader.records()]
