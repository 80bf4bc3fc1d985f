"""Keeps the result of each day in a file of its own, and tells which controls turned red or came back."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from compliance.errors import ComplianceError
from compliance.evaluation.result import Evaluation, Status

DIRECTORY = "compliance"
"""Directory of the results in a gateway's state directory."""

Key = tuple[str, str, str]
"""Framework, control and system (empty for the organisation)."""


class Kept(BaseModel):
    """How a control stood on a day.

    Attributes:
        binding: whether it was in force.
        reason: why it stood so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    framework: str
    control: str
    system: str
    status: Status
    binding: bool
    reason: str

    @property
    def key(self) -> Key:
        """What tells controls apart."""
        return self.framework, self.control, self.system

    @property
    def red(self) -> bool:
        """Whether it is in force and failed."""
        return self.binding and self.status == "fail"


class _Day(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    day: date
    tree_size: int
    whole: bool = True
    controls: tuple[Kept, ...]


@dataclass(frozen=True, slots=True)
class Turned:
    """A control that turned red, or came back."""

    now: Kept
    to: Literal["failed", "recovered"]


class DailyResults:
    """A directory with a file a day."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def days(self) -> list[date]:
        """Return the days that are kept, the oldest first."""
        found = []
        for path in self._directory.glob("*.json"):
            try:
                found.append(date.fromisoformat(path.stem))
            except ValueError:
                continue
        return sorted(found)

    def last_whole(self) -> date | None:
        """Return the last day whose result was made when it was over; None if there is none.

        Raises:
            ComplianceError: a result is damaged.
        """
        return next((day for day in reversed(self.days()) if self._read(day).whole), None)

    @property
    def kept_at(self) -> float | None:
        """When a result was last kept (UNIX seconds); None if there is none."""
        return max((self._path(day).stat().st_mtime for day in self.days()), default=None)

    @contextmanager
    def alone(self) -> Iterator[Path]:
        """Let one process at a time make results. Gives a directory to work in: what one that was killed left is there.

        Raises:
            ComplianceError: another one makes a result, or the directory cannot be written.
        """
        work = self._directory / "work"
        try:
            work.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self._directory / "lock").open("w")
        except OSError as error:
            raise ComplianceError(f"{self._directory} cannot be written: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ComplianceError(
                    "another process evaluates a day; wait until it has ended, and try again"
                ) from None
            yield work

    def of(self, day: date) -> dict[Key, Kept]:
        """Return the result of a day.

        Raises:
            ComplianceError: it is not kept, or damaged.
        """
        return {each.key: each for each in self._read(day).controls}

    def _read(self, day: date) -> _Day:
        path = self._path(day)
        try:
            return _Day.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise ComplianceError(f"no result of {day} is kept; run: govctl compliance record --day {day}") from None
        except (OSError, ValidationError) as error:
            raise ComplianceError(
                f"{path} is damaged; delete it, and run: govctl compliance record --day {day}"
            ) from error

    def known(self, day: date) -> dict[Key, Kept]:
        """Return what a result of a day is compared with: what was told of it already, else the latest one before."""
        earlier = [each for each in self.days() if each <= day]
        return self.of(earlier[-1]) if earlier else {}

    def keep(self, evaluation: Evaluation, tree_size: int, *, whole: bool = True) -> None:
        """Keep the result of the one day that was evaluated. Last, so that what turned is told at least once.

        Args:
            tree_size: records of the signed tree that it was made from.
            whole: the day was over.

        Raises:
            ComplianceError: it cannot be written.
        """
        controls = tuple(results_of(evaluation).values())
        day = _Day(day=evaluation.period.last, tree_size=tree_size, whole=whole, controls=controls)
        path = self._path(day.day)
        temporary = path.with_suffix(".new")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with temporary.open("w") as file:
                json.dump(day.model_dump(mode="json"), file, indent=1, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise ComplianceError(f"{path} cannot be written: {error.strerror}") from error

    def _path(self, day: date) -> Path:
        return self._directory / f"{day.isoformat()}.json"


def results_of(evaluation: Evaluation) -> dict[Key, Kept]:
    """Return how each control stood."""
    found = (
        Kept(
            framework=each.framework,
            control=each.control.id,
            system=each.system,
            status=each.status,
            binding=each.binding,
            reason=each.reason,
        )
        for each in evaluation.controls
    )
    return {each.key: each for each in found}


def turned(before: Mapping[Key, Kept], now: Mapping[Key, Kept]) -> list[Turned]:
    """Return the controls that are red and were not, and those that were and are not, in order."""
    found: list[Turned] = []
    for key in sorted(now):
        was = key in before and before[key].red
        if now[key].red != was:
            found.append(Turned(now[key], "failed" if now[key].red else "recovered"))
    return found
