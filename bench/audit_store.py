"""Both stores of the audit log with 1, 2 and 4 writers: durable records a second, and what a record waits.

Each writer is a process with a chain of its own, as a worker of the gateway is. Throughput: it appends as fast as its
log takes records. Delay: it appends at a fixed rate and waits for each record.

Usage: python bench/audit_store.py [--postgres URL] [--seconds N] [--json FILE]
Without --postgres, a PostgreSQL is started for the occasion if its programs are installed.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from audit.log import AuditLog
from audit.store import open_store

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.audit_append import FIELDS

LOG = "bench.test/audit"
WRITERS = (1, 2, 4)
WINDOW = 1000
RATE = 100.0


async def writer(where: str, heads: Path, chain: str, seconds: float) -> dict[str, object]:
    """Write one chain, twice for `seconds`; return what was measured."""
    store = open_store(where, LOG, heads=heads)
    log = AuditLog(store, chain, digest_key=b"k" * 32, clock=time.time_ns, pending_records=10 * WINDOW)
    await log.append("access.intent", FIELDS).durable()
    _meet("open")
    begin = time.perf_counter()
    done = 0
    entries = [log.append("access.intent", FIELDS) for _ in range(WINDOW)]
    while time.perf_counter() - begin < seconds:
        # The next window is queued while the last one is written: the disk is never idle.
        following = [log.append("access.intent", FIELDS) for _ in range(WINDOW)]
        await entries[-1].durable()
        done += WINDOW
        elapsed = time.perf_counter() - begin
        entries = following
    await entries[-1].durable()
    _meet("written")
    delays = []
    due = time.perf_counter()
    for _ in range(int(RATE * seconds)):
        due += 1 / RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        await log.append("access.intent", FIELDS).durable()
        delays.append(time.perf_counter() - start)
    await log.close()
    return {"records_per_second": done / elapsed, "delays": delays}


def _meet(what: str) -> None:
    """Say where this writer is and wait until every other one is there."""
    print(what, flush=True)
    sys.stdin.readline()


def measure(where: str, heads: Path, writers: int, seconds: float) -> dict[str, float]:
    """Run so many writers at once."""
    command = [sys.executable, __file__, "--writer", where, "--heads", str(heads), "--seconds", str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    children = [
        subprocess.Popen(
            [*command, "--chain", f"w{writers}-{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for n in range(writers)
    ]
    for _ in range(2):
        for child in children:
            if child.stdout is not None:
                child.stdout.readline()
        for child in children:
            if child.stdin is not None:
                child.stdin.write("\n")
                child.stdin.flush()
    results = []
    for child in children:
        answer, _ = child.communicate(timeout=60 + 4 * seconds)
        if child.returncode:
            raise SystemExit("a writer failed")
        results.append(json.loads(answer))
    delays = [delay for result in results for delay in result["delays"]]
    return {
        "records_per_second": sum(result["records_per_second"] for result in results),
        "delay_p50_seconds": statistics.median(delays),
        "delay_p99_seconds": statistics.quantiles(delays, n=100)[98],
    }


@contextmanager
def postgres(url: str | None) -> Iterator[str | None]:
    """Yield the address of a PostgreSQL; start one if none is named; None if none is installed."""
    if url is not None:
        yield url
        return
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) and shutil.which("initdb") is None:
        print("PostgreSQL is not installed: not measured", file=sys.stderr)
        yield None
        return
    from tests.support.postgres_server import PostgresServer  # noqa: PLC0415 - only where one is started

    server = PostgresServer({"max_wal_size": "4GB", "shared_buffers": "256MB"})
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--writer", help=argparse.SUPPRESS)
    parser.add_argument("--heads", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--chain", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.writer:
        sys.setswitchinterval(0.0005)
        print(json.dumps(uvloop.run(writer(arguments.writer, arguments.heads, arguments.chain, arguments.seconds))))
        return
    result: dict[str, float] = {}
    print("| store | writers | durable records/s | delay p50 | delay p99 |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch, postgres(arguments.postgres) as url:
        for name, where in (("sqlite", str(Path(scratch) / "sqlite")), ("postgresql", url)):
            for writers in WRITERS if where else ():
                found = measure(where, Path(scratch) / name, writers, arguments.seconds)
                print(
                    f"| {name} | {writers} | {found['records_per_second']:,.0f} | "
                    f"{found['delay_p50_seconds'] * 1e3:.2f} ms | {found['delay_p99_seconds'] * 1e3:.2f} ms |",
                    flush=True,
                )
                result |= {f"{name}_{writers}_{key}": value for key, value in found.items()}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
