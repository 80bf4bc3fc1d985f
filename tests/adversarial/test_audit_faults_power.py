"""The power fails at any moment, also on a disk that failed before: what was told durable comes back with the disk."""

import errno
from pathlib import Path
from random import Random

import pytest

from audit.store import SqliteStore
from tests.support.fault_injection import (
    DO_AND_FAIL,
    HALF_AND_FAIL,
    Fault,
    Nursery,
    assert_kept,
    compile_shim,
)
from tests.support.fault_injection_power import power_cut, read_trace
from tests.support.fault_injection_writer import CHAIN, LOG

pytestmark = pytest.mark.interop

WAL, DATABASE = "/chain.sqlite-wal", "/chain.sqlite"
CUTS = 60


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_shim(tmp_path_factory.mktemp("shim"))


@pytest.mark.parametrize(
    "fault",
    [
        None,
        Fault("S", WAL, 3, 1),
        Fault("S", WAL, 3, 2),
        Fault("S", WAL, 3, 3),
        Fault("S", "", 5, 6),
        Fault("S", WAL, 4, 1, errno.EIO, DO_AND_FAIL),
        Fault("S", DATABASE, 1, 1),
        Fault("W", WAL, 7, 3, errno.ENOSPC, HALF_AND_FAIL),
        Fault("*", "", 20, 6),
    ],
    ids=str,
)
def test_what_was_told_durable_is_there_after_a_power_cut_at_any_moment(
    tmp_path: Path, shim: Path, fault: Fault | None
) -> None:
    original, trace = tmp_path / "log", tmp_path / "trace"
    with Nursery(shim) as nursery:
        said = nursery.run(original, calls=15, payload=700, fault=fault, trace=trace)
        # A second writer goes on from what the first left in the kernel's memory.
        more = nursery.run(original, calls=5, payload=700, trace=trace)
    assert (said.status, more.status, len(more.durable)) == (0, 0, 10)
    events = read_trace(trace)
    noted = {event.path for event in events if event.call == "N"}
    assert noted == {*said.durable, *more.durable}
    chance = Random(7)  # noqa: S311 - chosen, not secret
    for cut in range(CUTS):
        found = tmp_path / f"cut-{cut}"
        told = power_cut(events, chance.randrange(len(events) + 1), found, original, cut)
        # The next start of the gateway: it opens the chain, and nothing looks like an older or a changed copy.
        SqliteStore(found, LOG).open_writer(CHAIN).close()
        assert_kept(found, told)


def test_a_disk_that_syncs_nothing_loses_records_so_the_power_cut_is_one(tmp_path: Path, shim: Path) -> None:
    """The test of the test: where syncs are left out of the trace, records are gone."""
    original, trace = tmp_path / "log", tmp_path / "trace"
    with Nursery(shim) as nursery:
        nursery.run(original, calls=15, trace=trace)
    events = [event for event in read_trace(trace) if not (event.call == "S" and event.path.endswith("-wal"))]
    last = max(place for place, event in enumerate(events) if event.call == "N") + 1
    lost = 0
    for cut in range(20):
        found = tmp_path / f"cut-{cut}"
        told = power_cut(events, last, found, original, cut)
        try:
            SqliteStore(found, LOG).open_writer(CHAIN).close()
            assert_kept(found, told)
        except Exception:
            lost += 1
    assert lost > 5
