"""Runs an export: begins or resumes it, writes what its format asks for, and says that it is whole last of all."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from audit.export.bundle import write_extras
from audit.export.errors import ExportError
from audit.export.output import Output, Plan, read_plan
from audit.export.rows import bundle_line, csv_header, csv_line, json_line
from audit.export.source import CHECKPOINT, Source, open_source
from audit.export.tiling import copy_tiles, write_entries
from audit.store.base import AuditStore, StoredRecord

FLUSH_RECORDS = 2000

Line = Callable[[int, StoredRecord], bytes]

_LINES: dict[str, tuple[str, Line, bytes]] = {
    "jsonl": ("records.jsonl", json_line, b""),
    "csv": ("records.csv", csv_line, csv_header()),
    "bundle": ("records.jsonl", bundle_line, b""),
}

FORMATS = (*_LINES, "tiles")


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export.

    Attributes:
        format: one of `FORMATS`.
        directory: where to; new or empty, or holding the same export unfinished.
        since: only records of this time or later (UNIX nanoseconds).
        until: only records before this time (UNIX nanoseconds); 0 for no end.
        verifier_keys: public keys of the log, put beside a bundle.
        policy: the witness policy, put beside a bundle; empty for none.
        sealed: signed checkpoint of the last segment that retention deleted; empty for none.
        timestamps: further files for a bundle, by name: RFC 3161 answers, and what they are of.
    """

    format: str
    directory: Path
    since: int = 0
    until: int = 0
    verifier_keys: tuple[str, ...] = ()
    policy: str = ""
    sealed: bytes = b""
    timestamps: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported.

    Attributes:
        records: number of records written.
        deleted: number of records that retention had deleted before.
        size: records in the tree that the export is of.
        resumed: whether an unfinished export went on.
    """

    records: int
    deleted: int
    size: int
    resumed: bool


def export_log(
    store: AuditStore,
    tree: Path,
    request: ExportRequest,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Export a log up to its latest checkpoint.

    Args:
        store: its chains.
        tree: directory of its tree.
        request: what and where to.
        progress: called with the number of records done since the last call, and of all.

    Raises:
        ExportError: the output is not empty, the log lacks something, or the disk is full; calling again goes on.
    """
    if request.format not in FORMATS:
        raise ExportError(f"{request.format!r} is no format; there are: {', '.join(FORMATS)}")
    if request.format == "tiles" and (request.since or request.until):
        raise ExportError("tiles are of the whole log; --since and --until go with jsonl, csv and bundle")
    begun = read_plan(request.directory)
    source = open_source(store, tree, begun.note.encode() if begun is not None else None)
    plan = Plan(request.format, store.log, request.since, request.until, source.note.decode())
    output = Output(request.directory, plan)
    size = source.checkpoint.size

    def advance(count: int) -> None:
        if progress is not None:
            progress(count, size)

    try:
        if request.format in ("tiles", "bundle"):
            copy_tiles(source, output)
        if request.format == "tiles":
            written, deleted = write_entries(source, output, advance), 0
        else:
            written, deleted = _write_lines(source, output, request, advance)
        if request.format == "bundle":
            write_extras(source, output, request, written, deleted)
        if request.format in ("tiles", "bundle"):
            output.write(CHECKPOINT, source.note)
        output.part("progress").unlink(missing_ok=True)
        output.finish()
    except OSError as error:
        raise ExportError(f"{request.directory} cannot be written: {error.strerror}; run again to go on") from error
    return Exported(written, deleted, size, output.resumed)


def _write_lines(
    source: Source, output: Output, request: ExportRequest, advance: Callable[[int], None]
) -> tuple[int, int]:
    """Write one line a record. A file `.progress` says how far it is certain; what lies beyond is written again."""
    name, line, header = _LINES[request.format]
    part, mark = output.part(name), output.part("progress")
    index, at, written, deleted = 0, 0, 0, 0
    if (output.directory / name).exists():
        index, at, written, deleted = _read_mark(mark)
        advance(index)
        return written, deleted
    if mark.exists() and part.exists():
        index, at, written, deleted = _read_mark(mark)
    advance(index)
    with part.open("r+b" if part.exists() else "w+b") as file:
        file.truncate(at)
        file.seek(at)
        if at == 0:
            file.write(header)
        done = 0
        for leaf in source.leaves(index):
            done += 1
            if leaf.record is None:
                deleted += 1
            elif leaf.record.time_ns >= request.since and (not request.until or leaf.record.time_ns < request.until):
                file.write(line(leaf.index, leaf.record))
                written += 1
            if done == FLUSH_RECORDS:
                file.flush()
                os.fsync(file.fileno())
                _write_mark(mark, (leaf.index + 1, file.tell(), written, deleted))
                advance(done)
                done = 0
        advance(done)
        file.flush()
        os.fsync(file.fileno())
        _write_mark(mark, (source.checkpoint.size, file.tell(), written, deleted))
    output.publish(name)
    return written, deleted


def _write_mark(path: Path, mark: tuple[int, int, int, int]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(orjson.dumps(mark))
    temporary.replace(path)


def _read_mark(path: Path) -> tuple[int, int, int, int]:
    try:
        index, at, written, deleted = orjson.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        raise ExportError(f"{path} is damaged; name a new directory") from error
    return index, at, written, deleted
