"""Takes what the chains have grown by into the tree, and signs the result.

One sequencer a log. It takes records in the order of their chains, so a leaf never precedes the record that its own
names; between chains the order is that in which they were read. Each record is hashed anew and must continue its chain:
what was changed on disk before it was taken is not signed.

The order of what is written matters: tiles, then the state, then the signature. After a kill anywhere between, the
next start takes the same records again or goes on after them; no size is ever signed with two roots.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson

from audit.chain import GENESIS, Head, record_hash
from audit.errors import AuditBrokenError
from audit.store.base import AuditStore, StoredRecord
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.note import NoteSigner, sign_note
from audit.tlog.tiles import TileStorage, TileTree
from audit.tree.guard import check_chain
from audit.tree.state import Run, TreeState

MAX_RECORDS = 20_000
"""Most records taken between two checkpoints."""


@dataclass(frozen=True, slots=True)
class Sequenced:
    """What one step did.

    Attributes:
        taken: number of records taken into the tree.
        more: whether there is more to take at once.
        checkpoint: the tree as it is now.
        note: the checkpoint as signed by the log.
    """

    taken: int
    more: bool
    checkpoint: Checkpoint
    note: bytes


class Sequencer:
    """Grows and signs the tree of one log. Not for two threads at once."""

    def __init__(
        self, store: AuditStore, state: TreeState, storage: TileStorage, signers: Sequence[NoteSigner]
    ) -> None:
        """`signers` sign every checkpoint, the log's own key first.

        Raises:
            TileMissingError: the tree's last tiles are not there.
        """
        self._store = store
        self._state = state
        self._storage = storage
        self._signers = signers
        self._tiles: TileTree | None = TileTree(storage, state.size)
        self.size = state.size

    def check(self) -> None:
        """Check that what was taken is still there.

        Raises:
            AuditBrokenError: a chain ends before what was taken from it, or has another record in that place.
            AuditStoreError: it cannot be read.
        """
        for chain, head in sorted(self._state.heads().items()):
            check_chain(self._store, chain, head)

    def step(self) -> Sequenced | None:
        """Take what is new and sign; None if nothing is.

        Raises:
            AuditBrokenError: a record does not continue its chain; nothing was taken.
            AuditStoreError: a chain or the state cannot be read or written.
            OSError: a tile cannot be written.
        """
        tiles = self._opened()
        runs, leaves, heads = [], list[bytes](), {}
        for chain in self._store.chains():
            head = self._state.head(chain) or Head()
            first, count = head.sequence + 1, 0
            for record in self._new(chain, head, MAX_RECORDS - len(leaves)):
                head = Head(record.sequence, record.hash)
                leaves.append(bytes.fromhex(record.hash))
                count += 1
            if count:
                runs.append(Run(self.size + len(leaves) - count, chain, first, count))
                heads[chain] = head
            if len(leaves) >= MAX_RECORDS:
                break
        if not leaves:
            return None
        self._tiles = None  # until both are written: what a failure left of them is read again
        tiles.append(leaves)
        self._state.add(runs, heads)
        self._tiles = tiles
        self.size += len(leaves)
        return Sequenced(len(leaves), len(leaves) >= MAX_RECORDS, *self.sign())

    def sign(self) -> tuple[Checkpoint, bytes]:
        """Return the tree as it is, and as a signed note."""
        heads = self._state.heads()
        checkpoint = Checkpoint(
            self._store.log,
            self.size,
            self._opened().root(),
            tuple(f"chain {chain} {heads[chain].sequence + 1} {heads[chain].hash}" for chain in sorted(heads)),
        )
        return checkpoint, sign_note(checkpoint.to_text(), self._signers)

    @property
    def tiles(self) -> TileTree:
        """The tree, for proofs."""
        return self._opened()

    def _opened(self) -> TileTree:
        if self._tiles is None:
            self.size = self._state.size
            self._tiles = TileTree(self._storage, self.size)
        return self._tiles

    def _new(self, chain: str, head: Head, limit: int) -> Iterator[StoredRecord]:
        with self._store.reader(chain) as reader:
            for record in reader.records(head.sequence + 1, stop=head.sequence + 1 + limit):
                self._check(record, head)
                head = Head(record.sequence, record.hash)
                yield record

    def _check(self, record: StoredRecord, head: Head) -> None:
        place = f"record {record.sequence} of the chain {record.chain}"
        if record.sequence != head.sequence + 1:
            raise AuditBrokenError(f"{place} follows record {head.sequence}: records between them were taken away")
        if record_hash(record.record) != record.hash:
            raise AuditBrokenError(f"{place} is not the one that was written")
        try:
            document = orjson.loads(record.record)
        except orjson.JSONDecodeError as error:
            raise AuditBrokenError(f"{place} is no record: {error}") from error
        before = head.hash if head.sequence >= 0 else GENESIS
        names = (document.get("log"), document.get("chain"), document.get("seq"), document.get("prev"))
        if names != (self._store.log, record.chain, record.sequence, before):
            raise AuditBrokenError(f"{place} does not continue its chain; run: govctl audit verify")
