"""Has checkpoints stamped and copied when it is time to, tries again what failed, and says what is overdue."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audit.anchors.archive import TimestampArchive
from audit.anchors.copying import LogCopier
from audit.anchors.errors import AnchorError, TimestampError
from audit.anchors.timestamps import TimestampAuthority

RETRY_SECONDS = 30.0
"""How soon what failed is tried again, if it is not due sooner."""


@dataclass(slots=True)
class Duty:
    """Something to do with a checkpoint now and then.

    Attributes:
        name: what error messages call it.
        every: seconds between two times.
        act: does it with a signed note; raises AnchorError, TimestampError or OSError if it cannot.
        failure: why it failed the last time; empty if it did not.
    """

    name: str
    every: float
    act: Callable[[bytes], object]
    failure: str = ""
    _due: float = 0.0
    _done: bytes = b""
    _behind_since: float | None = None


def stamping(authority: TimestampAuthority, archive: TimestampArchive, every: float) -> Duty:
    """Return the duty to have checkpoints stamped by an authority."""
    return Duty(f"time stamps of {authority.name}", every, lambda note: archive.keep(note, authority.stamp(note)))


def copying(copier: LogCopier, name: str, every: float, stopping: Callable[[], bool]) -> Duty:
    """Return the duty to copy the log; `stopping` ends a long copy, which the next one continues."""

    def copy(note: bytes) -> None:
        if not copier.copy(note, stopping).whole:
            raise AnchorError("the copy was interrupted, and goes on")

    return Duty(f"copies to {name}", every, copy)


class AnchorKeeper:
    """Does the duties of one log. Not for two threads at once."""

    def __init__(self, duties: Sequence[Duty], clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self._duties = tuple(duties)
        self._clock = clock

    def step(self, note: bytes) -> None:
        """Do what is due; call it every few seconds.

        Args:
            note: the latest signed checkpoint.

        Raises:
            AnchorContradictsError: what is kept outside is more than the log has.
        """
        for duty in self._duties:
            if note == duty._done:
                continue
            if duty._behind_since is None:
                duty._behind_since = self._clock()
            if self._clock() >= duty._due:
                self._do(duty, note)

    def problem(self, max_age: float) -> str:
        """Say what is undone for longer than its interval and `max_age` seconds, and why; empty if nothing is."""
        now = self._clock()
        late = [
            f"{duty.name} are overdue: {duty.failure or 'not done yet'}"
            for duty in self._duties
            if duty._behind_since is not None and now - duty._behind_since > duty.every + max_age
        ]
        return "; ".join(late)

    def _do(self, duty: Duty, note: bytes) -> None:
        try:
            duty.act(note)
        except (AnchorError, TimestampError, OSError) as error:
            duty.failure = str(error)
            duty._due = self._clock() + min(duty.every, RETRY_SECONDS)
            return
        duty.failure, duty._done, duty._behind_since = "", note, None
        duty._due = self._clock() + duty.every
