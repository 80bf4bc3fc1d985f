"""Cost of reserving and settling a call in the quota ledger, beside the same counts in SQLite.

Usage: python bench/quota_ledger.py [--json FILE]
"""

import argparse
import asyncio
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gateway.quota.ledger import Limit
from gateway.quota.limits import LimitTable
from gateway.quota.shared_ledger import SharedLedger
from gateway.quota.table import Mode

SLOTS = 65_536
RATES = ("requests_per_minute", "tokens_per_minute", "tokens_per_day")
ROUNDS = 5


def limits(kinds: tuple[str, ...]) -> tuple[Limit, ...]:
    """Return the limits of one agent and its team, far too wide to refuse."""
    entries = [{"name": scope, "scope": scope} | dict.fromkeys(kinds, 10**9) for scope in ("agent", "team")]
    return LimitTable.from_data(entries).for_principal("spiffe://bench.test/agent/a", "research", "agent")


async def ledger_cost(path: Path, mode: Mode, kinds: tuple[str, ...], calls: int) -> float:
    """Return microseconds for one reservation and its settlement."""
    ledger = SharedLedger(path, SLOTS, time.time_ns, mode)
    applying = limits(kinds)
    begin = time.perf_counter()
    for _ in range(calls):
        reservation = await ledger.reserve(applying, tokens=1000, stream=True, lease_seconds=900)
        await ledger.settle(reservation, tokens=200)
    elapsed = time.perf_counter() - begin
    ledger.close()
    return elapsed / calls * 1e6


def sqlite_cost(path: Path, synchronous: str, calls: int) -> float:
    """Return microseconds for six counters changed in one transaction, and again at the end of the call."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(f"PRAGMA synchronous={synchronous}")
    database.execute("CREATE TABLE IF NOT EXISTS counter (key TEXT PRIMARY KEY, used INTEGER) WITHOUT ROWID")
    keys = [limit.key for limit in limits(RATES)]
    database.executemany("INSERT OR IGNORE INTO counter VALUES (?, 0)", [(key,) for key in keys])
    begin = time.perf_counter()
    for _ in range(calls):
        for change in (1000, -800):
            database.execute("BEGIN IMMEDIATE")
            database.execute("SELECT key, used FROM counter WHERE key IN (?,?,?,?,?,?)", keys).fetchall()
            database.executemany("UPDATE counter SET used = used + ? WHERE key = ?", [(change, key) for key in keys])
            database.execute("COMMIT")
    elapsed = time.perf_counter() - begin
    database.close()
    return elapsed / calls * 1e6


def together_cost(path: Path, processes: int, calls: int) -> float:
    """Return microseconds a call takes each of several processes that count in one ledger at the same time."""
    command = [sys.executable, __file__, "--worker", str(path), str(calls)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return max(float(worker.communicate()[0]) for worker in workers)


def measure() -> dict[str, float]:
    """Return the figures, each the best of several rounds."""
    result: dict[str, float] = {}

    def keep(name: str, figure: float) -> None:
        result[name] = min(figure, result.get(name, figure))

    with tempfile.TemporaryDirectory() as scratch:
        for number in range(ROUNDS):
            place = Path(scratch) / str(number)
            place.mkdir()
            for mode in ("alone", "shared"):
                for kinds in (RATES, (*RATES, "concurrent_streams")):
                    name = f"ledger, {mode}, {2 * len(kinds)} limits"
                    keep(name, asyncio.run(ledger_cost(place / f"{mode}{len(kinds)}", mode, kinds, 4000)))
            keep("ledger, 2 processes at once, 6 limits", together_cost(place / "together", 2, 8000))
            for synchronous in ("OFF", "NORMAL", "FULL"):
                keep(
                    f"SQLite, synchronous={synchronous}, 6 counters",
                    sqlite_cost(place / f"{synchronous}.db", synchronous, 300),
                )
    return result


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", nargs=2, metavar=("FILE", "CALLS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        path, calls = arguments.worker
        print(asyncio.run(ledger_cost(Path(path), "shared", RATES, int(calls))))
        return
    result = measure()
    print("| reserve and settle one call | µs |\n| --- | --- |")
    for name, value in result.items():
        print(f"| {name} | {value:.1f} |")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({name: round(value, 2) for name, value in result.items()}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
