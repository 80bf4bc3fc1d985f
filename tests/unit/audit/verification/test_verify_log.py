"""The tree over the chains: whatever is changed in chains, tiles, order or checkpoint is found, and named."""

import shutil
from pathlib import Path

import orjson
import pytest

from audit.canonical import canonical
from audit.chain import Head, Linked, link, record_hash
from audit.events.validation import validate_record
from audit.verification import LogReport, load_state, save_state, verify_log
from audit.verification.progress import VerifiedStateError
from tests.support.audit_log import LogWorld, call, outcome


@pytest.fixture
def log(world: LogWorld) -> LogWorld:
    """A log of 700 records in two chains, signed twice."""
    world.write("control", ("gateway.started", {"version": "1"}))
    world.calls("worker-0", 130)
    world.sequence()
    world.write("control", *[("test.event", {"number": n}) for n in range(39)])
    world.calls("worker-0", 200)
    world.sequence()
    return world


def verify(world: LogWorld, **options: object) -> LogReport:
    return verify_log(world.store, world.tree, keys=[world.key], **options)  # type: ignore[arg-type]


def rules(report: LogReport) -> set[str]:
    return {f.rule for f in [*report.tree.findings, *(f for chain in report.chains for f in chain.findings)]}


def rewrite(world: LogWorld, chain: str, sequence: int) -> None:
    """Change a record and make everything after it anew, as somebody would who can write all files of the chain."""
    with world.store.reader(chain) as reader:
        rows = list(reader.records())
    head = Head(sequence - 1, rows[sequence - 1].hash if sequence else "0" * 64)
    world.change(chain, "DELETE FROM records WHERE seq >= ?", sequence)
    for row in rows[sequence:]:
        made: Linked = link(head, world.store.log, chain, row.event_id, row.time_ns, "test.event", {"rewritten": True})
        head = Head(made.sequence, made.hash)
        insert = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)"
        world.change(chain, insert, made.sequence, made.event_id, made.time_ns, made.type, made.hash, made.record)
    (world.directory / f"{chain}.head").write_text(f"{head.sequence} {head.hash}\n")


def test_an_untouched_log_is_good(log: LogWorld) -> None:
    report = verify(log)
    assert report.ok, rules(report)
    assert report.tree.compared == 700
    assert report.tree.signed is not None
    assert report.tree.signed.signers == ("example.org/audit",)


def test_records_that_are_not_in_the_tree_yet_are_no_fault(log: LogWorld) -> None:
    log.calls("worker-0", 3)
    log.write("govctl", ("test.event", {}))
    report = verify(log)
    assert report.ok, rules(report)
    assert (report.tree.compared, sum(chain.records for chain in report.chains)) == (700, 707)


def test_a_chain_that_was_written_anew_differs_from_the_tree(log: LogWorld) -> None:
    rewrite(log, "control", 20)
    assert rules(verify(log)) == {"leaf", "chain-head"}


def test_two_chains_that_changed_their_names_are_found(log: LogWorld) -> None:
    for suffix in (".sqlite", ".head"):
        one, two = (log.directory / f"{chain}{suffix}" for chain in ("control", "worker-0"))
        aside = log.directory / "aside"
        one.rename(aside)
        two.rename(one)
        aside.rename(two)
    assert rules(verify(log)) >= {"column", "leaf", "chain-head"}


def test_a_chain_that_was_cut_together_with_its_head_is_found(log: LogWorld) -> None:
    log.change("control", "DELETE FROM records WHERE seq >= 30")
    with log.store.reader("control") as reader:
        last = reader.last(1)[0]
    (log.directory / "control.head").write_text(f"{last.sequence} {last.hash}\n")
    assert rules(verify(log)) == {"leaf", "chain-head"}


def test_a_chain_that_was_taken_away_with_everything_beside_it_is_found(log: LogWorld) -> None:
    for path in log.directory.glob("control.*"):
        path.unlink()
    assert rules(verify(log)) == {"leaf", "chain-head"}


@pytest.mark.parametrize(
    ("path", "rule"),
    [("tile/0/000", "leaf"), ("tile/0/001", "leaf"), ("tile/0/002.p/188", "leaf"), ("tile/1/000.p/2", "tile")],
)
def test_a_changed_tile_is_found(log: LogWorld, path: str, rule: str) -> None:
    tile = log.tree / path
    data = bytearray(tile.read_bytes())
    data[40] ^= 1
    tile.write_bytes(data)
    assert rule in rules(verify(log))


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/002.p/188", "tile/1/000.p/2"])
def test_a_missing_tile_is_found(log: LogWorld, path: str) -> None:
    (log.tree / path).unlink()
    assert "tile" in rules(verify(log))


def test_a_missing_checkpoint_is_found(log: LogWorld) -> None:
    (log.tree / "checkpoint").unlink()
    assert rules(verify(log)) == {"checkpoint"}


def test_a_missing_order_is_found(log: LogWorld) -> None:
    (log.tree / "state.sqlite").unlink()
    assert rules(verify(log)) == {"order"}


def test_a_checkpoint_signed_with_another_key_is_found(log: LogWorld, tmp_path: Path) -> None:
    with LogWorld(tmp_path / "other") as other:
        report = verify_log(log.store, log.tree, keys=[other.key])
    assert rules(report) == {"signature"}


@pytest.mark.parametrize(
    ("old", "new"), [(b"chain control 40 ", b"chain control 39 "), (b"\n700\n", b"\n699\n"), (b"chain w", b"chair w")]
)
def test_a_changed_checkpoint_is_found(log: LogWorld, old: bytes, new: bytes) -> None:
    path = log.tree / "checkpoint"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    assert "signature" in rules(verify(log))


def test_without_a_key_the_tree_is_checked_and_no_signer_is_reported(log: LogWorld) -> None:
    report = verify_log(log.store, log.tree)
    assert report.ok
    assert report.tree.signed is not None
    assert report.tree.signed.signers == ()


def test_an_older_checkpoint_is_continued(log: LogWorld) -> None:
    old = (log.tree / "checkpoint").read_bytes()
    log.calls("worker-0", 5)
    log.sequence()
    report = verify(log, older=[old])
    assert report.ok, rules(report)
    assert report.tree.continues == [700]


def test_a_log_that_was_written_and_signed_anew_does_not_continue_a_kept_checkpoint(
    log: LogWorld, tmp_path: Path
) -> None:
    """The thief of the key leaves a log without a fault in itself; who kept a checkpoint sees it all the same."""
    kept = (log.tree / "checkpoint").read_bytes()
    with LogWorld(tmp_path / "forged", log.signer._private_key) as forged:
        forged.calls("worker-0", 500)
        forged.sequence()
        assert verify(forged).ok
        assert rules(verify(forged, older=[kept])) == {"consistency"}


def test_a_log_that_was_set_back_is_shorter_than_a_kept_checkpoint(log: LogWorld, tmp_path: Path) -> None:
    shutil.copytree(log.directory, tmp_path / "backup")
    log.calls("worker-0", 5)
    kept = log.sequence()
    with LogWorld(tmp_path / "backup", log.signer._private_key) as restored:
        report = verify(restored, older=[kept])
    assert rules(report) == {"consistency"}
    assert "the log was cut" in report.tree.findings[0].message


def test_a_checkpoint_by_somebody_else_is_not_continued(log: LogWorld, tmp_path: Path) -> None:
    with LogWorld(tmp_path / "other") as other:
        other.calls("worker-0", 1)
        note = other.sequence()
    assert rules(verify(log, older=[note])) == {"consistency"}


class TestIncremental:
    def test_only_what_is_new_is_read(self, log: LogWorld, tmp_path: Path) -> None:
        save_state(tmp_path / "state", verify(log).state())
        log.calls("worker-0", 40)
        log.sequence()
        report = verify(log, state=load_state(tmp_path / "state", log.store.log))
        assert report.ok, rules(report)
        assert (sum(chain.records for chain in report.chains), report.tree.compared) == (80, 80)
        assert report.tree.continues == [700]

    def test_records_verified_before_they_were_in_the_tree_are_compared_once_they_are(
        self, log: LogWorld, tmp_path: Path
    ) -> None:
        log.calls("worker-0", 4)
        save_state(tmp_path / "state", verify(log).state())
        log.calls("worker-0", 1)
        log.sequence()
        report = verify(log, state=load_state(tmp_path / "state", log.store.log))
        assert report.ok, rules(report)
        assert (sum(chain.records for chain in report.chains), report.tree.compared) == (2, 10)

    def test_a_call_under_way_is_closed_later(self, log: LogWorld, tmp_path: Path) -> None:
        [intent] = log.write("worker-0", ("access.intent", call(1)))
        before = verify(log)
        assert list(before.chains[1].open_calls) == [intent.event_id]
        save_state(tmp_path / "state", before.state())
        log.write("worker-0", ("access.outcome", outcome(intent.event_id, 1)))
        report = verify(log, state=load_state(tmp_path / "state", log.store.log))
        assert report.ok, rules(report)
        assert report.chains[1].open_calls == {}

    @pytest.mark.parametrize("what", ["cut", "rewritten", "gone"])
    def test_what_was_verified_has_to_be_there_still(self, log: LogWorld, tmp_path: Path, what: str) -> None:
        save_state(tmp_path / "state", verify(log).state())
        if what == "cut":
            log.change("control", "DELETE FROM records WHERE seq >= 30")
        elif what == "rewritten":
            rewrite(log, "control", 20)
        else:
            for path in log.directory.glob("control.*"):
                path.unlink()
        report = verify(log, state=load_state(tmp_path / "state", log.store.log))
        assert rules(report) & {"shortened", "head"}

    def test_the_tree_has_to_be_there_still(self, log: LogWorld, tmp_path: Path) -> None:
        save_state(tmp_path / "state", verify(log).state())
        shutil.rmtree(log.tree)
        assert "checkpoint" in rules(verify(log, state=load_state(tmp_path / "state", log.store.log)))

    def test_an_id_from_before_is_found_again(self, log: LogWorld, tmp_path: Path) -> None:
        save_state(tmp_path / "state", verify(log).state())
        with log.store.reader("control") as reader:
            old, last = next(reader.records(3)), reader.last(1)[0]
        again = link(Head(last.sequence, last.hash), log.store.log, "control", old.event_id, log.now, "test.event", {})
        insert = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)"
        log.change(
            "control", insert, again.sequence, again.event_id, again.time_ns, again.type, again.hash, again.record
        )
        report = verify(log, state=load_state(tmp_path / "state", log.store.log))
        assert rules(report) == {"duplicate-id"}

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"[]", b'{"version": 2, "log": "a", "chains": {}, "checkpoint": ""}']
    )
    def test_a_damaged_state_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "state").write_bytes(content)
        with pytest.raises(VerifiedStateError, match="anew"):
            load_state(tmp_path / "state", "example.org/audit")

    def test_the_state_of_another_log_is_refused(self, log: LogWorld, tmp_path: Path) -> None:
        save_state(tmp_path / "state", verify(log).state())
        with pytest.raises(VerifiedStateError, match="is about the log"):
            load_state(tmp_path / "state", "example.com/other")


class TestRetention:
    def delete(self, log: LogWorld, note: bytes) -> None:
        for line in note.decode().split("\n"):
            if line.startswith("chain "):
                log.change(line.split()[1], "DELETE FROM records WHERE seq < ?", int(line.split()[2]))

    def test_a_beginning_that_was_deleted_continues_the_sealed_checkpoint(self, log: LogWorld) -> None:
        sealed = (log.tree / "checkpoint").read_bytes()
        log.write("control", ("test.event", {}))
        log.calls("worker-0", 7)
        log.sequence()
        self.delete(log, sealed)
        report = verify(log, sealed=sealed)
        assert report.ok, rules(report)
        assert (report.tree.compared, report.tree.deleted) == (15, 700)

    def test_a_chain_of_which_nothing_is_left_is_explained_too(self, log: LogWorld) -> None:
        sealed = (log.tree / "checkpoint").read_bytes()
        log.calls("worker-0", 7)
        log.sequence()
        self.delete(log, sealed)
        report = verify(log, sealed=sealed)
        assert report.ok, rules(report)

    def test_without_the_sealed_checkpoint_it_is_a_finding(self, log: LogWorld) -> None:
        sealed = (log.tree / "checkpoint").read_bytes()
        log.write("control", ("test.event", {}))
        log.calls("worker-0", 7)
        self.delete(log, sealed)
        assert "beginning" in rules(verify(log))

    def test_more_must_not_be_deleted_than_was_sealed(self, log: LogWorld) -> None:
        sealed = (log.tree / "checkpoint").read_bytes()
        log.write("control", ("test.event", {}))
        log.calls("worker-0", 7)
        self.delete(log, sealed)
        log.change("worker-0", "DELETE FROM records WHERE seq < 663")
        assert "beginning" in rules(verify(log, sealed=sealed))


class TestCalls:
    def test_a_gateway_that_was_killed_and_started_explains_what_was_under_way(self, log: LogWorld) -> None:
        [intent] = log.write("worker-0", ("access.intent", call(1)))
        [started] = log.write("control", ("gateway.started", {"version": "1"}))
        report = verify(log)
        assert report.ok, rules(report)
        [explained] = report.chains[1].explained
        assert (explained.intent, explained.by, explained.by_event_id) == (
            intent.event_id,
            "gateway.started",
            started.event_id,
        )
        assert report.chains[1].open_calls == {}

    def test_a_store_that_failed_explains_calls_of_its_own_chain_only(self, log: LogWorld) -> None:
        [here] = log.write("worker-0", ("access.intent", call(1)))
        [there] = log.write("worker-1", ("access.intent", call(1)))
        log.write("worker-0", ("log.recovered", {"cause": "disk full"}))
        reports = {report.chain: report for report in verify(log).chains}
        assert [each.intent for each in reports["worker-0"].explained] == [here.event_id]
        assert list(reports["worker-1"].open_calls) == [there.event_id]

    def test_a_start_before_the_call_explains_nothing(self, log: LogWorld) -> None:
        log.write("control", ("gateway.started", {"version": "1"}))
        [intent] = log.write("worker-0", ("access.intent", call(1)))
        [_, worker] = verify(log).chains
        assert (list(worker.open_calls), worker.explained) == ([intent.event_id], [])

    def test_a_call_that_never_ended_while_others_did_is_a_finding(self, log: LogWorld) -> None:
        log.write("worker-0", ("access.intent", call(1)))
        log.now += 2 * 3600 * 10**9
        log.calls("worker-0", 1)
        assert rules(verify(log)) == {"intent-without-outcome"}


def test_fields_are_checked_when_asked_for(log: LogWorld) -> None:
    assert verify(log).ok
    assert rules(verify(log, check=validate_record)) == {"fields"}


def test_a_record_of_another_log_is_found(world: LogWorld) -> None:
    [record] = world.write("control", ("test.event", {}))
    changed = canonical(orjson.loads(record.record) | {"log": "example.com/other"})
    world.change("control", "UPDATE records SET record = ?, hash = ?", changed, record_hash(changed))
    assert "log" in rules(verify_log(world.store, world.tree))
