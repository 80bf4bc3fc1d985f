"""How far a sink came, on disk: one small file, replaced whole, with the one before it kept beside it.

A cursor names for each chain the next record to send and the hash of the last one sent, so that a chain that came back
as an older copy is noticed. The file carries its own digest. If it is damaged, the one before it says almost the same;
if both are, the sink begins anew, for a record sent twice is better than one that is never sent.
"""

import fcntl
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from audit.sinks.errors import CursorError

VERSION = 1

DIRECTORY = "sinks"
"""Where cursors and dead letters are, below the directory of the log."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a chain.

    Attributes:
        next: sequence number of the next record to send.
        hash: hash of the last record that was sent (hex); empty if none was.
    """

    next: int = 0
    hash: str = ""


class CursorFile:
    """The cursor of one sink, for one process at a time.

    Attributes:
        places: how far it came, by chain; as on disk.
        fresh: whether there was no cursor.
        damaged: why what was there cannot be used; empty if it can.
    """

    def __init__(self, directory: Path, sink: str) -> None:
        """Open it.

        Raises:
            CursorError: another process has it, or the directory cannot be written.
        """
        self._path = directory / f"{sink}.cursor"
        self._sink = sink
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / f"{sink}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CursorError(f"{directory} cannot be used for the sink {sink}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise CursorError(f"another process serves the sink {sink}: its cursor in {directory} is locked") from error
        self.places, self.fresh, self.damaged = self._load()

    def save(self, places: Mapping[str, Place]) -> None:
        """Put it on disk.

        Raises:
            CursorError: it cannot be written; the one on disk stays.
        """
        content = {"v": VERSION, "sink": self._sink, "places": {c: [p.next, p.hash] for c, p in places.items()}}
        body = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        new = self._path.with_suffix(".new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(sha256(body).hexdigest().encode() + b"\n" + body + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if self._path.exists():
                self._path.replace(_before(self._path))
            new.replace(self._path)
            _sync(self._path.parent)
        except OSError as error:
            raise CursorError(f"{self._path} cannot be written: {error.strerror}") from error
        self.places = dict(places)

    def close(self) -> None:
        """Let others have it."""
        os.close(self._lock)

    def _load(self) -> tuple[dict[str, Place], bool, str]:
        causes = []
        for path in (self._path, _before(self._path)):
            try:
                return _read(path, self._sink), False, ""
            except FileNotFoundError:
                continue
            except CursorError as error:
                causes.append(str(error))
        return {}, not causes, "; ".join(causes)


def read_cursors(directory: Path, sinks: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return how far sinks came: by name, the next record of each chain. For retention, also beside a running gateway.

    A sink without a usable cursor is listed as having taken nothing.
    """
    found = {}
    for sink in sinks:
        places: Mapping[str, Place] = {}
        for path in (directory / f"{sink}.cursor", _before(directory / f"{sink}.cursor")):
            try:
                places = _read(path, sink)
                break
            except (FileNotFoundError, CursorError):
                continue
        found[sink] = {chain: place.next for chain, place in places.items()}
    return found


def _read(path: Path, sink: str) -> dict[str, Place]:
    try:
        digest, _, body = path.read_bytes().rstrip(b"\n").partition(b"\n")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CursorError(f"{path} cannot be read: {error.strerror}") from error
    if sha256(body).hexdigest().encode() != digest:
        raise CursorError(f"{path} is damaged")
    try:
        document: Any = orjson.loads(body)
        if (document["v"], document["sink"]) != (VERSION, sink):
            raise CursorError(f"{path} is of another sink or by another version")
        return {chain: Place(int(following), str(last)) for chain, (following, last) in document["places"].items()}
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CursorError(f"{path} is damaged") from error


def _before(path: Path) -> Path:
    return path.with_suffix(".before")


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
