"""Tiles (C2SP tlog-tiles): a Merkle tree cut into pieces of 256 hashes, kept as files that never change.

A full tile is written once. The last tile of each level is partial and written anew, under a name with its width, for
each size that is published. After a kill the tree may be opened with a smaller size than what lies there: what lies
beyond the size belongs to no checkpoint and is written again.
"""

import os
import secrets
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from audit.tlog.errors import TileMissingError
from audit.tlog.merkle import EMPTY_ROOT, HASH_BYTES, node_hash, root_of

__all__ = [
    "HASH_BYTES",
    "MAX_ENTRY_BYTES",
    "WIDTH",
    "DirectoryTiles",
    "TileStorage",
    "TileTree",
    "encode_entries",
    "entries_path",
    "parse_entries",
    "tile_path",
]

WIDTH = 256
_HEIGHT = 8
MAX_ENTRY_BYTES = 65_535


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """Return the path of a tile of hashes."""
    return f"tile/{level}/{_numbered(index, width)}"


def entries_path(index: int, width: int = WIDTH) -> str:
    """Return the path of a bundle of entries."""
    return f"tile/entries/{_numbered(index, width)}"


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """Return a bundle: each entry after its length (two bytes).

    Raises:
        ValueError: an entry is longer than 65,535 bytes.
    """
    if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise ValueError(f"an entry has at most {MAX_ENTRY_BYTES:,} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def parse_entries(bundle: bytes) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        ValueError: it is cut short, or has more entries than a tile has hashes.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(bundle):
        length = int.from_bytes(bundle[at : at + 2], "big")
        entry = bundle[at + 2 : at + 2 + length]
        if at + 2 > len(bundle) or len(entry) != length:
            raise ValueError("the bundle of entries is cut short")
        if len(entries) == WIDTH:
            raise ValueError(f"a bundle has at most {WIDTH} entries")
        entries.append(entry)
        at += 2 + length
    return entries


class TileStorage(Protocol):
    """Where tiles lie."""

    def read(self, path: str) -> bytes:
        """Return a file.

        Raises:
            TileMissingError: it is not there.
        """

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole or not at all; it is on disk when this returns.

        Raises:
            OSError: it cannot be written.
        """

    def drop_partial(self, path: str) -> None:
        """Take away the partial tiles of a full one. Best effort."""


class DirectoryTiles:
    """Tiles as files of a directory, as a web server would serve them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, path: str) -> bytes:
        """Return a file."""
        try:
            return (self._directory / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise TileMissingError(f"{path} is not there") from None

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole or not at all; it is on disk when this returns."""
        target = self._directory / path
        self._make(target.parent)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(target.parent)

    def _make(self, directory: Path) -> None:
        """Make a directory, and make sure that its name is on disk."""
        if not directory.is_dir():
            self._make(directory.parent)
            directory.mkdir(mode=0o700, exist_ok=True)
            _sync(directory.parent)

    def drop_partial(self, path: str) -> None:
        """Take away the partial tiles of a full one."""
        shutil.rmtree(self._directory / f"{path}.p", ignore_errors=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class TileTree:
    """A tree on tiles: grows at its end, and proves. Several threads may read it while none appends.

    Attributes:
        size: number of leaves.
    """

    def __init__(self, storage: TileStorage, size: int) -> None:
        """Open a tree that has `size` leaves.

        Raises:
            TileMissingError: a tile of its edge is not there.
        """
        self._storage = storage
        self.size = size
        self._edge: list[list[bytes]] = []
        level, count = 0, size
        while count:
            self._edge.append(self._tile(level, count // WIDTH, count % WIDTH) if count % WIDTH else [])
            level, count = level + 1, count // WIDTH
        self._full = lru_cache(maxsize=256)(self._read_full)

    def append(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes at the end, and write the tiles of the new size.

        Raises:
            OSError: a tile cannot be written; the tree is as it was before.
        """
        edge = [list(tile) for tile in self._edge]
        level, fresh, counts = 0, list(leaves), self.size
        while fresh:
            if level == len(edge):
                edge.append([])
            hashes = edge[level] + fresh
            first = counts // WIDTH
            full = len(hashes) // WIDTH
            fresh = []
            for number in range(full):
                tile = hashes[number * WIDTH : (number + 1) * WIDTH]
                path = tile_path(level, first + number)
                self._storage.write(path, b"".join(tile))
                self._storage.drop_partial(path)
                fresh.append(root_of(tile))
            edge[level] = hashes[full * WIDTH :]
            if edge[level]:
                self._storage.write(tile_path(level, first + full, len(edge[level])), b"".join(edge[level]))
            level, counts = level + 1, counts // WIDTH
        self._edge = edge
        self.size += len(leaves)

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the tree, or of its first `size` leaves."""
        return self._range_root(0, self.size if size is None else self._within(size))

    def leaf(self, index: int) -> bytes:
        """Return the hash of a leaf."""
        if not 0 <= index < self.size:
            raise IndexError(f"a tree of {self.size} leaves has no leaf {index}")
        return self._node(0, index)

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """Return the proof that a leaf is in the tree of the first `size` leaves (RFC 6962, section 2.1.1)."""
        if not 0 <= index < self._within(size):
            raise IndexError(f"a tree of {size} leaves has no leaf {index}")
        proof: list[bytes] = []
        begin, end = 0, size
        while end - begin > 1:
            split = begin + _split(end - begin)
            if index < split:
                proof.append(self._range_root(split, end))
                end = split
            else:
                proof.append(self._range_root(begin, split))
                begin = split
        return proof[::-1]

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the tree of `new` leaves continues that of `old` (RFC 6962, section 2.1.2)."""
        if not 0 <= old <= self._within(new):
            raise IndexError(f"a tree of {new} leaves does not continue one of {old}")
        if old in {0, new}:
            return []
        proof: list[bytes] = []
        begin, end, complete = 0, new, True
        while old != end:
            split = begin + _split(end - begin)
            if old <= split:
                proof.append(self._range_root(split, end))
                end = split
            else:
                proof.append(self._range_root(begin, split))
                begin, complete = split, False
        if not complete:
            proof.append(self._range_root(begin, end))
        return proof[::-1]

    def _within(self, size: int) -> int:
        if not 0 <= size <= self.size:
            raise IndexError(f"the tree has {self.size} leaves, not {size}")
        return size

    def _range_root(self, begin: int, end: int) -> bytes:
        """Return the root over leaves `begin` to `end`, where `begin` is a multiple of the largest part."""
        if begin == end:
            return EMPTY_ROOT
        nodes: list[bytes] = []
        at = begin
        while at < end:
            height = (end - at).bit_length() - 1
            nodes.append(self._node(height, at >> height))
            at += 1 << height
        root = nodes.pop()
        while nodes:
            root = node_hash(nodes.pop(), root)
        return root

    def _node(self, height: int, index: int) -> bytes:
        """Return the root of the complete subtree number `index` among those of 2^height leaves."""
        level, inner = divmod(height, _HEIGHT)
        first = index << inner
        number, offset = divmod(first, WIDTH)
        full = (number + 1) * WIDTH <= self.size >> (_HEIGHT * level)
        tile = self._full(level, number) if full else self._edge[level]
        return root_of(tile[offset : offset + (1 << inner)])

    def _read_full(self, level: int, number: int) -> list[bytes]:
        path = tile_path(level, number)
        return _hashes(self._storage.read(path), WIDTH, path)

    def _tile(self, level: int, number: int, width: int) -> list[bytes]:
        """Read a partial tile; one that has become full since holds the same hashes first."""
        path = tile_path(level, number, width)
        try:
            data = self._storage.read(path)
        except TileMissingError:
            return self._read_full(level, number)[:width]
        return _hashes(data, width, path)


def _hashes(data: bytes, width: int, path: str) -> list[bytes]:
    if len(data) != width * HASH_BYTES:
        raise TileMissingError(f"{path} has {len(data):,} bytes, not the {width * HASH_BYTES:,} of its hashes")
    return [data[n * HASH_BYTES : (n + 1) * HASH_BYTES] for n in range(width)]


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _numbered(index: int, width: int) -> str:
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return path if width == WIDTH else f"{path}.p/{width}"
