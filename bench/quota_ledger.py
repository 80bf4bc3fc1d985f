"""Cost of reserving and settling a call in the shared quota ledger.

Usage: python bench/quota_ledger.py [--json FILE]
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from gateway.quota.limits import LimitTable
from gateway.quota.shared_ledger import SharedLedger

LIMITS = [
    {
        "name": scope,
        "scope": scope,
        "requests_per_minute": 10**9,
        "tokens_per_minute": 10**11,
        "tokens_per_day": 10**12,
        "concurrent_streams": 1000,
    }
    for scope in ("agent", "team")
]


async def measure(path: Path, calls: int) -> float:
    """Return microseconds for one reservation and its settlement in eight limits."""
    ledger = SharedLedger(path, 65_536, time.time_ns)
    limits = LimitTable.from_data(LIMITS).for_principal("spiffe://bench.test/agent/a", "research", "agent")
    begin = time.perf_counter()
    for _ in range(calls):
        reservation = await ledger.reserve(limits, tokens=1000, stream=True, lease_seconds=900)
        await ledger.settle(reservation, tokens=200)
    elapsed = time.perf_counter() - begin
    ledger.close()
    return elapsed / calls * 1e6


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result = {"reserve_and_settle_microseconds": asyncio.run(measure(Path(scratch) / "quota.ledger", 20_000))}
    print("| figure | value |\n| --- | --- |")
    for name, value in result.items():
        print(f"| {name} | {value:.1f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
