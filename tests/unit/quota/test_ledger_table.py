"""The ledger's file: what is refused, and what happens when it is full."""

import os
import stat
from pathlib import Path

import pytest

from gateway.errors import ConfigError, UnavailableError
from gateway.quota.ledger import Limit, LimitReached
from gateway.quota.shared_ledger import SharedLedger
from gateway.quota.table import LEASES
from tests.unit.quota.conftest import SLOTS, DrivenClock, OpenLedger, requests_a_minute, streams_at_once, tokens_a_day


@pytest.fixture
def made(open_ledger: OpenLedger, path: Path) -> Path:
    open_ledger()
    return path


def refused(open_ledger: OpenLedger, path: Path, cause: str, slots: int = SLOTS) -> None:
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=cause) as refusal:
        open_ledger(slots)
    assert str(path) in str(refusal.value)
    assert "remove it" in str(refusal.value)
    assert path.read_bytes() == before, "a file that is refused was changed"


def test_a_file_of_something_else_is_refused_and_left_alone(open_ledger: OpenLedger, made: Path) -> None:
    with made.open("r+b") as file:
        file.write(b"SQLite f")
    refused(open_ledger, made, "its header")


def test_a_file_made_for_another_number_of_slots_is_refused_and_names_the_key(
    open_ledger: OpenLedger, made: Path
) -> None:
    refused(open_ledger, made, r"quota\.slots", slots=SLOTS * 2)


@pytest.mark.parametrize("size", [1, 127, 128, 4096, -1])
def test_a_truncated_file_is_refused(open_ledger: OpenLedger, made: Path, size: int) -> None:
    os.truncate(made, size if size > 0 else made.stat().st_size - 1)
    refused(open_ledger, made, "its size")


def test_a_file_that_grew_is_refused(open_ledger: OpenLedger, made: Path) -> None:
    with made.open("ab") as file:
        file.write(b"\0")
    refused(open_ledger, made, "its size")


def test_a_file_of_zeros_of_the_right_size_is_refused(open_ledger: OpenLedger, made: Path) -> None:
    size = made.stat().st_size
    made.write_bytes(bytes(size))
    refused(open_ledger, made, "its header")


def test_a_directory_in_its_place_is_refused(open_ledger: OpenLedger, path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"ledger cannot be used: Is a directory"):
        open_ledger()


def test_the_file_is_private(made: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700


def test_a_ledger_kept_alone_is_refused_to_another_process(
    open_ledger: OpenLedger, path: Path, clock: DrivenClock
) -> None:
    alone = SharedLedger(path, SLOTS, clock, "alone")
    try:
        with pytest.raises(UnavailableError, match="held by a process"):
            open_ledger()
    finally:
        alone.close()
    open_ledger()


async def test_looking_needs_no_lock(path: Path, clock: DrivenClock) -> None:
    alone = SharedLedger(path, SLOTS, clock, "alone")
    limit = tokens_a_day(1000)
    await alone.reserve((limit,), tokens=300, stream=False, lease_seconds=60)
    looking = SharedLedger(path, SLOTS, clock, "read")
    assert (await looking.standings((limit,)))[0].remaining == 700
    looking.close()
    alone.close()


async def fill(ledger: SharedLedger, slots: int) -> list[Limit]:
    """Take every slot by a stream that lasts; return their limits."""
    taken = [streams_at_once(1, f"busy{number}") for number in range(slots)]
    for limit in taken:
        await ledger.reserve((limit,), tokens=0, stream=True, lease_seconds=900)
    return taken


async def test_a_full_table_refuses_another_counter_names_the_key_and_loses_none(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(8)
    busy = await fill(ledger, 8)
    with pytest.raises(UnavailableError, match="no room") as refusal:
        await ledger.reserve((requests_a_minute(1),), tokens=0, stream=False, lease_seconds=60)
    assert "quota.slots" in refusal.value.remedy
    assert refusal.value.code == "quota_ledger_full"
    assert {standing.remaining for standing in await ledger.standings(tuple(busy))} == {0}


async def test_a_counter_at_rest_makes_room_and_one_in_use_does_not(
    open_ledger: OpenLedger, clock: DrivenClock
) -> None:
    ledger = open_ledger(8)
    busy = await fill(ledger, 6)
    day, rate = tokens_a_day(1000), requests_a_minute(60)
    await ledger.settle(await ledger.reserve((day, rate), tokens=100, stream=False, lease_seconds=60), tokens=100)
    newcomer = requests_a_minute(1, "new")
    with pytest.raises(UnavailableError):
        await ledger.reserve((newcomer,), tokens=0, stream=False, lease_seconds=60)
    clock.move(1)
    await ledger.reserve((newcomer,), tokens=0, stream=False, lease_seconds=60)
    with pytest.raises(LimitReached):
        await ledger.reserve((newcomer,), tokens=0, stream=False, lease_seconds=60)
    standings = await ledger.standings((day, *busy))
    assert [standing.remaining for standing in standings] == [900, 0, 0, 0, 0, 0, 0]


async def test_the_limits_of_one_call_never_share_a_counter(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(8)
    limits = tuple(tokens_a_day(1000 + number, f"s{number}") for number in range(8))
    held = await ledger.reserve(limits, tokens=10, stream=False, lease_seconds=60)
    assert [standing.remaining for standing in await ledger.standings(limits)] == [990 + n for n in range(8)]
    await ledger.settle(held, tokens=5)
    assert [standing.remaining for standing in await ledger.standings(limits)] == [995 + n for n in range(8)]


async def test_a_call_with_more_limits_than_there_are_counters_is_refused(open_ledger: OpenLedger) -> None:
    ledger = open_ledger(4)
    limits = tuple(requests_a_minute(10, f"s{number}") for number in range(5))
    with pytest.raises(UnavailableError, match="no room"):
        await ledger.reserve(limits, tokens=0, stream=False, lease_seconds=60)
    await ledger.reserve(limits[:4], tokens=0, stream=False, lease_seconds=60)


async def test_counters_that_came_to_rest_in_a_full_table_settle_without_a_leak(
    open_ledger: OpenLedger, clock: DrivenClock
) -> None:
    ledger = open_ledger(4)
    rate, streams = requests_a_minute(60), streams_at_once(1)
    held = await ledger.reserve((rate, streams), tokens=0, stream=True, lease_seconds=900)
    clock.move(10)
    await fill(ledger, 3)
    await ledger.release(held)
    assert (await ledger.standings((streams,)))[0].remaining == 1


async def test_calls_beyond_the_room_for_leases_are_refused_until_one_ends(ledger: SharedLedger) -> None:
    held = [await ledger.reserve((), tokens=0, stream=False, lease_seconds=900) for _ in range(LEASES)]
    with pytest.raises(UnavailableError, match="under way already") as refusal:
        await ledger.reserve((), tokens=0, stream=False, lease_seconds=900)
    assert refusal.value.code == "quota_leases_full"
    await ledger.settle(held[1234], tokens=0)
    await ledger.reserve((), tokens=0, stream=False, lease_seconds=900)
