"""An output directory that is whole or says that it is not: parts under temporary names, a plan to resume by."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from audit.export.errors import ExportError

PLAN = ".export-in-progress"
"""The file that marks an unfinished export, and says what of."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an export is of; one that goes on has to be of the same.

    Attributes:
        since: first time (UNIX nanoseconds).
        until: time after the last (UNIX nanoseconds); 0 for no end.
        note: the signed checkpoint.
    """

    format: str
    log: str
    since: int
    until: int
    note: str


class Output:
    """The directory of one export."""

    def __init__(self, directory: Path, plan: Plan) -> None:
        """Begin an export, or go on with one.

        Raises:
            ExportError: the directory holds something else, or another export.
        """
        self.directory = directory
        self.resumed = False
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = read_plan(directory)
            if found is None:
                if any(directory.iterdir()):
                    raise ExportError(f"{directory} is not empty; name a new directory, nothing is written over")
                self.write(PLAN, orjson.dumps(asdict(plan)))
            elif found != plan:
                raise ExportError(f"{directory} holds an unfinished export of something else; name a new directory")
            else:
                self.resumed = True
        except OSError as error:
            raise ExportError(f"{directory} cannot be written: {error.strerror}") from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        target = self.directory / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.part")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)

    def part(self, name: str) -> Path:
        """Return where a long file is written until it is whole."""
        return self.directory / f".{name}.part"

    def publish(self, name: str) -> None:
        """Give a long file its name."""
        self.part(name).replace(self.directory / name)

    def finish(self) -> None:
        """Say that the export is whole."""
        (self.directory / PLAN).unlink()


def read_plan(directory: Path) -> Plan | None:
    """Return the plan of the unfinished export in a directory; None if there is none.

    Raises:
        ExportError: it is damaged.
    """
    try:
        raw = (directory / PLAN).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        document: dict[str, Any] = orjson.loads(raw)
        return Plan(**document)
    except (orjson.JSONDecodeError, TypeError) as error:
        raise ExportError(f"{directory / PLAN} is damaged; name a new directory") from error
