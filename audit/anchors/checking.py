"""Compares a log with what is kept of it outside: it must continue every checkpoint that was stamped or copied."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509

from audit.anchors.archive import TimestampArchive
from audit.anchors.copying import CHECKPOINTS
from audit.anchors.errors import AnchorContradictsError, AnchorError, TimestampError
from audit.anchors.object_store import ObjectStore
from audit.anchors.timestamps import verify_timestamp
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint
from audit.tlog.errors import NoteError, TileMissingError
from audit.tlog.note import NoteVerifier, open_note
from audit.tlog.tiles import TileTree


@dataclass(slots=True)
class AnchorReport:
    """What was compared.

    Attributes:
        checkpoints: number of checkpoints that the log continues.
        largest: records of the largest of them.
        first_ns: time of the earliest (UNIX nanoseconds), by the keeper's clock; 0 without any.
        last_ns: time of the latest.
        passed_over: what says nothing about this log, and why: not signed by its key, or not stamped by who is trusted.
    """

    checkpoints: int = 0
    largest: int = 0
    first_ns: int = 0
    last_ns: int = 0
    passed_over: list[str] = field(default_factory=list)

    def _took(self, size: int, time_ns: int) -> None:
        self.checkpoints += 1
        self.largest = max(self.largest, size)
        self.first_ns = min(self.first_ns, time_ns) if self.first_ns else time_ns
        self.last_ns = max(self.last_ns, time_ns)


def check_continues(checkpoint: Checkpoint, tree: TileTree, keeper: str) -> None:
    """Check that a tree continues a checkpoint.

    Args:
        checkpoint: what is kept; its signature was verified.
        tree: the log's tree as it is now.
        keeper: who kept it, for the message.

    Raises:
        AnchorContradictsError: it does not.
        AnchorError: a tile of the log is missing.
    """
    if checkpoint.size > tree.size:
        raise AnchorContradictsError(
            f"{keeper} has a signed checkpoint of {checkpoint.size} records of the log {checkpoint.origin}, which has "
            f"{tree.size}: the log was cut, or is an older copy. Keep it as evidence; restore the newest one."
        )
    try:
        root = tree.root(checkpoint.size)
    except TileMissingError as error:
        raise AnchorError(f"the log cannot be compared: {error}; run: govctl audit verify") from error
    if root != checkpoint.root:
        raise AnchorContradictsError(
            f"{keeper} has a signed checkpoint of {checkpoint.size} records of the log {checkpoint.origin} whose root "
            f"the log does not have: a record among the first {checkpoint.size} was changed and the log signed anew"
        )


def check_copies(
    objects: ObjectStore, prefix: str, keys: Sequence[NoteVerifier], tree: TileTree, *, above: int = 0
) -> AnchorReport:
    """Compare a log with the checkpoints in an object store: every version, also of objects taken away since.

    Args:
        objects: the store.
        prefix: as the log was copied.
        keys: the log's public keys.
        tree: the log's tree as it is now.
        above: passes over checkpoints of fewer records. With the tree's size this is one request, and enough to see
            whether the log is an older copy.

    Raises:
        AnchorContradictsError: the log does not continue a checkpoint.
        AnchorError: the store does not answer, or a tile of the log is missing.
    """
    report = AnchorReport()
    for each in objects.list(prefix + CHECKPOINTS, f"{prefix}{CHECKPOINTS}{above:020d}" if above else ""):
        checkpoint = _opened(objects.get(each.key, each.version), keys)
        if isinstance(checkpoint, str):
            report.passed_over.append(f"{each.key} (version {each.version}): {checkpoint}")
            continue
        check_continues(checkpoint, tree, objects.name)
        report._took(checkpoint.size, each.modified * 1_000_000_000)
    return report


def check_timestamps(
    archive: TimestampArchive, roots: Sequence[x509.Certificate], keys: Sequence[NoteVerifier], tree: TileTree
) -> AnchorReport:
    """Compare a log with its time stamps. Nobody is asked.

    Args:
        archive: the stamps.
        roots: root certificates of the authorities that are trusted.
        keys: the log's public keys.
        tree: the log's tree as it is now.

    Raises:
        AnchorContradictsError: the log does not continue a checkpoint that was stamped.
        AnchorError: the archive cannot be read, or a tile of the log is missing.
    """
    report = AnchorReport()
    for each in archive.all():
        try:
            stamp = verify_timestamp(each.response, each.note, roots)
        except TimestampError as error:
            report.passed_over.append(f"{each.path.name}: {error}")
            continue
        checkpoint = _opened(each.note, keys)
        if isinstance(checkpoint, str):
            report.passed_over.append(f"{each.path.name}: {checkpoint}")
            continue
        check_continues(checkpoint, tree, f"the time stamp authority {stamp.authority}")
        report._took(checkpoint.size, stamp.time_ns)
    return report


def _opened(note: bytes, keys: Sequence[NoteVerifier]) -> Checkpoint | str:
    """Return the checkpoint, or why it is none of this log: anybody who may write could have put it there."""
    try:
        checkpoint = parse_checkpoint(open_note(note, keys).text)
    except NoteError as error:
        return str(error)
    if checkpoint.origin not in {key.name for key in keys}:
        return f"it is of the log {checkpoint.origin}"
    return checkpoint
