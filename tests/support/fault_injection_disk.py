"""Writes the log on a disk of three megabytes of its own, fills it, and makes room again; says what came of it as JSON.

Run inside `unshare -rm` with the disk mounted; the argument is its directory.
"""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from audit.errors import AuditStoreError, AuditUnavailableError
from audit.log import AuditLog
from audit.store import SqliteStore
from audit.verification import verify_store

LOG = "example.org/audit"


def _open(directory: Path) -> AuditLog:
    return AuditLog(SqliteStore(directory, LOG), "chain", digest_key=b"k" * 32, clock=time.time_ns)


async def _call(log: AuditLog, told: list[str]) -> None:
    intent = log.append("access.intent", {"payload": "x" * 20_000})
    await intent.durable()
    told.append(intent.event_id)
    outcome = log.append("access.outcome", {"intent": intent.event_id}, keep=True, closes=intent)
    await outcome.durable()
    told.append(outcome.event_id)


async def full(disk: Path) -> dict[str, Any]:
    """The log itself fills the disk; then somebody makes room."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(1_500_000))
    log, told, refusal = _open(disk / "log"), list[str](), ""
    calls = []
    while not refusal:
        calls = [asyncio.create_task(_call(log, told)) for _ in range(3)]
        await asyncio.wait(calls, timeout=2)  # an outcome waits for room
        try:
            log.append("access.intent", {"payload": "x" * 20_000})
        except AuditUnavailableError as error:
            refusal = str(error)
    before, healthy = len(told), log.healthy
    ballast.unlink()
    async with asyncio.timeout(60):
        while not log.healthy:
            await asyncio.sleep(0.01)
        await asyncio.gather(*calls, return_exceptions=True)
        await _call(log, told)
    await log.close()
    return {"before": before, "healthy_while_full": healthy, "refusal": refusal, **_found(disk / "log", told)}


async def begun(disk: Path) -> dict[str, Any]:
    """A chain cannot be begun on a full disk, nor on one that is read-only; on one with room it can."""
    ballast, refusals = disk / "ballast", []
    try:
        with ballast.open("wb") as file:
            while file.write(bytes(4096)):
                file.flush()
    except OSError:
        pass
    refusals.append(await _refusal(disk / "log"))
    ballast.unlink()
    log, told = _open(disk / "log"), list[str]()
    await _call(log, told)
    await log.close()
    _remount(disk, "ro")
    refusals.append(await _refusal(disk / "log"))
    refusals.append(await _refusal(disk / "other"))
    _remount(disk, "rw")
    log = _open(disk / "log")
    await _call(log, told)
    await log.close()
    return {"refusals": refusals, **_found(disk / "log", told)}


async def _refusal(directory: Path) -> str:
    try:
        await _open(directory).close()
    except AuditStoreError as error:
        return str(error)
    return ""


def _remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True, timeout=20)


def _found(directory: Path, told: list[str]) -> dict[str, Any]:
    store = SqliteStore(directory, LOG)
    findings = [str(finding) for report in verify_store(store, processes=1) for finding in report.findings]
    with store.reader("chain") as reader:
        rows = list(reader.records())
    missing = sorted(set(told) - {row.event_id for row in rows})
    return {"findings": findings, "missing": missing, "told": len(told), "types": [row.type for row in rows]}


if __name__ == "__main__":
    scenario = {"full": full, "begun": begun}[sys.argv[1]]
    print(json.dumps(asyncio.run(scenario(Path(sys.argv[2])))))  # noqa: T201 - the answer
