"""The ledger's file: what is refused, what is repaired, and what happens when it is full."""

import errno
import os
import stat
from pathlib import Path

import pytest

from gateway.errors import ConfigError, UnavailableError
from gateway.quota.ledger import Limit, LimitReached
from gateway.quota.shared_ledger import SharedLedger
from gateway.quota.table import COUNTER_BYTES, HEADER_BYTES, HOLD, LEASE, LEASE_BYTES, LEASES, LedgerTable
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


@pytest.mark.parametrize("at", [8, 12, 36])
def test_a_damaged_header_is_refused(open_ledger: OpenLedger, made: Path, at: int) -> None:
    with made.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff\xff\xff\x7f")
    refused(open_ledger, made, "its header is damaged")


def test_a_file_of_another_version_is_refused_whatever_its_size(open_ledger: OpenLedger, made: Path) -> None:
    made.write_bytes(b"GGQUOTA1" + bytes(5000))
    refused(open_ledger, made, "its header is not that of this version")


def test_a_link_in_its_place_is_refused(open_ledger: OpenLedger, path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be used"):
        open_ledger()
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_at_the_first_start_leaves_nothing_that_the_next_would_refuse(
    open_ledger: OpenLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        os.ftruncate(descriptor, length // 2)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(ConfigError, match="No space left on device"):
            open_ledger()
    assert path.stat().st_size == 0
    open_ledger()


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


def put(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def lease_at(ledger: SharedLedger, number: int) -> int:
    return HEADER_BYTES + SLOTS * COUNTER_BYTES + number * LEASE_BYTES


async def test_after_a_power_cut_what_is_held_is_what_the_leases_say(
    open_ledger: OpenLedger, made: Path, clock: DrivenClock
) -> None:
    """The pages of the counters reached the disk, those of one lease did not: without a recount it would hold for good."""
    ledger, streams = open_ledger(), streams_at_once(3)
    for _ in range(2):
        await ledger.reserve((streams,), tokens=0, stream=True, lease_seconds=900)
    ledger.close()
    put(made, lease_at(ledger, 1), bytes(LEASE_BYTES))
    assert (await open_ledger().standings((streams,)))[0].remaining == 1, "a restart without a boot needs no recount"
    put(made, 56, b"an earlier boot!")
    booted = open_ledger()
    assert (await booted.standings((streams,)))[0].remaining == 2
    clock.move(900)
    for _ in range(3):
        await booted.reserve((streams,), tokens=0, stream=True, lease_seconds=900)


@pytest.mark.parametrize(
    "hold", [(0xFFFFFFF0, 1, 5), (161, 1, 5), (0, 1, 5), (160, 9, 5), (160, 2, -5), (160, 2, 2**62)]
)
async def test_a_lease_that_makes_no_sense_holds_nothing_and_locks_nobody_out(
    open_ledger: OpenLedger, made: Path, hold: tuple[int, int, int]
) -> None:
    ledger, day = open_ledger(), tokens_a_day(1000)
    held = await ledger.reserve((day,), tokens=400, stream=False, lease_seconds=900)
    put(made, lease_at(ledger, 0) + LEASE.size, HOLD.pack(*hold))
    put(made, 16, b"\1")  # as if a process had died in the middle of an update
    other = open_ledger()
    await other.release(await other.reserve((day,), tokens=1000, stream=False, lease_seconds=900))
    await ledger.settle(held, tokens=300)
    assert (await ledger.standings((day,)))[0].remaining == 700


async def test_an_update_that_fails_halfway_is_repaired_before_the_next(
    open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, limits = open_ledger(), (streams_at_once(2, "a"), streams_at_once(2, "b"))

    lease = LedgerTable.new_lease

    def fail(self: LedgerTable, expires: int, holds: list[tuple[int, int, int]]) -> int:
        lease(self, expires, holds)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(LedgerTable, "new_lease", fail)
        with pytest.raises(MemoryError):
            await ledger.reserve(limits, tokens=0, stream=True, lease_seconds=60)
    assert [standing.remaining for standing in await ledger.standings(limits)] == [2, 2]
    held = await open_ledger().reserve(limits, tokens=0, stream=True, lease_seconds=60)
    assert [standing.remaining for standing in held.standings] == [0, 0], "what the lease holds, and this call"


async def test_a_repair_that_fails_gives_the_lock_back(
    open_ledger: OpenLedger, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: LedgerTable) -> None:
        raise MemoryError

    ledger, other = open_ledger(), open_ledger()
    put(made, 16, b"\1")
    with monkeypatch.context() as patch:
        patch.setattr(LedgerTable, "_recount", fail)
        with pytest.raises(MemoryError):
            await ledger.reserve((), tokens=0, stream=False, lease_seconds=60)
    await other.reserve((), tokens=0, stream=False, lease_seconds=60)
