"""What is sent, in which order, and what becomes of it when something goes wrong."""

import threading
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from audit.sinks import (
    CursorError,
    CursorFile,
    Following,
    RecordsDiverted,
    RecordsMissed,
    SinkFailed,
    SinkRecovered,
    SinkRefusedError,
    SinkRestarted,
    SinkUnavailableError,
    read_cursors,
)
from audit.store import StoredRecord
from tests.unit.audit.sinks.conftest import Desk, drain

Batch = Sequence[StoredRecord]


def away(batch: Batch) -> None:
    raise SinkUnavailableError("nobody answers")


def refuse(desk: Desk, *sequences: int, named: bool = False) -> None:
    """Let the receiver refuse records of one chain; if it names them, it takes the others."""

    def behave(batch: Batch) -> None:
        bad = {i: "too odd" for i, r in enumerate(batch) if r.sequence in sequences and r.chain == "worker-0"}
        if not bad:
            return
        if named:
            desk.receiver.taken += [record for i, record in enumerate(batch) if i not in bad]
        raise SinkRefusedError("some are odd", bad if named else None)

    desk.receiver.behave = behave


def test_every_record_of_every_chain_is_sent_once_and_in_order(desk: Desk) -> None:
    desk.write(25)
    desk.write(3, "control")
    drain(desk.follower())
    assert desk.receiver.sequences() == list(range(25))
    assert desk.receiver.sequences("control") == [0, 1, 2]
    desk.write(5)
    drain(desk.follower())
    assert desk.receiver.sequences() == list(range(30))
    assert desk.events == []


def test_a_batch_is_limited_in_records_and_in_bytes(desk: Desk) -> None:
    desk.write(12)
    drain(desk.follower(Following(batch_records=5)))
    assert desk.receiver.batches == [5, 5, 2]
    size = len(desk.receiver.taken[0].record)
    desk.receiver.batches.clear()
    desk.write(4, "control")
    drain(desk.follower(Following(batch_bytes=2 * size + size // 2)))
    assert desk.receiver.batches == [2, 2]


def test_a_record_larger_than_a_batch_is_sent_alone(desk: Desk) -> None:
    desk.write(3)
    drain(desk.follower(Following(batch_bytes=1)))
    assert desk.receiver.batches == [1, 1, 1]


def test_nothing_is_lost_while_the_receiver_is_away(desk: Desk) -> None:
    follower = desk.follower()
    desk.write(12)
    desk.receiver.behave = away
    drain(follower)
    assert (follower.failed, follower.cause, follower.lag_records) == (True, "nobody answers", 12)
    assert follower.lag_seconds == pytest.approx(60)
    desk.receiver.behave = lambda batch: None
    drain(follower)
    assert desk.receiver.sequences() == list(range(12))
    assert (follower.failed, follower.lag_records, follower.lag_seconds) == (False, 0, 0.0)


def test_what_a_killed_process_had_sent_is_sent_again_and_nothing_is_left_out(desk: Desk) -> None:
    desk.write(20)
    follower = desk.follower()
    taken: list[StoredRecord] = []

    def killed_after_taking(batch: Batch) -> None:
        taken.extend(batch)
        if len(taken) > 10:
            raise KeyboardInterrupt

    desk.receiver.behave = killed_after_taking
    follower.attempt()
    with pytest.raises(KeyboardInterrupt):
        follower.attempt()
    desk.receiver.behave = lambda batch: None
    drain(desk.follower())
    assert [record.sequence for record in taken] == list(range(20))
    assert desk.receiver.sequences() == list(range(20))


def test_waits_grow_up_to_a_limit_and_are_never_equal_for_all(desk: Desk) -> None:
    desk.write(1)
    desk.receiver.behave = away
    follower = desk.follower(Following(retry_seconds=(1, 8)))
    waits = [follower.attempt() for _ in range(6)]
    for wait, longest in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert longest / 2 <= wait <= longest
    assert len(set(waits)) == len(waits)


def test_a_receiver_that_asks_for_a_pause_is_left_alone_for_that_long(desk: Desk) -> None:
    desk.write(1)

    def busy(batch: Batch) -> None:
        raise SinkUnavailableError("busy", retry_after=7)

    desk.receiver.behave = busy
    assert desk.follower(Following(retry_seconds=(1, 60))).attempt() == 7
    assert desk.follower(Following(retry_seconds=(1, 5))).attempt() == 5


def test_a_failure_that_lasts_is_reported_once_and_so_is_its_end(desk: Desk) -> None:
    desk.write(15)
    desk.receiver.behave = away
    follower = desk.follower(Following(patience_seconds=10, batch_records=10))
    follower.attempt()
    desk.now = 9
    follower.attempt()
    assert desk.events == []
    desk.now = 10
    follower.attempt()
    follower.attempt()
    assert desk.events == [SinkFailed("siem", "nobody answers")]
    desk.receiver.behave = lambda batch: None
    follower.attempt()
    assert desk.events[1:] == [SinkRecovered("siem", 5)]


def test_a_failure_that_cannot_be_put_on_record_is_put_there_later(desk: Desk) -> None:
    desk.write(1)
    desk.receiver.behave = away
    desk.report_error = RuntimeError("the log is full")
    follower = desk.follower(Following(patience_seconds=0))
    follower.attempt()
    desk.report_error = None
    follower.attempt()
    assert desk.events == [SinkFailed("siem", "nobody answers")]


def test_a_fault_of_ours_does_not_end_the_sink(desk: Desk) -> None:
    desk.write(1)

    def wrong(batch: Batch) -> None:
        raise ZeroDivisionError

    desk.receiver.behave = wrong
    follower = desk.follower()
    assert follower.attempt() > 0
    assert "ZeroDivisionError" in follower.cause
    desk.receiver.behave = lambda batch: None
    drain(follower)
    assert desk.receiver.sequences() == [0]


@pytest.mark.parametrize("named", [True, False])
def test_a_refused_record_stops_its_chain_and_no_other(desk: Desk, named: bool) -> None:
    desk.write(9)
    desk.write(4, "control")
    refuse(desk, 5, named=named)
    follower = desk.follower()
    follower.attempt()
    assert follower.places == {"control": 4, "worker-0": 5}
    assert isinstance(desk.events[0], SinkFailed)
    assert "record 5 of the chain worker-0: " in desk.events[0].cause
    desk.write(2, "control")
    assert follower.attempt() > 0
    assert desk.receiver.sequences("control") == list(range(6))
    desk.now = 3600
    desk.receiver.behave = lambda batch: None
    follower.attempt()
    assert sorted(set(desk.receiver.sequences())) == list(range(9))
    assert follower.places == {"control": 6, "worker-0": 9}
    assert desk.events[1:] == [SinkRecovered("siem", 0)]


def test_a_stopped_chain_is_not_tried_at_every_look(desk: Desk) -> None:
    desk.write(1)
    refuse(desk, 0)
    follower = desk.follower(Following(retry_seconds=(10, 60)))
    follower.attempt()
    follower.attempt()
    assert desk.receiver.batches == [1]
    desk.now = 10
    follower.attempt()
    assert desk.receiver.batches == [1, 1]


@pytest.mark.parametrize("named", [True, False])
def test_refused_records_are_diverted_whole_and_reported(desk: Desk, named: bool) -> None:
    desk.write(9)
    refuse(desk, 2, 7, named=named)
    follower = desk.follower(divert=True)
    drain(follower)
    assert desk.receiver.sequences() == [0, 1, 3, 4, 5, 6, 8]
    assert follower.places == {"worker-0": 9}
    assert (follower.sent_records, follower.diverted_records) == (7, 2)
    lines = [orjson.loads(line) for line in (desk.directory / "siem.dead.jsonl").read_bytes().splitlines()]
    with desk.store.reader("worker-0") as reader:
        records = list(reader.records())
    assert [(line["seq"], line["record"].encode()) for line in lines] == [(n, records[n].record) for n in (2, 7)]
    diverted = [event for event in desk.events if isinstance(event, RecordsDiverted)]
    assert [number for event in diverted for number in event.sequences] == [2, 7]


def test_a_diversion_that_cannot_be_put_on_record_does_not_happen(desk: Desk) -> None:
    desk.write(3)
    refuse(desk, 1)
    desk.report_error = RuntimeError("the log is full")
    follower = desk.follower(divert=True)
    follower.attempt()
    assert follower.places == {"worker-0": 1}
    assert "cannot be put on record: the log is full" in follower.cause


def test_reports_that_are_refused_in_turn_do_not_make_the_log_grow_for_ever(desk: Desk) -> None:
    desk.write(2, record_type="sink.records_diverted")
    refuse(desk, 0, 1)
    follower = desk.follower(divert=True)
    drain(follower)
    assert desk.events == []
    assert len((desk.directory / "siem.dead.jsonl").read_bytes().splitlines()) == 2


def test_a_report_of_many_diverted_records_has_room_in_the_log(desk: Desk) -> None:
    desk.write(1002)
    refuse(desk, *range(1002), named=True)
    drain(desk.follower(Following(batch_records=5000, batch_bytes=10_000_000), divert=True))
    assert [len(event.sequences) for event in desk.events if isinstance(event, RecordsDiverted)] == [1000, 2]


def test_a_dead_letter_that_was_half_written_is_replaced(desk: Desk) -> None:
    desk.write(1)
    refuse(desk, 0)
    desk.directory.mkdir()
    path = desk.directory / "siem.dead.jsonl"
    path.write_bytes(b'{"whole":1}\n{"torn')
    drain(desk.follower(divert=True))
    lines = path.read_bytes().splitlines()
    assert lines[0] == b'{"whole":1}'
    assert [orjson.loads(line).get("seq") for line in lines[1:]] == [0]


def test_records_that_retention_deleted_before_they_were_sent_are_reported(desk: Desk) -> None:
    desk.write(20)
    follower = desk.follower(Following(batch_records=5))
    follower.attempt()
    desk.store.delete_before("worker-0", 12)
    drain(follower)
    assert desk.receiver.sequences() == [0, 1, 2, 3, 4, *range(12, 20)]
    (event,) = desk.events
    assert isinstance(event, RecordsMissed)
    assert (event.of_chain, event.first, event.stop, follower.missed_records) == ("worker-0", 5, 12, 7)


def test_the_cursor_does_not_pass_a_gap_that_cannot_be_put_on_record(desk: Desk) -> None:
    desk.write(20)
    follower = desk.follower(Following(batch_records=5))
    follower.attempt()
    desk.store.delete_before("worker-0", 12)
    desk.report_error = RuntimeError("the log is full")
    drain(follower)
    assert follower.places == {"worker-0": 5}
    desk.report_error = None
    drain(follower)
    assert isinstance(desk.events[0], RecordsMissed)


def test_deleting_what_was_sent_is_no_gap(desk: Desk) -> None:
    desk.write(20)
    follower = desk.follower()
    drain(follower)
    desk.store.delete_before("worker-0", 20)
    desk.write(3)
    drain(follower)
    drain(desk.follower())
    assert desk.receiver.sequences() == list(range(23))
    assert desk.events == []


def test_a_new_sink_of_an_old_log_begins_with_what_is_kept(desk: Desk) -> None:
    desk.write(20)
    desk.store.delete_before("worker-0", 8)
    drain(desk.follower())
    assert desk.receiver.sequences() == list(range(8, 20))
    assert desk.events == []


def test_a_sink_from_now_on_gets_what_is_written_later_also_of_new_chains(desk: Desk) -> None:
    desk.write(5)
    follower = desk.follower(Following(from_now=True))
    drain(follower)
    desk.write(2)
    desk.write(2, "control")
    drain(desk.follower(Following(from_now=True)))
    assert desk.receiver.sequences() == [5, 6]
    assert desk.receiver.sequences("control") == [0, 1]


def test_an_older_copy_of_a_chain_is_noticed_and_sent_again(desk: Desk) -> None:
    desk.write(10)
    older = {path.name: path.read_bytes() for path in desk.store.directory.iterdir()}
    desk.write(5)
    drain(desk.follower())
    for path in desk.store.directory.iterdir():
        path.unlink()
    for name, content in older.items():
        (desk.store.directory / name).write_bytes(content)
    desk.write(8)
    desk.receiver.taken.clear()
    drain(desk.follower())
    assert desk.receiver.sequences() == list(range(18))
    (event,) = desk.events
    assert isinstance(event, SinkRestarted)
    assert event.of_chain == "worker-0"


def test_a_chain_that_is_gone_fails_the_sink(desk: Desk) -> None:
    desk.write(2)
    drain(desk.follower())
    for path in desk.store.directory.iterdir():
        path.unlink()
    follower = desk.follower()
    drain(follower)
    assert follower.cause == "chains that were being sent are gone from the store: worker-0"


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)


def test_a_damaged_cursor_falls_back_on_the_one_before(desk: Desk) -> None:
    desk.write(15)
    drain(desk.follower(Following(batch_records=5)))
    damage(desk.directory / "siem.cursor")
    follower = desk.follower()
    assert follower.places == {"worker-0": 10}
    drain(follower)
    assert desk.receiver.sequences() == [*range(15), *range(10, 15)]
    assert desk.events == []


@pytest.mark.parametrize("from_now", [False, True])
def test_a_cursor_lost_altogether_is_reported_and_all_that_is_kept_is_sent_again(desk: Desk, from_now: bool) -> None:
    desk.write(15)
    drain(desk.follower(Following(batch_records=5)))
    damage(desk.directory / "siem.cursor")
    (desk.directory / "siem.before").write_bytes(b"")
    desk.store.delete_before("worker-0", 4)
    desk.receiver.taken.clear()
    drain(desk.follower(Following(from_now=from_now)))
    assert desk.receiver.sequences() == list(range(4, 15))
    (event,) = desk.events
    assert isinstance(event, SinkRestarted)
    assert "is damaged" in event.cause


def test_a_cursor_of_another_sink_is_not_taken_for_ones_own(desk: Desk) -> None:
    desk.write(1)
    drain(desk.follower())
    (desk.directory / "other.cursor").write_bytes((desk.directory / "siem.cursor").read_bytes())
    other = CursorFile(desk.directory, "other")
    assert "of another sink" in other.damaged
    other.close()


def test_two_processes_do_not_serve_one_sink(desk: Desk) -> None:
    desk.follower()
    with pytest.raises(CursorError, match="another process serves the sink siem"):
        CursorFile(desk.directory, "siem")


def test_a_cursor_that_cannot_be_written_stops_the_sink_where_it_is(desk: Desk) -> None:
    desk.write(3)
    follower = desk.follower()
    (desk.directory / "siem.new").mkdir()
    drain(follower)
    assert "cannot be written" in follower.cause
    (desk.directory / "siem.new").rmdir()
    drain(follower)
    assert follower.places == {"worker-0": 3}


def test_retention_is_told_how_far_each_sink_came(desk: Desk) -> None:
    desk.write(3)
    drain(desk.follower())
    assert read_cursors(desk.directory, ["siem", "new"]) == {"siem": {"worker-0": 3}, "new": {}}


def test_the_thread_sends_what_is_written_when_it_is_woken_and_ends_when_asked(desk: Desk) -> None:
    arrived = threading.Semaphore(0)
    desk.receiver.behave = lambda batch: [arrived.release() for _ in batch] and None  # type: ignore[func-returns-value]
    follower = desk.follower(Following(poll_seconds=3600))
    desk.open.clear()
    desk.write(1)
    follower.start()
    assert arrived.acquire(timeout=30)
    desk.write(1)
    follower.wake()
    assert arrived.acquire(timeout=30)
    assert follower.stop()
    assert desk.receiver.closed == 1
    assert CursorFile(desk.directory, "siem").places["worker-0"].next == 2


def test_stopping_does_not_wait_for_a_receiver_that_hangs(desk: Desk) -> None:
    entered, let_go = threading.Event(), threading.Event()

    def hang(batch: Batch) -> None:
        entered.set()
        let_go.wait(30)

    desk.receiver.behave = hang
    follower = desk.follower()
    desk.open.clear()
    desk.write(1)
    follower.start()
    assert entered.wait(30)
    assert not follower.stop(0.01)
    let_go.set()
    assert follower.stop(30)
