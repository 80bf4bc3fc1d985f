"""The records of a log in the order of its tree, up to a checkpoint."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from audit.export.errors import ExportError
from audit.store.base import AuditStore, ChainReader, StoredRecord
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint
from audit.tlog.errors import NoteError, TileMissingError
from audit.tlog.note import note_text
from audit.tlog.tiles import DirectoryTiles
from audit.tree.state import Run, TreeState

CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A record in its place in the tree; None for a record that retention deleted."""

    index: int
    chain: str
    sequence: int
    record: StoredRecord | None


@dataclass(frozen=True, slots=True)
class Source:
    """A log as it was signed.

    Attributes:
        store: its chains.
        directory: its tree.
        note: the signed checkpoint that the export is of.
    """

    store: AuditStore
    directory: Path
    note: bytes

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint."""
        return parse_checkpoint(note_text(self.note))

    @property
    def tiles(self) -> DirectoryTiles:
        """The tiles."""
        return DirectoryTiles(self.directory)

    def leaves(self, start: int = 0) -> Iterator[Leaf]:
        """Yield the leaves from index `start` to the checkpoint's size.

        Raises:
            ExportError: the chains lack a record that they have to have.
        """
        with TreeState(self.directory, readonly=True) as state, ExitStack() as stack:
            readers: dict[str, tuple[ChainReader, int]] = {}
            for run in state.runs(start, self.checkpoint.size):
                if run.chain not in readers:
                    reader = stack.enter_context(self.store.reader(run.chain))
                    first = reader.first()
                    kept_from = first.sequence if first is not None else run.first_seq + run.count
                    readers[run.chain] = (reader, kept_from)
                yield from _run(run, *readers[run.chain])


def open_source(store: AuditStore, directory: Path, note: bytes | None = None) -> Source:
    """Return the log as its latest checkpoint, or a given one, says.

    Raises:
        ExportError: there is no checkpoint, or it is another log's.
    """
    try:
        note = DirectoryTiles(directory).read(CHECKPOINT) if note is None else note
        source = Source(store, directory, note)
        origin = source.checkpoint.origin
    except TileMissingError:
        raise ExportError("the log has no signed checkpoint yet: start the gateway, and try again") from None
    except NoteError as error:
        raise ExportError(f"the checkpoint of the log is malformed: {error}; run: govctl audit verify") from error
    if origin != store.log:
        raise ExportError(f"the checkpoint is of the log {origin}, not of {store.log}")
    return source


def _run(run: Run, reader: ChainReader, kept_from: int) -> Iterator[Leaf]:
    deleted = max(0, min(run.count, kept_from - run.first_seq))
    for offset in range(deleted):
        yield Leaf(run.first_index + offset, run.chain, run.first_seq + offset, None)
    sequence = run.first_seq + deleted
    for record in reader.records(sequence, stop=run.first_seq + run.count):
        if record.sequence != sequence:
            break
        yield Leaf(run.first_index + sequence - run.first_seq, run.chain, sequence, record)
        sequence += 1
    if sequence != run.first_seq + run.count:
        raise ExportError(f"the chain {run.chain} lacks its record {sequence}; run: govctl audit verify")
