"""Copies the tiles that a checkpoint needs, and makes the bundles of entries (C2SP tlog-tiles)."""

from collections.abc import Callable, Iterator

from audit.export.errors import ExportError
from audit.export.output import Output
from audit.export.source import Source
from audit.tlog.errors import TileMissingError
from audit.tlog.tiles import HASH_BYTES, WIDTH, encode_entries, entries_path, tile_path


def tiles_of(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield level, number and width of each tile of a tree."""
    level, count = 0, size
    while count:
        for number in range(-(-count // WIDTH)):
            yield level, number, min(WIDTH, count - number * WIDTH)
        level, count = level + 1, count // WIDTH


def copy_tiles(source: Source, output: Output) -> None:
    """Copy the tiles.

    Raises:
        ExportError: one is missing.
    """
    tiles = source.tiles
    for level, number, width in tiles_of(source.checkpoint.size):
        path = tile_path(level, number, width)
        if (output.directory / path).exists():
            continue
        try:
            try:
                data = tiles.read(path)
            except TileMissingError:
                data = tiles.read(tile_path(level, number))
        except TileMissingError as error:
            raise ExportError(f"a tile is missing: {error}; run: govctl audit verify") from error
        output.write(path, data[: width * HASH_BYTES])


def write_entries(source: Source, output: Output, progress: Callable[[int], None]) -> int:
    """Write the entries in bundles of 256; return how many records.

    Raises:
        ExportError: a record was deleted by retention, so that its bundle cannot be whole.
    """
    size, written = source.checkpoint.size, 0
    while written < size and (output.directory / entries_path(written // WIDTH)).exists():
        written += WIDTH
    progress(written)
    entries: list[bytes] = []
    for leaf in source.leaves(written):
        if leaf.record is None:
            raise ExportError(
                "retention deleted the beginning of the log, and a bundle of entries is whole or not at all; export as "
                "bundle"
            )
        entries.append(leaf.record.record)
        if len(entries) == WIDTH or leaf.index + 1 == size:
            output.write(entries_path(leaf.index // WIDTH, len(entries)), encode_entries(entries))
            progress(len(entries))
            entries = []
    return size
