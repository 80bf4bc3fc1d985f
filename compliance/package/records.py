"""Fetches records by their leaf, each with the proof that it is in the signed tree."""

from contextlib import ExitStack
from typing import Any, Self

import orjson

from audit.export.source import Source
from audit.store.base import ChainReader, StoredRecord
from audit.tlog.proof import format_proof
from audit.tlog.tiles import TileTree
from audit.tree.state import TreeState
from compliance.errors import ComplianceError


class Records:
    """The records of a log as it was signed. A context manager."""

    def __init__(self, source: Source) -> None:
        """Open them.

        Raises:
            audit.errors.AuditStoreError: the log cannot be read.
        """
        self._source = source
        self._stack = ExitStack()
        self._state = self._stack.enter_context(TreeState(source.directory, readonly=True))
        self._size = source.checkpoint.size
        self._tree = TileTree(source.tiles, self._size)
        self._readers: dict[str, ChainReader] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def at(self, leaf: int) -> StoredRecord | None:
        """Return the record of a leaf; None if retention deleted it.

        Raises:
            ComplianceError: the signed tree has no such leaf.
        """
        if not 0 <= leaf < self._size:
            raise ComplianceError(f"the signed tree of {self._size} records has no record {leaf}")
        chain, sequence = self._state.at(leaf)
        if chain not in self._readers:
            self._readers[chain] = self._stack.enter_context(self._source.store.reader(chain))
        record = next(iter(self._readers[chain].records(sequence, stop=sequence + 1)), None)
        return record if record is not None and record.sequence == sequence else None

    def index_of(self, chain: str, sequence: int) -> int:
        """Return the leaf of a record.

        Raises:
            ComplianceError: it is not in the tree.
        """
        index = self._state.index_of(chain, sequence)
        if index is None or index >= self._size:
            raise ComplianceError(f"record {sequence} of the chain {chain} is not in the signed tree")
        return index

    def document(self, leaf: int) -> dict[str, Any]:
        """Return the parsed record of a leaf; empty if retention deleted it."""
        record = self.at(leaf)
        return {} if record is None else dict(orjson.loads(record.record))

    def proof(self, leaf: int) -> bytes:
        """Return the proof that a leaf is in the signed tree (C2SP tlog-proof)."""
        return format_proof(leaf, self._tree.inclusion_proof(leaf, self._size), self._source.note)
