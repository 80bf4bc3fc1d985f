"""Runs writers of the audit log, one forked child after the other, each with the fault that it is told.

Started by `fault_injection.Nursery` with the shim preloaded. Scenarios come in as JSON lines; for each, a child appends
under load and says of every record that is durable that it is; what became of the child goes out as a JSON line.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from audit.errors import AuditError, AuditUnavailableError
from audit.log import AuditLog
from audit.store import SqliteStore

LOG, CHAIN = "example.org/audit", "chain"
SHIM = ctypes.CDLL(None)


class Writer:
    """One child's work."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self._scenario = scenario
        self._said = os.open(scenario["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._traced = scenario["trace"] is not None
        self._number = 0
        self._refused = 0
        self._until = time.monotonic() + scenario["seconds"]

    def say(self, kind: str, text: str) -> None:
        """Say something that outlives this process; in the trace it has its place among the file calls."""
        os.write(self._said, f"{kind} {text}\n".encode())
        if self._traced and kind == "durable":
            SHIM.faults_note(text.encode())

    async def run(self) -> None:
        scenario, fault = self._scenario, self._scenario["fault"]
        if scenario["shim"]:
            SHIM.faults_watch(os.fsencode(os.path.realpath(scenario["directory"])))
        if self._traced:
            SHIM.faults_trace(os.open(scenario["trace"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        if fault and fault["opening"]:
            self._arm(fault)
        store = SqliteStore(Path(scenario["directory"]), LOG)
        log = AuditLog(store, CHAIN, digest_key=b"k" * 32, clock=time.time_ns)
        self.say("opened", str(os.getpid()))
        if fault and not fault["opening"]:
            for _ in range(2):
                await self._call(log)
            self._arm(fault)
        await asyncio.gather(*(self._caller(log) for _ in range(scenario["callers"])))
        while not log.healthy and time.monotonic() < self._until and not scenario["gives_up"]:
            await asyncio.sleep(0.01)
        self.say("healthy" if log.healthy else "unhealthy", log.reason)
        await log.close()
        if scenario["shim"]:
            self.say("seen", str(SHIM.faults_seen()))
        self.say("closed", str(log.backlog))

    def _arm(self, fault: dict[str, Any]) -> None:
        SHIM.faults_arm(
            ctypes.c_char(fault["call"].encode()), fault["ending"].encode(), ctypes.c_long(fault["at"]),
            ctypes.c_long(fault["count"]), fault["error"], fault["mode"],
        )  # fmt: skip

    async def _caller(self, log: AuditLog) -> None:
        while self._number < self._scenario["calls"] and time.monotonic() < self._until:
            try:
                await self._call(log)
            except AuditUnavailableError:
                self._refused += 1
                if self._scenario["gives_up"]:
                    return
                await asyncio.sleep(0.005)

    async def _call(self, log: AuditLog) -> None:
        """One call: nothing is done before its intent is durable, and what was done is recorded whatever comes."""
        self._number += 1
        event_id = f"call-{self._number}"
        try:
            intent = log.append("access.intent", {"number": self._number, "payload": "x" * self._scenario["payload"]})
            event_id = intent.event_id
            await intent.durable()
        except AuditUnavailableError as error:
            self.say("refused", f"{event_id} {error}")
            raise
        self.say("durable", intent.event_id)
        outcome = log.append("access.outcome", {"intent": intent.event_id}, keep=True, closes=intent)
        if self._scenario["gives_up"]:
            # Waits as long as the store does not work: whoever gives up does not stay for it.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(outcome.durable(), 1)
        else:
            await outcome.durable()
        if outcome.linked is not None:
            self.say("durable", outcome.event_id)


def _child(scenario: dict[str, Any]) -> None:
    status = 0
    try:
        writer = Writer(scenario)
        try:
            asyncio.run(writer.run())
        except AuditError as error:
            writer.say("failed", str(error))
    except BaseException as error:
        sys.stderr.write(f"{error!r}\n")
        status = 70
    os._exit(status)


def main() -> None:
    """Answer scenarios until the input ends."""
    for line in sys.stdin:
        scenario = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(scenario)
        if scenario["kill_after"] is not None:
            time.sleep(scenario["kill_after"])
            os.kill(pid, signal.SIGKILL)
        _, ended = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(ended)}), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
