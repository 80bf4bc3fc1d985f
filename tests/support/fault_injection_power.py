"""What a disk may hold after the power fails: a trace of file calls, cut anywhere, and played onto an empty directory.

What was synced is there. Of what was not, any part may be: each write wholly, up to a sector, or not at all, in any
order. Once a sync failed, the kernel forgets what it was to write (the pages count as clean), so that no later sync
brings it back. A name is there once its file, or its directory after it, was synced (ext4, XFS and Btrfs keep it so);
a rename may be there before the content of the file is.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

_HEAD = struct.Struct("<cbqII")
_SECTOR = 512


@dataclass(frozen=True, slots=True)
class Event:
    """One file call of a trace.

    Attributes:
        call: W, S, R, T, U, O as the shim has them, or N for something that the process noted.
        failed: whether it failed.
        number: place of a write, size of a truncation, 1 for an open that truncates.
        path: the file; for a note what it says; a directory's ends with a slash.
        data: what was written; for a rename the old path.
    """

    call: str
    failed: bool
    number: int
    path: str
    data: bytes


def read_trace(path: Path) -> list[Event]:
    """Read what the shim wrote down."""
    return list(_events(path.read_bytes()))


def _events(content: bytes) -> Iterator[Event]:
    place = 0
    while place < len(content):
        call, failed, number, path, data = _HEAD.unpack_from(content, place)
        middle = place + _HEAD.size + path
        name = content[place + _HEAD.size : middle].decode()
        yield Event(call.decode(), failed != 0, number, name, content[middle : middle + data])
        place = middle + data


@dataclass(slots=True)
class _File:
    """One file: what is on the disk, and the writes that may still be lost (a cut is a write of no data)."""

    disk: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def synced(self) -> None:
        for place, data in self.pending:
            self._apply(place, data)
        self.pending = []

    def forgotten(self, chance: Random) -> None:
        """A sync failed: some of it may have come through, the rest never will by itself."""
        self._some(chance)
        self.pending = []

    def after_power_cut(self, chance: Random) -> bytes:
        self._some(chance)
        return bytes(self.disk)

    def _some(self, chance: Random) -> None:
        for place, data in self.pending:
            luck = chance.random()
            if data is None or luck < 0.4:
                if luck < 0.7:
                    self._apply(place, data)
            elif luck < 0.6:
                self._apply(place, data[: chance.randrange(len(data) + 1) // _SECTOR * _SECTOR])

    def _apply(self, place: int, data: bytes | None) -> None:
        if data is None:
            del self.disk[place:]
            return
        if len(self.disk) < place:
            self.disk.extend(bytes(place - len(self.disk)))
        self.disk[place : place + len(data)] = data


class Disk:
    """A disk that the calls of a trace are played onto.

    Attributes:
        noted: what the process had noted so far.
    """

    def __init__(self, chance: Random) -> None:
        self.noted: list[str] = []
        self._chance = chance
        self._names: dict[str, _File] = {}
        self._on_disk: dict[str, _File] = {}

    def play(self, event: Event) -> None:
        """Let the call happen."""
        path = event.path
        if event.call == "N":
            self.noted.append(path)
        elif path.endswith("-shm"):
            return  # SQLite makes it anew
        elif event.call == "S":
            self._sync(path, failed=event.failed)
        elif event.failed:
            return
        elif event.call == "O":
            file = self._names.setdefault(path, _File())
            if event.number:
                file.pending.append((0, None))
        elif event.call == "W":
            self._names.setdefault(path, _File()).pending.append((event.number, event.data))
        elif event.call == "T":
            self._names[path].pending.append((event.number, None))
        elif event.call == "U":
            self._names.pop(path, None)
        elif event.call == "R":
            self._names[path] = self._names.pop(event.data.decode())

    def _sync(self, path: str, *, failed: bool) -> None:
        if failed:
            if path in self._names:
                self._names[path].forgotten(self._chance)
        elif path.endswith("/"):
            self._on_disk = {
                **{name: file for name, file in self._on_disk.items() if not name.startswith(path)},
                **{name: file for name, file in self._names.items() if name.startswith(path)},
            }
        elif path in self._names:
            self._names[path].synced()
            self._on_disk[path] = self._names[path]

    def after_power_cut(self, directory: Path, original: Path) -> None:
        """Write what the disk holds when the power fails now.

        Args:
            directory: where to.
            original: the directory of the trace.
        """
        directory.mkdir()
        found = dict(self._on_disk)
        for name in {*self._names, *self._on_disk}:
            if self._names.get(name) is not self._on_disk.get(name) and self._chance.random() < 0.5:
                if name in self._names:
                    found[name] = self._names[name]
                else:
                    del found[name]
        for name, file in found.items():
            (directory / Path(name).relative_to(original)).write_bytes(file.after_power_cut(self._chance))


def power_cut(events: list[Event], at: int, directory: Path, original: Path, seed: int) -> list[str]:
    """Leave in `directory` what the disk may hold after the first `at` calls; return what had been noted by then."""
    disk = Disk(Random(seed))  # noqa: S311 - chosen, not secret
    for event in events[:at]:
        disk.play(event)
    disk.after_power_cut(directory, original)
    return disk.noted
