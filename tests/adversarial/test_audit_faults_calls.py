"""File calls of a writer of the log that fail, or at which it is killed: what was told durable is in the chain."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fault_injection import (
    DO_AND_FAIL,
    DO_AND_KILL,
    FAIL,
    HALF_AND_FAIL,
    HALF_AND_KILL,
    KILL,
    Call,
    Fault,
    Nursery,
    assert_kept,
    compile_shim,
    types_of,
)

pytestmark = pytest.mark.interop

WAL, DATABASE, HEAD, DIRECTORY = "/chain.sqlite-wal", "/chain.sqlite", "/chain.head.new", "/"


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(compile_shim(tmp_path_factory.mktemp("shim"))) as made:
        yield made


@pytest.mark.parametrize(
    "fault",
    [
        Fault("W", WAL, 1, 1),
        Fault("W", WAL, 7, 1, errno.ENOSPC),
        Fault("W", WAL, 7, 1, errno.ENOSPC, HALF_AND_FAIL),
        Fault("W", WAL, 3, 5, errno.EROFS),
        Fault("S", WAL, 1, 1),
        Fault("S", WAL, 3, 2),
        Fault("S", WAL, 3, 3),
        Fault("S", WAL, 3, 1, errno.EIO, DO_AND_FAIL),
        Fault("S", WAL, 3, 4, errno.EIO, DO_AND_FAIL),
        Fault("S", "", 4, 6, errno.ENOSPC),
        Fault("*", "", 10, 1),
        Fault("*", "", 10, 8, errno.ENOSPC),
        Fault("*", "", 10, 8, errno.EROFS, DO_AND_FAIL),
    ],
    ids=str,
)
def test_a_commit_that_fails_refuses_what_it_carried_and_the_log_heals_by_itself(
    nursery: Nursery, tmp_path: Path, fault: Fault
) -> None:
    said = nursery.run(tmp_path / "log", calls=150, fault=fault)
    assert (said.status, said.failed, said.healthy, said.backlog) == (0, "", True, 0)
    assert said.seen >= fault.at + fault.count
    assert_kept(tmp_path / "log", said.durable)
    if fault.ending == WAL and fault.count == 1 and fault.mode != DO_AND_FAIL:
        assert "log.recovered" in types_of(tmp_path / "log")


@pytest.mark.parametrize("ending", [HEAD, "/chain.head"])
@pytest.mark.parametrize("call", ["W", "S", "R", "O"])
def test_a_head_that_cannot_be_noted_refuses_nobody(nursery: Nursery, tmp_path: Path, call: Call, ending: str) -> None:
    said = nursery.run(tmp_path / "log", calls=30, fault=Fault(call, ending, 1, 0, opening=True))
    assert (said.status, said.healthy, said.refused) == (0, True, {})
    assert len(said.durable) == 60
    again = nursery.run(tmp_path / "log", calls=30)
    assert_kept(tmp_path / "log", [*said.durable, *again.durable])


@pytest.mark.parametrize(
    "fault",
    [
        Fault("W", WAL, 4, 0, errno.ENOSPC),
        Fault("S", WAL, 4, 0),
        Fault("*", "", 9, 0, errno.EROFS),
        Fault("S", WAL, 4, 0, errno.EIO, DO_AND_FAIL),
        Fault("W", WAL, 9, 0, errno.ENOSPC, HALF_AND_FAIL),
    ],
    ids=str,
)
def test_a_disk_that_stays_broken_answers_nobody_and_loses_nothing(
    nursery: Nursery, tmp_path: Path, fault: Fault
) -> None:
    said = nursery.run(tmp_path / "log", calls=200, fault=fault, gives_up=True)
    assert (said.status, said.healthy) == (0, False)
    assert said.refused
    assert all("cannot be" in cause for cause in said.refused.values())
    assert len(said.durable) < 200
    again = nursery.run(tmp_path / "log", calls=20)
    assert (again.opened, again.failed, len(again.durable)) == (True, "", 40)
    assert_kept(tmp_path / "log", [*said.durable, *again.durable])


@pytest.mark.parametrize(
    "fault",
    [
        Fault("W", DATABASE, 30, 3, errno.ENOSPC),
        Fault("W", DATABASE, 3, 1, errno.EIO, HALF_AND_FAIL),
        Fault("S", DATABASE, 1, 1),
        Fault("S", DATABASE, 1, 0),
        Fault("S", DATABASE, 1, 1, errno.EIO, DO_AND_FAIL),
        Fault("W", DATABASE, 500, 1, 0, KILL),
        Fault("W", DATABASE, 1500, 1, 0, HALF_AND_KILL),
        Fault("S", DATABASE, 1, 1, 0, KILL),
        Fault("S", DATABASE, 1, 1, 0, DO_AND_KILL),
    ],
    ids=str,
)
def test_a_checkpoint_of_the_database_that_fails_under_load_loses_nothing(
    nursery: Nursery, tmp_path: Path, fault: Fault
) -> None:
    """The write-ahead log is carried over at 4,000 pages: large records come to that soon."""
    said = nursery.run(tmp_path / "log", calls=700, callers=20, payload=40_000, fault=fault)
    assert said.status == (-9 if fault.mode in {KILL, HALF_AND_KILL, DO_AND_KILL} else 0)
    again = nursery.run(tmp_path / "log", calls=5)
    assert again.opened
    assert_kept(tmp_path / "log", [*said.durable, *again.durable])


@pytest.mark.parametrize(("call", "mode"), [("*", KILL), ("W", HALF_AND_KILL)])
def test_a_writer_killed_at_each_of_its_file_calls_loses_nothing(
    nursery: Nursery, tmp_path: Path, call: Call, mode: int
) -> None:
    killed = 0
    for at in range(1, 400):
        directory = tmp_path / str(at)
        fault = Fault(call, "", at, 1, 0, mode, opening=True)
        # The second run begins with what the first left: opening such a chain is tried at each call as well.
        first = nursery.run(directory, calls=3, callers=3, fault=fault)
        second = nursery.run(directory, calls=3, callers=3, fault=fault)
        last = nursery.run(directory, calls=2)
        assert (last.status, last.failed, len(last.durable)) == (0, "", 4)
        assert_kept(directory, [*first.durable, *second.durable, *last.durable])
        killed += (first.status == -9) + (second.status == -9)
        if first.status == second.status == 0:
            break
    else:
        pytest.fail("the writer had no end")
    assert killed > 40


@pytest.mark.parametrize(("call", "error", "mode"), [("*", errno.EIO, FAIL), ("W", errno.ENOSPC, HALF_AND_FAIL)])
def test_each_single_file_call_may_fail_and_nothing_is_lost(
    nursery: Nursery, tmp_path: Path, call: Call, error: int, mode: int
) -> None:
    for at in range(1, 400):
        directory = tmp_path / str(at)
        said = nursery.run(directory, calls=4, callers=2, fault=Fault(call, "", at, 1, error, mode, opening=True))
        assert said.status == 0
        assert said.opened or "cannot be" in said.failed
        again = nursery.run(directory, calls=2)
        assert (again.status, again.failed, len(again.durable)) == (0, "", 4), f"after a failure of call {at}"
        assert_kept(directory, [*said.durable, *again.durable])
        if said.opened and said.seen < at:
            break
    else:
        pytest.fail("the writer had no end")
    assert at > 30
