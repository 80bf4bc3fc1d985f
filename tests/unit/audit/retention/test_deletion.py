import sqlite3
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.chain import Head
from audit.errors import AuditStoreError
from audit.retention import Covers, RetentionRules, RowsBehindTree, Rule


class KilledError(Exception):
    """Stands for the end of the process."""


def two_segments(world: Any) -> None:
    """Two segments in a log that goes on, so that no chain ends in them."""
    for _ in range(2):
        world.write("worker-0", 3)
        world.write("control", 2, type="gateway.started")
        world.seal()
    world.write("worker-0", 2)
    world.write("control", 2, type="gateway.started")
    for chain in ("worker-0", "control"):
        world.store.open_writer(chain).close()


def kinds(plan: Any) -> list[str]:
    return [blocker.kind for blocker in plan.blockers]


def test_what_is_past_its_time_goes_oldest_first_and_on_record(world: Any) -> None:
    two_segments(world)
    world.later(401)
    gone: list[int] = []
    assert world.keeper().apply("operator:anna", deleted=lambda plan: gone.append(plan.segment.number)) is None
    assert gone == [1, 2]
    assert world.removed == [1, 2]
    assert world.kept("worker-0") == [6, 7]
    assert world.kept("control") == [4, 5]
    first = world.told("log.segment_deleted")[0]
    assert (first["segment"], first["start"], first["end"], first["records"]) == ("1", 0, 5, 5)
    assert "400 days" in first["cause"]
    assert world.keeper().apply("operator:anna") is None
    assert len(world.told("log.segment_deleted")) == 2


def test_the_first_kept_record_follows_the_head_that_the_checkpoint_bound(world: Any) -> None:
    two_segments(world)
    world.later(401)
    world.keeper().apply("operator:anna")
    book = world.keeper().book()
    for chain in ("worker-0", "control"):
        with world.store.reader(chain) as reader:
            first = reader.first()
        before, same = book.beginning(chain)
        assert before == same
        assert first.sequence == before.sequence + 1
        assert f'"prev":"{before.hash}"'.encode() in first.record


def test_young_records_keep_their_segment_and_all_later_ones(world: Any) -> None:
    two_segments(world)
    world.later(399)
    plans = list(world.planner().plan(world.journal.read()))
    assert [kinds(plan) for plan in plans] == [["young"], ["young", "order"]]
    assert plans[0].blockers[0].records == 5
    assert plans[0].records == 5
    assert plans[0].oldest_ns < plans[0].newest_ns
    stays = world.keeper().apply("operator:anna")
    assert stays.segment.number == 1
    assert world.kept() == list(range(8))
    assert world.told("log.segment_deleted") == []


def test_one_record_with_a_longer_rule_keeps_the_whole_segment(world: Any) -> None:
    world.rules = RetentionRules([Rule(4000, systems=("credit",))])
    world.write("worker-0", 2)
    world.write("worker-0", 1, system="credit")
    world.seal()
    world.write("worker-0", 1)
    world.later(500)
    (plan,) = world.planner().plan(world.journal.read())
    assert [(blocker.kind, blocker.records) for blocker in plan.blockers] == [("young", 1)]


@pytest.mark.parametrize(
    "covers",
    [
        Covers(),
        Covers(systems=("s",)),
        Covers(principals=("p",)),
        Covers(types=("access.intent",)),
        Covers(since=1, until=4_000_000_000),
    ],
)
def test_a_hold_keeps_its_segment_until_it_is_lifted(world: Any, covers: Covers) -> None:
    two_segments(world)
    world.later(500)
    hold = world.keeper().set_hold(covers, "operator:anna", "suit")
    stays = world.keeper().apply("operator:anna")
    assert kinds(stays) == ["hold"]
    assert hold.hold_id in stays.blockers[0].detail
    world.keeper().lift_hold(hold.hold_id, "operator:anna", "over")
    assert world.keeper().apply("operator:anna") is None


def test_a_hold_on_something_else_keeps_nothing(world: Any) -> None:
    two_segments(world)
    world.later(500)
    world.keeper().set_hold(Covers(systems=("other",)), "operator:anna", "suit")
    world.keeper().set_hold(Covers(until=5), "operator:anna", "suit")
    assert world.keeper().apply("operator:anna") is None


def test_a_sink_that_is_behind_keeps_what_it_has_not_taken(world: Any) -> None:
    two_segments(world)
    world.later(500)
    world.cursors = {"siem": {"worker-0": 4, "control": 9}, "done": {"worker-0": 99, "control": 99}}
    plans = list(world.planner().plan(world.journal.read()))
    assert [kinds(plan) for plan in plans] == [[], ["sink"]]
    assert plans[1].blockers[0].records == 2
    assert world.keeper().apply("operator:anna").segment.number == 2
    assert world.kept("worker-0")[0] == 3
    world.cursors = {"new": {}}
    assert kinds(world.keeper().apply("operator:anna")) == ["sink"]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE records SET record = replace(CAST(record AS TEXT), 'intent', 'denied') WHERE seq = 1",
        "UPDATE records SET record = CAST(replace(CAST(record AS TEXT), 'intent', 'denied') AS BLOB) WHERE seq = 1",
        "UPDATE records SET record = CAST('{}' AS BLOB) WHERE seq = 1",
        "DELETE FROM records WHERE seq = 1",
        "DELETE FROM records WHERE seq = 0",
        "DELETE FROM records WHERE seq >= 2",
    ],
)
def test_a_damaged_segment_is_evidence_and_stays(world: Any, damage: str) -> None:
    two_segments(world)
    world.later(500)
    connection = sqlite3.connect(world.directory / "worker-0.sqlite")
    connection.execute(damage)
    connection.commit()
    connection.close()
    stays = world.keeper().apply("operator:anna")
    assert kinds(stays) == ["damaged"]
    assert world.told("log.segment_deleted") == []


def test_a_segment_whose_checkpoint_does_not_verify_stays(world: Any) -> None:
    two_segments(world)
    world.later(500)
    other = type(world)(world.directory / "other")
    world.signer = other.signer
    assert kinds(world.keeper().apply("operator:anna")) == ["checkpoint"]
    world.store.log = "example.org/other"
    assert "checkpoint" in kinds(world.keeper().apply("operator:anna"))


class Rows:
    """Deletes as the store does, and ends the process at the n-th chain, before or after it."""

    def __init__(self, store: Any, calls: int, *, after: bool) -> None:
        self._store, self._left, self._after = store, calls, after

    def delete_before(self, chain: str, sequence: int) -> int:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise KilledError
        count: int = self._store.delete_before(chain, sequence)
        if self._left == 0:
            raise KilledError
        return count


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize("after", [False, True])
def test_a_deletion_that_was_killed_among_the_rows_goes_on_with_one_record(world: Any, calls: int, after: bool) -> None:
    two_segments(world)
    world.later(500)
    world.rows = Rows(world.store, calls, after=after)
    with pytest.raises(KilledError):
        world.keeper().apply("operator:anna")
    book = world.keeper().book()
    assert book.begun == 1
    first, last = book.beginning("control")
    assert (first.sequence, last.sequence) == (-1, 1)
    world.rows = world.store
    assert world.keeper().apply("operator:anna") is None
    assert [fields["segment"] for fields in world.told("log.segment_deleted")] == ["1", "2"]
    assert world.kept("control") == [4, 5]


def test_rows_are_only_deleted_once_the_record_is_durable(world: Any) -> None:
    two_segments(world)
    world.later(500)

    def broken(record_type: str, fields: dict[str, Any]) -> None:
        raise AuditStoreError("the disk is full")

    with pytest.raises(AuditStoreError):
        world.keeper(broken).apply("operator:anna")
    assert world.kept() == list(range(8))
    assert world.removed == []
    assert world.keeper().apply("operator:anna") is None
    assert len(world.told("log.segment_deleted")) == 2


def test_a_hold_that_comes_before_the_record_withdraws_the_deletion(world: Any) -> None:
    two_segments(world)
    world.later(500)

    def broken(record_type: str, fields: dict[str, Any]) -> None:
        raise AuditStoreError("the disk is full")

    with pytest.raises(AuditStoreError):
        world.keeper(broken).apply("operator:anna")
    world.keeper().set_hold(Covers(), "operator:anna", "suit")
    assert kinds(world.keeper().apply("operator:anna")) == ["hold"]
    assert world.keeper().book().begun == 0
    assert world.kept() == list(range(8))


def test_a_hold_that_comes_among_the_rows_keeps_what_is_still_there(world: Any) -> None:
    two_segments(world)
    world.later(500)
    world.rows = Rows(world.store, 1, after=True)
    with pytest.raises(KilledError):
        world.keeper().apply("operator:anna")
    world.rows = world.store
    hold = world.keeper().set_hold(Covers(systems=("s",)), "operator:anna", "suit")
    assert kinds(world.keeper().apply("operator:anna")) == ["hold"]
    assert world.kept("worker-0") == list(range(8))
    assert world.kept("control") == [2, 3, 4, 5]
    world.keeper().lift_hold(hold.hold_id, "operator:anna", "over")
    assert world.keeper().apply("operator:anna") is None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps=st.lists(st.integers(0, 200), min_size=1, max_size=5),
    later=st.integers(0, 600),
    held=st.none() | st.sampled_from(["a", "b"]),
    default=st.integers(184, 500),
)
def test_nothing_younger_than_its_time_or_under_hold_is_ever_deleted(
    tmp_path_factory: Any, world: Any, gaps: list[int], later: int, held: str | None, default: int
) -> None:
    log = type(world)(tmp_path_factory.mktemp("log"), RetentionRules(default_days=default))
    for number, gap in enumerate(gaps):
        log.write("worker-0", 2, system="ab"[number % 2])
        log.seal()
        log.later(gap)
    log.write("worker-0", 1)
    written = {}
    with log.store.reader("worker-0") as reader:
        written = {record.sequence: record for record in reader.records()}
    if held:
        log.keeper().set_hold(Covers(systems=(held,)), "operator:anna", "suit")
    log.later(later)
    log.keeper().apply("operator:anna")
    for sequence in written.keys() - set(log.kept()):
        age_days = (log.now_ns - written[sequence].time_ns) / 86_400_000_000_000
        assert age_days >= max(default, 184)
        assert held is None or f'"system":"{held}"'.encode() not in written[sequence].record
    kept = log.kept()
    assert kept == list(range(kept[0], len(written)))
    assert kept[0] % 2 == 0


def test_the_record_that_the_tree_took_last_stays(world: Any) -> None:
    two_segments(world)
    world.later(500)
    taken = {"worker-0": Head(5, ""), "control": Head(9, "")}
    world.rows = RowsBehindTree(world.store, lambda: taken)
    assert world.keeper().apply("operator:anna") is None
    assert world.kept("worker-0") == [5, 6, 7]
    assert world.kept("control") == [4, 5]
    assert RowsBehindTree(world.store, dict).delete_before("control", 5) == 0
    assert world.kept("control") == [4, 5]
