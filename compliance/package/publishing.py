"""A package is there whole or not at all: built beside its name, named last, and packed if asked."""

import fcntl
import os
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

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
        lock: held while it is built, so that no two build it at once.
    """

    final: Path
    partial: Path
    lock: IO[bytes] = field(repr=False)

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
    partial = final.with_name(f"{final.name}.partial")
    if final.exists() or final.is_symlink():
        raise ComplianceError(f"{final} is there already; name another output, nothing is written over")
    wanted = orjson.dumps(plan, option=orjson.OPT_SORT_KEYS)
    try:
        if partial.exists() or partial.is_symlink():
            found = partial / PLAN
            if partial.is_symlink() or not found.is_file() or found.read_bytes() != wanted:
                raise ComplianceError(
                    f"{partial} is there and is of another package; remove it, or name another output"
                )
        else:
            partial.mkdir(mode=0o700, parents=True)
            (partial / PLAN).write_bytes(wanted)
        place = Place(final, partial, _locked(partial))
        shutil.rmtree(place.tree, ignore_errors=True)
        place.work.mkdir(mode=0o700, exist_ok=True)
        place.tree.mkdir(mode=0o700)
    except OSError as error:
        raise ComplianceError(f"{partial} cannot be written: {error.strerror}") from error
    return place


def _locked(partial: Path) -> IO[bytes]:
    """Return the lock of a package that is built, held.

    Raises:
        ComplianceError: another process builds it.
    """
    lock = (partial / ".lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ComplianceError(f"another export builds {partial} at this moment; wait for it, or name another") from None
    return lock


def discard(place: Place) -> None:
    """Take away what was begun."""
    shutil.rmtree(place.partial, ignore_errors=True)


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
