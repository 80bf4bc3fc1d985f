"""`kill -9` at random moments, hundreds of times: every record that was told durable is there, and the chain is whole."""

import time
from pathlib import Path
from random import Random

from audit.store import SqliteStore
from audit.verification import verify_store
from tests.support.fault_injection import Nursery, assert_kept, ids_of
from tests.support.fault_injection_writer import LOG

KILLS = 300
SECONDS = 60.0
"""After these no more writers are started, so that a slow machine is not kept busy."""

ENOUGH = 100


def test_three_hundred_writers_killed_under_load_lose_no_record_that_was_told_durable(tmp_path: Path) -> None:
    chance = Random(9)  # noqa: S311 - chosen, not secret
    until, kills, told, opened = time.monotonic() + SECONDS, 0, 0, 0
    with Nursery() as nursery:
        directory, durable = tmp_path / "0", list[str]()
        for number in range(KILLS):
            if time.monotonic() > until and kills >= ENOUGH:
                break
            if number % 25 == 0:
                # A chain of its own from time to time: its beginning is cut as well, and verifying it stays short.
                directory, durable = tmp_path / str(number), []
            # Some while they open the chain, most under load, with one call at a time and with many.
            said = nursery.run(
                directory, calls=10**9, callers=chance.choice((1, 4, 40)), kill_after=chance.uniform(0, 0.12)
            )
            assert said.status == -9
            kills += 1
            opened += said.opened
            told += len(said.durable)
            durable += said.durable
            if said.opened:
                assert_kept(directory, durable)
        assert kills >= ENOUGH
        assert opened > kills // 4  # a busy machine is slow to open one, and that is no fault of the log
        assert told > kills


def test_a_killed_writer_leaves_nothing_that_stops_the_next_one(tmp_path: Path) -> None:
    """Each of them goes on where the one before was killed; a chain that was only begun is opened too."""
    durable: list[str] = []
    with Nursery() as nursery:
        for delay in (0.0, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03, 0.06):
            durable += nursery.run(tmp_path / "log", calls=10**9, kill_after=delay).durable
        last = nursery.run(tmp_path / "log", calls=10)
    assert (last.status, last.failed, len(last.durable)) == (0, "", 20)
    stored = assert_kept(tmp_path / "log", [*durable, *last.durable])
    assert stored == ids_of(tmp_path / "log")
    (report,) = verify_store(SqliteStore(tmp_path / "log", LOG), processes=1)
    assert report.records == len(stored)
