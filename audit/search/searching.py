"""Searches: what the index names is read from the chains, and has to be what the index saw and what was looked for."""

from collections.abc import Mapping
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

from audit.errors import AuditBrokenError
from audit.search.fields import named, reasons
from audit.search.index import Progress, SearchIndex, StaleIndexError, document_of, with_index
from audit.search.query import Query, matches
from audit.store.base import AuditStore, ChainReader, StoredRecord


def search(directory: Path, store: AuditStore, query: Query, progress: Progress | None = None) -> list[StoredRecord]:
    """Return the newest records that a query finds, the oldest of them first.

    Args:
        directory: directory of the log.
        store: its chains.
        query: what is looked for.
        progress: called with the number of records that the index took since the last call.

    Raises:
        SearchError: the query or the index cannot be used.
        AuditBrokenError: a record in a chain is not the one that was written.
        AuditStoreError: the chains cannot be read.
    """
    return with_index(directory, store, lambda index: _find(index, store, query), progress)


def _find(index: SearchIndex, store: AuditStore, query: Query) -> list[StoredRecord]:
    statement, values = query.statement()
    found: list[StoredRecord] = []
    with ExitStack() as stack:
        readers: dict[str, ChainReader] = {}
        for chain, sequence, digest in index.connection.execute(statement, values).fetchall():
            if chain not in readers:
                readers[chain] = stack.enter_context(store.reader(chain))
            row = next(readers[chain].records(sequence, stop=sequence + 1), None)
            if row is None or row.hash != digest.hex():
                raise StaleIndexError(f"the index names a record {sequence} of {chain} that is not there")
            if sha256(b"\x00" + row.record).hexdigest() != row.hash:
                raise AuditBrokenError(
                    f"record {sequence} of the chain {chain} is not the one that was written; run: govctl audit verify"
                )
            if not _meant(query, row, document_of(row)):
                raise StaleIndexError(f"the index says of record {sequence} of {chain} what it does not say")
            found.append(row)
    return found[::-1]


def _meant(query: Query, row: StoredRecord, document: Mapping[str, Any]) -> bool:
    """Whether a record is what was looked for; of a text only the index knows."""
    if query.types and not any(matches(each, row.type) for each in query.types):
        return False
    if row.time_ns < query.since or (query.until and row.time_ns >= query.until):
        return False
    if query.reason and not any(matches(query.reason, each) for each in reasons(document)):
        return False
    return all(matches(pattern, named(document, field)) for field, pattern in query.named)
