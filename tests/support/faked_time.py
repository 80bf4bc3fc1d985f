"""A system time that a test hands in: whatever is started meanwhile lives in it, and the test sets it forward.

libfaketime stands between the processes and the system. Wall clock and monotonic clock run on as they do, and go forward
together, so that what a process waits for is due as if the time had passed. The test itself stays in its own time.
"""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path


class FakedTime:
    """Gives a time to the processes that are started while it is entered, and to theirs.

    Files keep their real times: a file that has to be old in the faked time is dated with `date_file`.
    """

    def __init__(self, directory: Path, begin: datetime) -> None:
        """`begin` is later than now: the monotonic clock goes forward as far, and could not go back."""
        self._file = directory / "faked-time"
        self._ahead = 0.0
        self._before: dict[str, str | None] = {}
        self.forward_to(begin)

    def __enter__(self) -> "FakedTime":
        _clear_away()
        self._before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        return self

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _clear_away()

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process is started with to live in this time."""
        return {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "NO_FAKE_STAT": "1",
        }

    @property
    def now(self) -> datetime:
        """The faked time."""
        return datetime.fromtimestamp(time.time() + self._ahead, UTC)

    def forward_to(self, moment: datetime) -> None:
        """Set the time forward, for all processes at once."""
        ahead = moment.timestamp() - time.time()
        if ahead < self._ahead:
            raise AssertionError(f"{moment} has passed: it is {self.now}, and time goes forward alone")
        self._ahead = ahead
        # Read at every look at a clock, so it is replaced whole.
        new = self._file.with_suffix(".new")
        new.write_text(f"+{ahead:.6f}")
        new.replace(self._file)

    def date_file(self, path: Path, moment: datetime) -> None:
        """Let a file be from this moment."""
        os.utime(path, (moment.timestamp(), moment.timestamp()))


def _library() -> Path:
    # The one for programs with threads.
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise AssertionError("libfaketime is missing: run deploy/interop.sh, or install Debian's package faketime")
    return found[0]


def _clear_away() -> None:
    """Remove what libfaketime left of processes that were killed: it refuses to start another with such a number."""
    for left in Path("/dev/shm").glob("*faketime_s[eh]m_*"):  # noqa: S108 - where it keeps them
        number = left.name.rpartition("_")[2]
        if number.isdecimal() and not Path("/proc", number).exists():
            left.unlink(missing_ok=True)
