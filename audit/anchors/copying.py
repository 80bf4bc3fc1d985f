"""Copies checkpoints and tiles of a log to an object store under lock; goes on where it stopped.

What lies there after each copy is a log in the form of C2SP tlog-tiles (hashes only, no records), which other tools
read, and besides it every checkpoint copied, under a name of its own:

    <prefix>tile/<level>/<index>           full tiles, each once
    <prefix>tile/<level>/<index>.p/<width> the last tiles of each size that was copied
    <prefix>checkpoints/<size>-<digest>    every checkpoint, as signed
    <prefix>checkpoint                     the latest one again; the only name that is written twice

Tiles go first: a checkpoint that is there has its tiles there. The cursor is a file beside the log. If it is lost, all
is copied once more, which takes space and changes nothing.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import orjson

from audit.anchors.errors import AnchorContradictsError, AnchorError
from audit.anchors.object_store import ObjectStore
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint
from audit.tlog.errors import TileMissingError
from audit.tlog.note import note_text
from audit.tlog.tiles import HASH_BYTES, WIDTH, DirectoryTiles, TileStorage, TileTree, tile_path

CHECKPOINTS = "checkpoints/"
LATEST = "checkpoint"


@dataclass(slots=True)
class _Cursor:
    """How far the copy came: full tiles of the lowest level, and size and digest of the last checkpoint."""

    tiles: int = 0
    size: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did.

    Attributes:
        objects: number of objects put.
        whole: whether the checkpoint is there now; if not, the next copy goes on.
    """

    objects: int
    whole: bool = True


class LogCopier:
    """Copies one log to one place. Not for two threads or processes at once."""

    def __init__(
        self,
        objects: ObjectStore,
        tiles: TileStorage,
        cursor: Path,
        *,
        prefix: str,
        retention_seconds: int,
        clock: Callable[[], int],
    ) -> None:
        """Open the cursor.

        Args:
            objects: where to.
            tiles: the log's tiles.
            cursor: file that says how far the copy came.
            prefix: begins every key; ends with a slash, or is empty.
            retention_seconds: how long each object is locked from the moment it is put.
            clock: UNIX seconds.
        """
        self._objects = objects
        self._tiles = tiles
        self._path = cursor
        self._prefix = prefix
        self._retention = retention_seconds
        self._clock = clock
        self._cursor = _read(cursor)

    def copy(self, note: bytes, stopping: Callable[[], bool] = lambda: False) -> Copied:
        """Copy what is missing up to a checkpoint, and the checkpoint.

        Args:
            note: the signed checkpoint.
            stopping: asked before each object; when true, the rest is left to the next copy.

        Raises:
            AnchorContradictsError: more of the log was copied before than it has, or its tiles are not those signed.
            AnchorError: the object store takes something not; what it took stays copied.
            OSError: the cursor cannot be written.
        """
        checkpoint = parse_checkpoint(note_text(note))
        digest = sha256(note).hexdigest()
        if digest == self._cursor.note:
            return Copied(0)
        self._check(checkpoint)
        put = 0
        for index in range(self._cursor.tiles, checkpoint.size // WIDTH):
            if stopping():
                return Copied(put, whole=False)
            put += self._copy_completed(index)
        for level, width in _partial_tiles(checkpoint.size):
            if stopping():
                return Copied(put, whole=False)
            index = (checkpoint.size >> (8 * level)) // WIDTH
            self._put(tile_path(level, index, width), self._partial(level, index, width))
            put += 1
        self._put_checkpoint(f"{CHECKPOINTS}{checkpoint.size:020d}-{digest[:16]}", note)
        self._objects.put(self._prefix + LATEST, note, None)
        self._cursor.size, self._cursor.note = checkpoint.size, digest
        self._save()
        return Copied(put + 2)

    def _check(self, checkpoint: Checkpoint) -> None:
        if checkpoint.size < max(self._cursor.size, self._cursor.tiles * WIDTH):
            raise AnchorContradictsError(
                f"{self._objects.name} has a copy of {self._cursor.size} records of the log {checkpoint.origin}, which "
                f"has {checkpoint.size}: this log is an older copy. Restore the newest one; keep this one as evidence."
            )
        try:
            same = TileTree(self._tiles, checkpoint.size).root() == checkpoint.root
        except TileMissingError as error:
            raise AnchorError(f"the tiles of the log cannot be copied: {error}; run: govctl audit verify") from error
        if not same:
            raise AnchorContradictsError(
                f"the tiles of the log {checkpoint.origin} are not those of its checkpoint; run: govctl audit verify"
            )

    def _copy_completed(self, index: int) -> int:
        """Put a full tile of the lowest level, and the full tiles above that it completes; return their number."""
        level, count = 0, index + 1
        while True:
            path = tile_path(level, count - 1)
            self._put(path, self._read(path))
            if count % WIDTH:
                break
            level, count = level + 1, count // WIDTH
        self._cursor.tiles = index + 1
        self._save()
        return level + 1

    def _partial(self, level: int, index: int, width: int) -> bytes:
        """Read a partial tile, or the full one that it became since: that begins with the same hashes."""
        try:
            return self._tiles.read(tile_path(level, index, width))
        except TileMissingError:
            return self._read(tile_path(level, index))[: width * HASH_BYTES]

    def _read(self, path: str) -> bytes:
        try:
            return self._tiles.read(path)
        except TileMissingError as error:
            raise AnchorError(f"a tile of the log cannot be copied: {error}; run: govctl audit verify") from error

    def _put(self, path: str, data: bytes) -> str:
        return self._objects.put(self._prefix + path, data, self._clock() + self._retention)

    def _put_checkpoint(self, path: str, note: bytes) -> None:
        """Put a checkpoint and see that it is locked: a store may take the wish for a lock and not keep it."""
        until = self._clock() + self._retention
        version = self._put(path, note)
        retention = self._objects.retention(self._prefix + path, version)
        if retention is None or retention.until < until:
            raise AnchorError(f"{self._objects.name} took {path} and did not lock it: is object lock enabled?")

    def _save(self) -> None:
        DirectoryTiles(self._path.parent).write(self._path.name, orjson.dumps(asdict(self._cursor)))


def _partial_tiles(size: int) -> list[tuple[int, int]]:
    """Return level and width of each partial tile of a tree."""
    partial, level = [], 0
    while size:
        if size % WIDTH:
            partial.append((level, size % WIDTH))
        level, size = level + 1, size // WIDTH
    return partial


def _read(path: Path) -> _Cursor:
    """Read a cursor; one that cannot be read means that nothing was copied."""
    try:
        return _Cursor(**orjson.loads(path.read_bytes()))
    except (OSError, TypeError, orjson.JSONDecodeError):
        return _Cursor()
