"""Verifies a whole log: its chains, the tree over them, the signed checkpoint, and that it continues what was seen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audit.chain import Head, record_hash
from audit.errors import AuditError
from audit.store.base import AuditStore
from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.errors import NoteError, ProofError, TileMissingError
from audit.tlog.note import NoteVerifier, note_text
from audit.tlog.tiles import DirectoryTiles
from audit.tree.state import FILE_NAME, TreeState
from audit.verification.chains import Progress, verify_store
from audit.verification.checkpoints import (
    CheckpointPolicy,
    SignedCheckpoint,
    chain_heads,
    check_consistency,
    open_checkpoint,
)
from audit.verification.findings import ChainReport, Finding
from audit.verification.progress import VerifiedState
from audit.verification.ranges import FormCheck, check_range
from audit.verification.tree import TreeCheck

CHECKPOINT = "checkpoint"
"""Path of the latest signed checkpoint among the tiles (C2SP tlog-tiles)."""


@dataclass(slots=True)
class TreeReport:
    """What was found about the tree.

    Attributes:
        signed: the checkpoint; None if there is none that can be read.
        compared: leaves compared with their records.
        deleted: leaves whose records were deleted by retention.
        continues: sizes of the older checkpoints that this one was shown to continue.
    """

    signed: SignedCheckpoint | None = None
    compared: int = 0
    deleted: int = 0
    continues: list[int] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def note(self, rule: str, message: str) -> None:
        """Add a finding about the whole tree."""
        self.findings.append(Finding(rule, "", -1, message))


@dataclass(frozen=True, slots=True)
class LogReport:
    """What was found in a log."""

    log: str
    chains: list[ChainReport]
    tree: TreeReport

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.tree.ok and all(report.ok for report in self.chains)

    def state(self) -> VerifiedState:
        """Return what to keep, so that the next verification can go on from here."""
        signed = self.tree.signed
        return VerifiedState.after(self.log, self.chains, signed.note.decode() if signed is not None else "")


def verify_log(
    store: AuditStore,
    tree: Path,
    *,
    keys: Sequence[NoteVerifier] = (),
    policy: CheckpointPolicy | None = None,
    state: VerifiedState | None = None,
    older: Sequence[bytes] = (),
    sealed: bytes | None = None,
    check: FormCheck | None = None,
    processes: int | None = None,
    progress: Progress | None = None,
) -> LogReport:
    """Verify a log.

    Args:
        store: its chains.
        tree: directory of its tiles, checkpoint and state.
        keys: the log's public keys, as the verifier knows them; without, signatures are not verified.
        policy: the witnesses whose cosignatures are required.
        state: how far it was verified before; only what is new is read.
        older: signed checkpoints that the verifier kept; this tree has to continue each.
        sealed: the signed checkpoint of the last segment that retention deleted.
        check: also checks the fields of each record.
        processes: see `verify_store`.
        progress: see `verify_store`.
    """
    report = TreeReport()
    storage = DirectoryTiles(tree)
    kept = list(older)
    if state is not None and state.checkpoint:
        kept.append(state.checkpoint.encode())
    starts = _starts(report, sealed, store.log, keys)
    if sealed is not None:
        kept.append(sealed)
    # The checkpoint is read before the chains, which then have at least what it binds.
    report.signed = _read_checkpoint(report, storage, tree, store.log, keys, policy, expected=bool(kept))
    begin = _check_older(report, storage, kept, store.log, keys, state)
    comparing = _begin_tree(report, storage, tree, begin)
    chains = verify_store(
        store,
        progress,
        since=state.chains if state is not None else None,
        starts=starts,
        check=check,
        processes=processes,
        sink=comparing.sink if comparing is not None else None,
    )
    if comparing is not None and report.signed is not None:
        if state is not None:
            _compare_between(comparing, store, chains, state, begin)
        comparing.finish(chains)
        report.findings += comparing.findings
        report.compared, report.deleted = comparing.compared, comparing.deleted
        _check_heads(report, store, report.signed.heads, {each.chain: each for each in chains}, starts)
    return LogReport(store.log, chains, report)


def _read_checkpoint(
    report: TreeReport,
    storage: DirectoryTiles,
    tree: Path,
    log: str,
    keys: Sequence[NoteVerifier],
    policy: CheckpointPolicy | None,
    *,
    expected: bool,
) -> SignedCheckpoint | None:
    try:
        note = storage.read(CHECKPOINT)
    except TileMissingError:
        if expected or (tree / FILE_NAME).exists():
            report.note("checkpoint", f"{tree / CHECKPOINT} is gone; there was one before")
        return None
    except OSError as error:
        report.note("checkpoint", f"the checkpoint cannot be read: {error}")
        return None
    try:
        return open_checkpoint(note, log, keys, policy)
    except NoteError as error:
        report.note("signature", f"{error}")
    try:
        return open_checkpoint(note, log, ())  # unsigned, to find what else is wrong
    except NoteError:
        return None


def _starts(report: TreeReport, sealed: bytes | None, log: str, keys: Sequence[NoteVerifier]) -> dict[str, Head]:
    if sealed is None:
        return {}
    try:
        return open_checkpoint(sealed, log, keys).heads
    except NoteError as error:
        report.note("signature", f"the sealed checkpoint: {error}")
        return {}


def _check_older(
    report: TreeReport,
    storage: DirectoryTiles,
    kept: Sequence[bytes],
    log: str,
    keys: Sequence[NoteVerifier],
    state: VerifiedState | None,
) -> int:
    """Check that the tree continues each older checkpoint; return from which leaf on it has to be compared."""
    begin = 0
    if report.signed is None:
        return begin
    for note in kept:
        try:
            old = open_checkpoint(note, log, keys).checkpoint
            check_consistency(storage, old, report.signed.checkpoint)
        except (ProofError, AuditError) as error:
            report.note("consistency", str(error))
            continue
        report.continues.append(old.size)
        if state is not None and note == state.checkpoint.encode():
            begin = old.size
    return begin


def _begin_tree(report: TreeReport, storage: DirectoryTiles, tree: Path, begin: int) -> TreeCheck | None:
    if report.signed is None:
        return None
    checkpoint = report.signed.checkpoint
    try:
        with TreeState(tree, readonly=True) as order:
            return TreeCheck(storage, checkpoint, order.runs(begin, checkpoint.size), begin)
    except AuditError as error:
        report.note("order", str(error))
        return None


def _compare_between(
    comparing: TreeCheck, store: AuditStore, chains: Sequence[ChainReport], state: VerifiedState, begin: int
) -> None:
    """Compare the records that were verified before, and taken into the tree only since."""
    taken = chain_heads(parse_checkpoint(note_text(state.checkpoint.encode()))) if begin else {}
    for report in chains:
        first = max(taken.get(report.chain, Head()).sequence + 1, report.kept_from)
        if first < report.start and report.chain in store.chains():
            with store.reader(report.chain) as reader:
                comparing.sink(check_range(report.chain, store.log, reader.records(first, stop=report.start), None))


def _check_heads(
    report: TreeReport,
    store: AuditStore,
    heads: dict[str, Head],
    chains: dict[str, ChainReport],
    starts: dict[str, Head],
) -> None:
    """Check that each chain has the record that the checkpoint binds as its end."""
    present = set(store.chains())
    for chain, head in sorted(heads.items()):
        if chain in chains and head.sequence < chains[chain].kept_from:
            if starts.get(chain) != head:
                report.note("chain-head", f"record {head.sequence} of the chain {chain} was deleted and is not proven")
            continue
        found = None
        if chain in present:
            try:
                with store.reader(chain) as reader:
                    found = next(reader.records(head.sequence, stop=head.sequence + 1), None)
            except AuditError:
                found = None  # its own report says so
        if found is None:
            report.note("chain-head", f"the chain {chain} lacks record {head.sequence}, which was signed as its end")
        elif type(found.record) is not bytes or record_hash(found.record) != head.hash:
            report.note("chain-head", f"record {head.sequence} of the chain {chain} is another than was signed")
