"""The ledger under several processes that count, die and stop."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.clock import NANOSECONDS, system_clock
from gateway.errors import UnavailableError
from gateway.quota.ledger import Limit
from gateway.quota.shared_ledger import SharedLedger
from tests.unit.quota.conftest import SLOTS, streams_at_once, tokens_a_day

PATIENCE = 20.0
ROOT = Path(__file__).parents[3]
Start = Callable[[str], "subprocess.Popen[str]"]

DAY, STREAMS = tokens_a_day(10**9), streams_at_once(10**6)

_PRELUDE = f"""
import asyncio, os, signal, sys
from pathlib import Path
from gateway.clock import system_clock
from gateway.errors import UnavailableError
from gateway.quota.ledger import Limit, LimitReached
from gateway.quota.shared_ledger import SharedLedger

DAY = Limit{tuple(DAY)!r}
STREAMS = Limit{tuple(STREAMS)!r}
ledger = SharedLedger(Path(sys.argv[1]), {SLOTS}, system_clock)

async def patiently(act):
    # A busy machine may put the holder of the lock to sleep for longer than the ledger waits.
    for _ in range(200):
        try:
            return await act()
        except UnavailableError:
            await asyncio.sleep(0.02)
    raise SystemExit("the ledger stayed locked")
"""

_HAMMER = """
async def main():
    print("ready", flush=True)
    while True:
        held = await patiently(
            lambda: ledger.reserve((DAY, STREAMS), tokens=7, stream=True, lease_seconds=1))
        await patiently(lambda: ledger.settle(held, tokens=1))
asyncio.run(main())
"""

_TAKE_ALL = """
limit = Limit("shared", "shared|team", "tokens", 86400, 3000)
async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    taken = 0
    while True:
        try:
            held = await patiently(lambda: ledger.reserve((limit,), tokens=3, stream=False, lease_seconds=900))
        except LimitReached:
            break
        used = 1 + taken % 3
        await patiently(lambda: ledger.settle(held, tokens=used))
        taken += used
    print(taken, flush=True)
asyncio.run(main())
"""

_HOLD_AND_STOP = """
ledger._table.lock()
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def start(file: Path) -> Iterator[Start]:
    """Start a process that opens the ledger and runs a script; return once it is ready."""
    started: list[subprocess.Popen[str]] = []

    def start_one(script: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", _PRELUDE + script, str(file)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


async def left(ledger: SharedLedger, limit: Limit) -> int:
    return (await ledger.standings((limit,)))[0].remaining


async def test_processes_that_reserve_in_parallel_never_exceed_the_limit(file: Path, start: Start) -> None:
    processes = [start(_TAKE_ALL) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    ledger = SharedLedger(file, SLOTS, system_clock)
    remaining = await left(ledger, Limit("shared", "shared|team", "tokens", 86_400, 3000))
    ledger.close()
    assert sum(taken) <= 3000
    assert remaining == 3000 - sum(taken), "use was lost or counted twice"
    assert remaining < 3 * 3, "calls were refused although there was room"


async def test_processes_killed_in_the_middle_of_their_updates_leave_nothing_held_behind(
    file: Path, start: Start
) -> None:
    for round_ in range(15):
        process = start(_HAMMER)
        time.sleep(0.02 + 0.0031 * round_)
        process.kill()
        process.wait(PATIENCE)
    ledger = SharedLedger(file, SLOTS, lambda: system_clock() + 5 * NANOSECONDS)
    used = [limit.amount - await left(ledger, limit) for limit in (DAY, STREAMS)]
    assert used[1] <= 15, "more streams are held than calls were under way"
    await ledger.release(await ledger.reserve((DAY, STREAMS), tokens=1, stream=True, lease_seconds=60))
    assert await left(ledger, STREAMS) == STREAMS.amount
    charged = DAY.amount - await left(ledger, DAY)
    assert 0 < charged <= used[0]
    for _ in range(100):
        held = await ledger.reserve((DAY, STREAMS), tokens=7, stream=True, lease_seconds=60)
        await ledger.settle(held, tokens=2)
    assert DAY.amount - await left(ledger, DAY) == charged + 200
    assert await left(ledger, STREAMS) == STREAMS.amount
    ledger.close()


async def test_a_process_that_died_holding_the_lock_is_repaired_by_the_next(file: Path, start: Start) -> None:
    """Every point at which an update can end is as if the call had or had not begun: holds follow the leases."""
    other = SharedLedger(file, SLOTS, system_clock)
    held = await other.reserve((DAY, STREAMS), tokens=50, stream=True, lease_seconds=900)
    process = start(
        "ledger._table.lock()\n"
        "ledger._table.begin()\n"
        "counter = ledger._table.counter(STREAMS.key, 0, 0)\n"
        "ledger._table._add_held(counter, 900)\n"
        "ledger._table.new_lease(2**62, [(counter, 2, 3)])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with pytest.raises(UnavailableError):
        await other.reserve((STREAMS,), tokens=0, stream=True, lease_seconds=60)
    process.kill()
    process.wait(PATIENCE)
    await other.release(await other.reserve((STREAMS,), tokens=0, stream=True, lease_seconds=60))
    assert await left(other, STREAMS) == STREAMS.amount - 4, "one call of this process and three of the lease left"
    await other.settle(held, tokens=50)
    assert await left(other, STREAMS) == STREAMS.amount - 3
    other.close()


async def test_a_stopped_process_that_holds_the_lock_makes_calls_fail_soon_and_not_hang(
    file: Path, start: Start
) -> None:
    ledger = SharedLedger(file, SLOTS, system_clock)
    open_call = await ledger.reserve((DAY,), tokens=5, stream=False, lease_seconds=900)
    process = start(_HOLD_AND_STOP)
    _await_stop(process.pid)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="does not move") as refusal:
        await ledger.reserve((DAY,), tokens=1, stream=False, lease_seconds=60)
    with pytest.raises(UnavailableError):
        await ledger.settle(open_call, tokens=1)
    assert time.monotonic() - began < 5
    assert refusal.value.code == "quota_ledger_locked"
    assert "stopped worker" in refusal.value.remedy
    process.kill()
    process.wait(PATIENCE)
    await ledger.settle(open_call, tokens=2)
    assert await left(ledger, DAY) == DAY.amount - 2, "a call whose settlement failed can be settled again"
    ledger.close()


def _await_stop(pid: int) -> None:
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < end
        time.sleep(0.01)
