"""Builds what keeps and deletes records, from the configuration."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from audit.chain import Head
from audit.errors import AuditStoreError
from audit.receipts import CHECKPOINT
from audit.retention import Cursors, Journal, Keeper, Planner, RetentionError, Rows, RowsBehindTree, Segment
from audit.sealing import SqlContentStore
from audit.sealing.engines import DIRECTORY, FILE_NAME, open_sqlite
from audit.sinks.cursor import DIRECTORY as SINKS
from audit.sinks.cursor import read_cursors
from audit.store import AuditStore
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint
from audit.tlog.errors import NoteError
from audit.tlog.note import open_note, parse_verifier_key
from audit.tree.state import TreeState
from gateway.app import open_audit_store
from gateway.audit_keys import VERIFIER_FILE
from gateway.clock import Clock, system_clock
from gateway.config import GatewayConfig

CHAIN = "govctl"
"""The chain that records of segments, holds and deletions are written to."""

JOURNAL = "retention"
"""Directory of the journal below that of the log."""

_TYPES = frozenset({"log.sealed", "log.segment_deleted", "log.legal_hold_set", "log.legal_hold_lifted"})


def open_keeper(
    config: GatewayConfig,
    record: Callable[[str, dict[str, Any]], object],
    cursors: Callable[[], Cursors] | None = None,
    clock: Clock = system_clock,
) -> tuple[Keeper, Planner]:
    """Return what seals segments, sets holds and deletes, and what decides.

    Args:
        record: writes to the audit log, and returns once it is durable.
        cursors: how far each sink came; nothing that a sink has not taken is deleted. Default: those configured.
    """
    sinks = [sink.name for sink in config.audit.sinks]
    cursors = cursors or (lambda: read_cursors(config.audit_dir / SINKS, sinks))
    store = open_audit_store(config)
    if not isinstance(store, Rows):
        raise RetentionError("this store of the audit log cannot delete")
    planner = Planner(store, config.audit.retention.compiled(), _notes(config), cursors, clock)
    journal = Journal(config.audit_dir / JOURNAL, store.log, clock)
    copies = [lambda segment: _remove_content(config, store, segment)]
    rows = RowsBehindTree(store, lambda: _taken(config))
    return Keeper(journal, planner, rows, record, lambda: _marks(store), copies), planner


def latest_checkpoint(config: GatewayConfig) -> bytes:
    """Return the newest signed checkpoint of the log.

    Raises:
        RetentionError: there is none yet.
    """
    path = config.audit_tree / CHECKPOINT
    try:
        return path.read_bytes()
    except OSError as error:
        raise RetentionError(
            f"{path} cannot be read: {error.strerror}. The gateway writes it when it runs; start it once."
        ) from error


def last_deleted_checkpoint(config: GatewayConfig) -> bytes | None:
    """Return the signed checkpoint of the last segment that was deleted: what is left of the log begins there.

    Raises:
        RetentionError: the journal was changed.
    """
    book = Journal(config.audit_dir / JOURNAL, config.audit_log, system_clock).read()
    return book.segments[book.deleted - 1].note if book.deleted else None


def _notes(config: GatewayConfig) -> Callable[[bytes], Checkpoint]:
    def opened(note: bytes) -> Checkpoint:
        path = config.audit_dir / VERIFIER_FILE
        try:
            keys = [parse_verifier_key(line) for line in path.read_text().split()]
        except OSError as error:
            raise NoteError(f"{path} cannot be read: {error.strerror}") from error
        return parse_checkpoint(open_note(note, keys).text)

    return opened


def _taken(config: GatewayConfig) -> Mapping[str, Head]:
    with TreeState(config.audit_tree, readonly=True) as state:
        return state.heads()


def _marks(store: AuditStore) -> Sequence[tuple[int, str]]:
    """Return what the log says of the journal."""
    if CHAIN not in store.chains():
        return ()
    found = []
    with store.reader(CHAIN) as reader:
        for record in reader.records():
            if record.type in _TYPES:
                journal = orjson.loads(record.record)["journal"]
                found.append((journal["entries"], journal["head"]))
    return found


def _remove_content(config: GatewayConfig, store: AuditStore, segment: Segment) -> None:
    """Remove the sealed content of the calls of a segment: it is not kept longer than the record of its call."""
    directory = config.audit_dir / DIRECTORY
    if not (directory / FILE_NAME).exists():
        return
    calls = set()
    for chain, first, stop in segment.ranges():
        try:
            with store.reader(chain) as reader:
                for record in reader.records(first, stop=stop):
                    if record.type == "content.sealed":
                        calls.add(str(orjson.loads(record.record)["of"]))
        except AuditStoreError:
            if chain in store.chains():
                raise
    if calls:
        SqlContentStore(open_sqlite(directory), store.log).remove_items(sorted(calls))
