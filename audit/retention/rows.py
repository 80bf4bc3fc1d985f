"""Deletes from the beginning of chains, but never the record that the tree took last from one."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from audit.chain import Head


@runtime_checkable
class Rows(Protocol):
    """Deletes from the beginning of a chain, beside its writer."""

    def delete_before(self, chain: str, sequence: int) -> int:
        """Delete the records before a sequence number; return how many. Calling again goes on where it stopped.

        Raises:
            AuditStoreError: they cannot be deleted now.
        """


class RowsBehindTree:
    """Keeps what the tree recognises each chain by: without it a chain looks like an older copy (a `Rows`).

    Args:
        rows: deletes.
        taken: how far the tree has taken each chain.
    """

    def __init__(self, rows: Rows, taken: Callable[[], Mapping[str, Head]]) -> None:
        self._rows = rows
        self._taken = taken

    def delete_before(self, chain: str, sequence: int) -> int:
        """Delete the records before a sequence number, and before the one that the tree took last."""
        head = self._taken().get(chain)
        return 0 if head is None else self._rows.delete_before(chain, min(sequence, head.sequence))
