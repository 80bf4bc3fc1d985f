"""Receipts: one record with the proof that it is in the signed tree, for whoever made the call and keeps it.

The proof is text in the form of C2SP tlog-proof: the leaf's index, its inclusion proof, and the checkpoint that it
leads to. It verifies with the record's bytes and the log's public key alone.
"""

from dataclasses import dataclass
from pathlib import Path

from audit.errors import AuditError, AuditStoreError
from audit.store.base import AuditStore, StoredRecord
from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.errors import TileMissingError
from audit.tlog.note import note_text
from audit.tlog.proof import format_proof
from audit.tlog.tiles import DirectoryTiles, TileTree
from audit.tree.state import TreeState

CHECKPOINT = "checkpoint"
"""Path of the latest signed checkpoint among the tiles (C2SP tlog-tiles)."""


class ReceiptPendingError(AuditError):
    """The record is durable, and no checkpoint covers it yet."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A record and its proof.

    Attributes:
        record: the record as stored.
        index: its leaf.
        proof: C2SP tlog-proof.
    """

    record: StoredRecord
    index: int
    proof: bytes


def prove(store: AuditStore, directory: Path, event_id: str) -> Receipt | None:
    """Return the receipt of a record; None if there is no such record.

    Args:
        store: the log.
        directory: where its tree is.
        event_id: id of the record.

    Raises:
        ReceiptPendingError: no signed checkpoint covers the record yet.
        AuditStoreError: the log or its tree cannot be read.
    """
    record = store.find(event_id)
    return None if record is None else prove_record(record, directory)


def prove_record(record: StoredRecord, directory: Path) -> Receipt:
    """Return the receipt of a stored record (see `prove`)."""
    tiles = DirectoryTiles(directory)
    try:
        note = tiles.read(CHECKPOINT)
    except TileMissingError:
        raise ReceiptPendingError("the log has no checkpoint yet") from None
    checkpoint = parse_checkpoint(note_text(note))
    with TreeState(directory, readonly=True) as state:
        index = state.index_of(record.chain, record.sequence)
    if index is None or index >= checkpoint.size:
        raise ReceiptPendingError(f"no checkpoint covers the record {record.event_id} yet")
    try:
        proof = TileTree(tiles, checkpoint.size).inclusion_proof(index, checkpoint.size)
    except TileMissingError as error:
        raise AuditStoreError(f"a part of the tree is missing: {error}; run: govctl audit verify") from error
    return Receipt(record, index, format_proof(index, proof, note))
