"""The sequencer takes every record once, in the order of its chain, whatever fails in between, and signs nothing changed."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.chain import link, record_hash
from audit.errors import AuditBrokenError, AuditStoreError
from audit.event_id import uuid7
from audit.store import SqliteStore
from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.merkle import leaf_hash, root_of, verify_consistency
from audit.tlog.note import Ed25519Signer, open_note, parse_verifier_key
from audit.tlog.tiles import DirectoryTiles, TileTree
from audit.tree import sequencer as module
from audit.tree.guard import check_chain
from audit.tree.sequencer import Sequencer
from audit.tree.state import TreeState

LOG = "example.org/audit"
START_NS = 1_800_000_000_000_000_000
SIGNER = Ed25519Signer(LOG, Ed25519PrivateKey.generate())


class Log:
    """A store with its tree, opened anew for each step as after a restart."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = SqliteStore(directory, LOG)
        self.storage = DirectoryTiles(directory / "tree")

    def write(self, chain: str, count: int) -> None:
        with closing(self.store.open_writer(chain)) as writer:
            for number in range(count):
                fields = {"number": number}
                writer.append([link(writer.head, LOG, chain, uuid7(), START_NS + number, "test.event", fields)])

    def opened(self) -> Sequencer:
        self.state = TreeState(self.directory / "tree")
        return Sequencer(self.store, self.state, self.storage, [SIGNER])

    def step(self) -> bytes | None:
        sequencer = self.opened()
        done = sequencer.step()
        self.state.close()
        return None if done is None else done.note

    def leaves(self) -> list[bytes]:
        """The leaves that the state says are in the tree, hashed from the records."""
        found = []
        with TreeState(self.directory / "tree", readonly=True) as state:
            for run in state.runs():
                with self.store.reader(run.chain) as reader:
                    records = list(reader.records(run.first_seq, stop=run.first_seq + run.count))
                found += [leaf_hash(record.record) for record in records]
        return found

    def check(self, note: bytes) -> None:
        """Everything that was written is in the tree, and the tree is what the note says."""
        leaves = self.leaves()
        checkpoint = parse_checkpoint(open_note(note, [parse_verifier_key(SIGNER.verifier_key)]).text)
        assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (LOG, len(leaves), root_of(leaves))
        written = {}
        for chain in self.store.chains():
            with self.store.reader(chain) as reader:
                written[chain] = list(reader.records())
        assert sorted(leaves) == sorted(bytes.fromhex(r.hash) for rows in written.values() for r in rows)
        assert list(checkpoint.extensions) == [f"chain {c} {len(r)} {r[-1].hash}" for c, r in sorted(written.items())]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=3), min_size=1, max_size=5))
def test_every_record_is_taken_once_and_each_tree_continues_the_last(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[tuple[str, int]]]
) -> None:
    log = Log(tmp_path_factory.mktemp("log"))
    sizes: list[tuple[int, bytes]] = []
    for step in steps:
        for chain, count in step:
            log.write(chain, count)
        note = log.step()
        assert (note is None) == (not step)
        if note is not None:
            log.check(note)
            checkpoint = parse_checkpoint(open_note(note, [parse_verifier_key(SIGNER.verifier_key)]).text)
            sizes.append((checkpoint.size, checkpoint.root))
    if sizes:
        tree = TileTree(log.storage, sizes[-1][0])
        for old, root in sizes:
            verify_consistency(old, sizes[-1][0], tree.consistency_proof(old, sizes[-1][0]), root, sizes[-1][1])


def test_what_is_too_much_for_one_step_is_taken_by_the_next(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS", 10)
    log.write("a", 12)
    log.write("b", 12)
    sequencer = log.opened()
    steps = [sequencer.step() for _ in range(4)]
    assert [(step.taken, step.more) for step in steps[:3] if step] == [(10, True), (10, True), (4, False)]
    assert steps[3] is None
    assert steps[2] is not None
    log.check(steps[2].note)


@pytest.mark.parametrize("when", ["tile", "state before", "state after"])
def test_what_fails_in_the_middle_is_taken_by_the_next_step(
    log: Log, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    log.write("a", 300)
    log.step()
    log.write("a", 5)
    log.write("b", 300)
    sequencer = log.opened()
    real_write, real_add, broken = log.storage.write, log.state.add, [True]

    def write(path: str, data: bytes) -> None:
        if broken[0] and when == "tile" and path == "tile/1/000.p/2":
            raise OSError(28, "No space left on device")
        real_write(path, data)

    def add(*arguments: object) -> None:
        if broken[0] and when == "state before":
            raise AuditStoreError("disk I/O error")
        real_add(*arguments)  # type: ignore[arg-type]
        if broken[0] and when == "state after":
            raise AuditStoreError("disk I/O error")

    monkeypatch.setattr(log.storage, "write", write)
    monkeypatch.setattr(log.state, "add", add)
    with pytest.raises((OSError, AuditStoreError)):
        sequencer.step()
    broken[0] = False
    log.write("c", 3)
    done = sequencer.step()
    assert done is not None
    log.check(done.note)


def change(log: Log, chain: str, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(log.directory / f"{chain}.sqlite")) as connection, connection:
        connection.execute(statement, values)


@pytest.mark.parametrize("how", ["bytes", "bytes and hash", "removed", "another chain's"])
def test_a_record_that_was_changed_before_it_was_taken_is_not_signed(log: Log, how: str) -> None:
    log.write("a", 4)
    log.write("b", 4)
    log.step()
    log.write("a", 4)
    with log.store.reader("a") as reader:
        record = next(reader.records(5, stop=6)).record
    forged = record.replace(b'"number":1', b'"number":7')
    match how:
        case "bytes":
            change(log, "a", "UPDATE records SET record = ? WHERE seq = 5", forged)
        case "bytes and hash":
            change(log, "a", "UPDATE records SET record = ?, hash = ? WHERE seq = 5", forged, record_hash(forged))
        case "removed":
            change(log, "a", "DELETE FROM records WHERE seq = 5")
        case "another chain's":
            other = record.replace(b'"chain":"a"', b'"chain":"b"')
            change(log, "a", "UPDATE records SET record = ?, hash = ? WHERE seq = 5", other, record_hash(other))
    sequencer = log.opened()
    with pytest.raises(AuditBrokenError, match="of the chain a"):
        sequencer.step()
    assert sequencer.size == log.state.size == 8


@pytest.mark.parametrize("how", ["shorter", "gone", "another record in its place"])
def test_a_chain_that_lacks_what_the_tree_has_is_an_older_copy(log: Log, how: str) -> None:
    log.write("a", 4)
    log.step()
    sequencer = log.opened()
    sequencer.check()
    match how:
        case "shorter":
            change(log, "a", "DELETE FROM records WHERE seq = 3")
        case "gone":
            for path in log.directory.glob("a.*"):
                path.unlink()
        case _:
            change(log, "a", "UPDATE records SET record = (SELECT record FROM records WHERE seq = 2) WHERE seq = 3")
    with pytest.raises(AuditBrokenError, match="the chain a is an older or a changed copy"):
        sequencer.check()
    head = log.state.head("a")
    assert head is not None
    with pytest.raises(AuditBrokenError):
        check_chain(log.store, "a", head)
