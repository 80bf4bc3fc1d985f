"""A writer that is killed, or whose disk is full, loses nothing that was acknowledged."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from audit.errors import AuditStoreError
from audit.store import SqliteStore
from audit.verification import verify_store

WRITER = """
import asyncio, sys, time
from pathlib import Path
from audit.log import AuditLog
from audit.store import SqliteStore

async def call(log, number):
    intent = log.append("access.intent", {"number": number})
    await intent.durable()
    sys.stdout.write(intent.event_id + "\\n")
    sys.stdout.flush()
    outcome = log.append("access.outcome", {"intent": intent.event_id}, keep=True)
    await outcome.durable()
    sys.stdout.write(outcome.event_id + "\\n")
    sys.stdout.flush()

async def main():
    log = AuditLog(SqliteStore(Path(sys.argv[1]), "example.org/audit"), "chain", digest_key=b"k" * 32, clock=time.time_ns)
    number = 0
    while True:
        await asyncio.gather(*(call(log, number + n) for n in range(20)))
        number += 20

asyncio.run(main())
"""

FULL_DISK = """
import asyncio, json, resource, sys, time
from pathlib import Path
from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from audit.store import SqliteStore

def room(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def refused(entry):
    try:
        await entry.durable()
    except AuditUnavailableError as error:
        return str(error)
    return ""

async def main():
    log = AuditLog(SqliteStore(Path(sys.argv[1]), "example.org/audit"), "chain", digest_key=b"k" * 32, clock=time.time_ns)
    before = [log.append("access.intent", {"number": n}) for n in range(50)]
    for entry in before:
        await entry.durable()
    room(1)
    lost = log.append("access.intent", {"number": 50})
    kept = [log.append("access.outcome", {"intent": entry.event_id}, keep=True) for entry in before[:25]]
    cause = await refused(lost)
    unhealthy = not log.healthy
    try:
        log.append("access.intent", {"number": 51})
        at_once = ""
    except AuditUnavailableError as error:
        at_once = str(error)
    kept += [log.append("access.outcome", {"intent": entry.event_id}, keep=True) for entry in before[25:]]
    room(resource.RLIM_INFINITY)
    for entry in kept:
        await entry.durable()
    after = log.append("access.denied", {"number": 52})
    await after.durable()
    backlog = log.backlog
    healthy = log.healthy
    await log.close()
    print(json.dumps({
        "cause": cause, "unhealthy": unhealthy, "at_once": at_once, "healthy": healthy, "backlog": backlog,
        "lost": lost.event_id, "written": [e.event_id for e in [*before, *kept, after]],
    }))

asyncio.run(main())
"""


def start(script: str, directory: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", script, str(directory)], stdout=subprocess.PIPE)


def stored_ids(store: SqliteStore) -> list[str]:
    with store.reader("chain") as reader:
        return [record.event_id for record in reader.records()]


@pytest.fixture
def running(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = start(WRITER, tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_writer_killed_fifteen_times_under_load_loses_no_acknowledged_record(tmp_path: Path) -> None:
    store, chance, acknowledged = SqliteStore(tmp_path, "example.org/audit"), random.Random(20), set()  # noqa: S311 - not a secret
    for _ in range(15):
        process = start(WRITER, tmp_path)
        assert process.stdout is not None
        first = process.stdout.readline().decode()
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        rest = process.communicate()[0].decode()
        # A line without its end was being printed when the writer died.
        acknowledged |= {line.strip() for line in (first + rest).splitlines(keepends=True) if line.endswith("\n")}
        (report,) = verify_store(store)
        assert report.findings == []
    assert len(acknowledged) > 15
    assert acknowledged <= set(stored_ids(store))


def test_a_full_disk_refuses_new_records_keeps_the_closing_ones_and_heals_by_itself(tmp_path: Path) -> None:
    process = start(FULL_DISK, tmp_path)
    told = json.loads(process.communicate(timeout=60)[0])
    assert process.returncode == 0
    assert told["cause"]
    assert told["unhealthy"]
    assert told["at_once"]
    assert (told["healthy"], told["backlog"]) == (True, 0)
    stored = stored_ids(SqliteStore(tmp_path, "example.org/audit"))
    assert set(told["written"]) <= set(stored)
    assert told["lost"] not in stored
    (report,) = verify_store(SqliteStore(tmp_path, "example.org/audit"))
    assert (report.findings, report.open_intents) == ([], [])


def test_a_second_writer_of_a_chain_is_refused(tmp_path: Path, running: "subprocess.Popen[bytes]") -> None:
    with pytest.raises(AuditStoreError, match="written by another process"):
        SqliteStore(tmp_path, "example.org/audit").open_writer("chain")


def test_readers_see_a_growing_and_valid_chain_while_it_is_written(
    tmp_path: Path, running: "subprocess.Popen[bytes]"
) -> None:
    store, lengths = SqliteStore(tmp_path, "example.org/audit"), []
    for _ in range(5):
        (report,) = verify_store(store)
        assert report.findings == []
        lengths.append(report.records)
        assert running.stdout is not None
        for _ in range(40):
            running.stdout.readline()
    assert lengths == sorted(set(lengths))


def test_a_record_is_found_by_its_id_while_its_writer_runs(tmp_path: Path, running: "subprocess.Popen[bytes]") -> None:
    assert running.stdout is not None
    event_id = running.stdout.readline().decode().strip()
    found = SqliteStore(tmp_path, "example.org/audit").find(event_id)
    assert found is not None
    assert orjson.loads(found.record)["event_id"] == event_id
