"""Durable appends: records a second from one writer, and the delay from append to durable at a low rate.

Usage: python bench/audit_append.py [--json FILE]
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from audit.log import AuditLog
from audit.store import SqliteStore
from audit.verification import verify_store

FIELDS = {
    "principal": "spiffe://bench.test/agent/load",
    "action": "model.infer",
    "resource": {"type": "model", "id": "example-chat"},
    "policy": {"revision": "0123456789ab", "data_digest": "d" * 64},
    "policy_input": {
        "principal": {"id": "spiffe://bench.test/agent/load", "kind": "agent", "team": "research", "owner": "bench",
                      "status": "active", "risk_tier": "limited", "roles": ["chat-user"], "delegation": []},
        "action": "model.infer",
        "resource": {"type": "model", "id": "example-chat", "system": "assistant", "risk": "limited"},
        "request": {"protocol": "openai", "stream": False, "max_tokens": 64, "tools": []},
        "context": {"region": "local", "environment": "bench"},
    },
    "request": {"bytes": 180, "digest": "e" * 64},
    "peer": {"serial": "1" * 40, "fingerprint": "2" * 64, "not_after": 1_800_000_000},
}  # fmt: skip


async def throughput(directory: Path, records: int, window: int) -> float:
    """Append `records`, never more than `window` waiting, and return records a second."""
    log = AuditLog(
        SqliteStore(directory, "example.org/audit"),
        "bench",
        digest_key=b"k" * 32,
        clock=time.time_ns,
        pending_records=10 * window,
    )
    begin = time.perf_counter()
    for _ in range(records // window):
        entries = [log.append("access.intent", FIELDS) for _ in range(window)]
        await entries[-1].durable()
    elapsed = time.perf_counter() - begin
    await log.close()
    return records / elapsed


async def latency(directory: Path, rate: float, seconds: float) -> list[float]:
    """Append at a fixed rate and return the delays from append to durable (seconds)."""
    log = AuditLog(SqliteStore(directory, "example.org/audit"), "bench", digest_key=b"k" * 32, clock=time.time_ns)
    delays = []
    for _ in range(int(rate * seconds)):
        begin = time.perf_counter()
        await log.append("access.intent", FIELDS).durable()
        delays.append(time.perf_counter() - begin)
        await asyncio.sleep(1 / rate)
    await log.close()
    return delays


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sys.setswitchinterval(0.0005)
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        for window in (10, 100, 1000):
            directory = Path(scratch) / f"w{window}"
            result[f"records_per_second_window_{window}"] = uvloop.run(throughput(directory, 40_000, window))
        delays = uvloop.run(latency(Path(scratch) / "latency", 200, 5))
        result["append_to_durable_p50_seconds"] = statistics.median(delays)
        result["append_to_durable_p99_seconds"] = statistics.quantiles(delays, n=100)[98]
        begin = time.perf_counter()
        reports = verify_store(SqliteStore(Path(scratch) / "w1000", "example.org/audit"))
        result["verified_records_per_second"] = reports[0].records / (time.perf_counter() - begin)
        if not reports[0].ok:
            raise SystemExit("the log does not verify")
        size = sum(path.stat().st_size for path in (Path(scratch) / "w1000").glob("*.sqlite*"))
        result["bytes_per_record"] = size / reports[0].records
    print("| figure | value |\n| --- | --- |")
    for name, value in result.items():
        print(f"| {name} | {value:,.6g} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
