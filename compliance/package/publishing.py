"""A package is there whole or not at all: built beside its name, named last, and packed if asked."""

import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from compliance.errors import ComplianceError

PLAN = ".plan.json"
WORK = ".work"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a package goes.

    Attributes:
        final: its name: a directory, or a zip file.
        partial: where it is built.
    """

    final: Path
    partial: Path

    @property
    def zipped(self) -> bool:
        """Whether it is a zip file."""
        return self.final.suffix == ".zip"

    @property
    def work(self) -> Path:
        """Where what is no part of the package lies while it is built."""
        return self.partial / WORK

    @property
    def tree(self) -> Path:
        """Where the package's files are written."""
        return self.partial / "package"


def begin(final: Path, plan: dict[str, Any]) -> Place:
    """Begin a package, or go on with one that was interrupted: what was extracted stays, the rest is written anew.

    Args:
        final: the package's name, which nothing has yet.
        plan: what it is of; one that goes on has to be of the same.

    Raises:
        ComplianceError: something has the name, or another package is unfinished there.
    """
    place = Place(final, final.with_name(f"{final.name}.partial"))
    if final.exists() or final.is_symlink():
        raise ComplianceError(f"{final} is there already; name another output, nothing is written over")
    wanted = orjson.dumps(plan, option=orjson.OPT_SORT_KEYS)
    try:
        if place.partial.exists() or place.partial.is_symlink():
            found = place.partial / PLAN
            if place.partial.is_symlink() or not found.is_file() or found.read_bytes() != wanted:
                raise ComplianceError(
                    f"{place.partial} is there and is of another package; remove it, or name another output"
                )
            shutil.rmtree(place.tree, ignore_errors=True)
        else:
            place.partial.mkdir(mode=0o700, parents=True)
            (place.partial / PLAN).write_bytes(wanted)
        place.work.mkdir(mode=0o700, exist_ok=True)
        place.tree.mkdir(mode=0o700)
    except OSError as error:
        raise ComplianceError(f"{place.partial} cannot be written: {error.strerror}") from error
    return place


def publish(place: Place) -> None:
    """Give a whole package its name.

    Raises:
        ComplianceError: it cannot be written, or something took the name meanwhile.
    """
    try:
        source = _zipped(place) if place.zipped else place.tree
        os.sync()  # thousands of small files: one call is cheaper than one for each
        if place.final.exists() or place.final.is_symlink():
            raise ComplianceError(f"{place.final} was made by somebody else meanwhile; name another output")
        source.rename(place.final)
        _sync(place.final.parent)
        shutil.rmtree(place.partial)
    except OSError as error:
        raise ComplianceError(f"{place.final} cannot be written: {error.strerror}; run again to go on") from error


def _zipped(place: Place) -> Path:
    """Pack the package: sorted, without times, the same bytes each time."""
    target = place.partial / "package.zip"
    paths = sorted(path for path in place.tree.rglob("*") if path.is_file())
    with zipfile.ZipFile(target, "w", allowZip64=True) as packed:
        for path in sorted(paths, key=lambda each: each.relative_to(place.tree).as_posix()):
            entry = zipfile.ZipInfo(path.relative_to(place.tree).as_posix(), _ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100600 << 16
            entry.create_system = 3
            entry.file_size = path.stat().st_size
            with path.open("rb") as file, packed.open(entry, "w") as out:
                while chunk := file.read(_CHUNK):
                    out.write(chunk)
    return target


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
