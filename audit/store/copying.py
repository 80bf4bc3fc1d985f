"""Copies a log from one store into another: same bytes, same hashes, same sequence numbers, so every proof still holds.

Each record is verified on its way: its hash, its link to the one before it, and that its columns say what it says. What
the target has already is compared with the source, so a copy that was interrupted goes on, and a target with something
else is refused. Both sides' chains are held for writing meanwhile: nothing is added behind the copy.

A database is opened without a directory of heads here: the heads that SQLite left know more than a copy that is under
way. Afterwards the gateway opens it with that directory, and so notices a copy that is not complete.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice

import orjson

from audit.chain import GENESIS, Head, Linked, record_hash
from audit.errors import AuditBrokenError, AuditStoreError
from audit.store.base import AuditStore, ChainWriter, StoredRecord

BATCH = 1000
"""Records in one transaction."""

Progress = Callable[[str, int, int], None]
"""Told the chain, how many of its records are done, and how many it has."""


def copy(source: AuditStore, target: AuditStore, progress: Progress = lambda _chain, _done, _total: None) -> int:
    """Copy every chain of a log; return how many records were written.

    Raises:
        AuditBrokenError: a record of the source is not the one that was written, or does not continue its chain.
        AuditStoreError: the stores are of different logs, the target has something else, a chain is in use by a
            gateway, or one of them cannot be read or written. What was copied until then is kept.
    """
    if source.log != target.log:
        raise AuditStoreError(f"the source has the log {source.log}, the target {target.log}: they have to be one")
    foreign = sorted(set(target.chains()) - set(source.chains()))
    if foreign:
        raise AuditStoreError(f"the target has chains that the source has not: {', '.join(foreign)}; copy into another")
    return sum(_copy_chain(source, target, chain, progress) for chain in source.chains())


def _copy_chain(source: AuditStore, target: AuditStore, chain: str, progress: Progress) -> int:
    with (
        closing(source.open_writer(chain)),
        closing(target.open_writer(chain)) as writer,
        source.reader(chain) as reader,
    ):
        total = reader.count()
        records = _verified(source.log, chain, reader.records())
        done = _compare(target, chain, records, writer, lambda number: progress(chain, number, total))
        written = 0
        while batch := list(islice(records, BATCH)):
            if writer.head.sequence < 0:
                writer.head = Head(batch[0].sequence - 1)  # what retention deleted is not copied
            writer.append(batch)
            written += len(batch)
            progress(chain, done + written, total)
        return written


def _compare(
    target: AuditStore, chain: str, records: Iterator[Linked], writer: ChainWriter, progress: Callable[[int], None]
) -> int:
    """Take from `records` what the target has, and check that it is the same."""
    if writer.head.sequence < 0:
        return 0
    done = 0
    with target.reader(chain) as reader:
        for found in reader.records():
            record = next(records, None)
            if record is None or _linked(found) != record:
                raise AuditStoreError(
                    f"record {found.sequence} of the chain {chain} in the target is not the source's: the target has "
                    f"another log or another copy of this one. Copy into an empty one."
                )
            done += 1
            if done % BATCH == 0:
                progress(done)
    progress(done)
    return done


def _verified(log: str, chain: str, records: Iterator[StoredRecord]) -> Iterator[Linked]:
    head: Head | None = None
    for record in records:
        if record_hash(record.record) != record.hash:
            raise AuditBrokenError(f"{_place(record)} is not the one that was written")
        try:
            document = orjson.loads(record.record)
        except orjson.JSONDecodeError as error:
            raise AuditBrokenError(f"{_place(record)} is no record: {error}") from error
        says = tuple(document.get(name) for name in ("log", "chain", "seq", "event_id", "time", "type"))
        if says != (log, chain, record.sequence, record.event_id, str(record.time_ns), record.type):
            raise AuditBrokenError(f"{_place(record)} is stored under other names than it says")
        # The record before the first that retention left is gone, and so is what its link could be compared with.
        expected = head or Head(record.sequence - 1, document.get("prev") if record.sequence else GENESIS)
        if (record.sequence, document.get("prev")) != (expected.sequence + 1, expected.hash):
            raise AuditBrokenError(f"{_place(record)} does not continue the one before it; run: govctl audit verify")
        head = Head(record.sequence, record.hash)
        yield _linked(record)


def _linked(record: StoredRecord) -> Linked:
    return Linked(record.sequence, record.event_id, record.time_ns, record.type, record.hash, record.record)


def _place(record: StoredRecord) -> str:
    return f"record {record.sequence} of the chain {record.chain}"
