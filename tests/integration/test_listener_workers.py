"""Worker processes: started, restarted, told things, drained; none takes another down."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.listening import PATIENCE, eventually

ROOT = Path(__file__).parents[2]


class Host:
    """The control process under test."""

    def __init__(self, workers: int, behaviour: str = "well") -> None:
        self.events: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.worker_host", str(workers), behaviour],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        self._reader.join(PATIENCE)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]

    def wait(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        eventually(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    def tell(self, command: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.wait("port")[0]["port"]), PATIENCE)


def ask(connection: socket.socket) -> int:
    """Return the process id of the worker at the other end."""
    connection.sendall(b"\n")
    return int(connection.recv(100))


@pytest.fixture
def host() -> Iterator[Host]:
    with Host(2) as running:
        running.wait("all-ready")
        yield running


def test_every_worker_serves_the_shared_socket(host: Host) -> None:
    pids = {event["pid"] for event in host.of("started")}
    with ExitStack() as stack:
        served = {ask(stack.enter_context(host.connect())) for _ in range(40)}
    assert len(pids) == 2
    assert served <= pids


def test_a_killed_worker_is_restarted_and_the_other_goes_on(host: Host) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(host.connect()) for _ in range(20)]
        victim = ask(connections[0])
        os.kill(victim, signal.SIGKILL)
        [exited] = host.wait("exited")
        assert (exited["pid"], exited["exit_code"]) == (victim, -signal.SIGKILL)
        for connection in connections[1:]:
            with suppress(ConnectionError, ValueError):  # those that were the victim's
                assert ask(connection) != victim
        host.wait("ready", 3)
        assert ask(stack.enter_context(host.connect())) != victim
    assert [event["index"] for event in host.of("ready")].count(exited["index"]) == 2


def test_a_worker_that_keeps_dying_is_restarted_ever_more_slowly(host: Host) -> None:
    for count in range(1, 4):
        pid = [event for event in host.wait("ready", count + 1) if event["index"] == 0][-1]["pid"]
        os.kill(pid, signal.SIGKILL)
        host.wait("restarting", count)
    assert [event["delay"] for event in host.of("restarting")] == [0.25, 0.5, 1.0]


def test_messages_go_both_ways(host: Host) -> None:
    host.tell({"send": {"type": "reload", "value": "x" * 100_000}})
    answers = host.wait("message", 2)
    assert sorted(answer["index"] for answer in answers) == [0, 1]
    assert all(answer["message"]["echo"]["value"] == "x" * 100_000 for answer in answers)


def test_sigterm_to_the_control_process_drains_every_worker(host: Host) -> None:
    host.process.send_signal(signal.SIGTERM)
    assert host.process.wait(PATIENCE) == 0
    assert sorted(event["exit_code"] for event in host.wait("exited", 2)) == [0, 0]
    assert host.wait("drained")
    assert host.of("restarting") == []


def test_workers_end_when_the_control_process_is_killed(host: Host) -> None:
    pids = [event["pid"] for event in host.of("started")]
    host.process.kill()
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_a_worker_that_does_not_drain_is_killed() -> None:
    with Host(1, "stubborn") as host:
        host.wait("all-ready")
        host.tell({"drain": -4.8})  # with the grace time, 0.2 s
        assert host.wait("killed")
        assert host.wait("exited")[0]["exit_code"] == -signal.SIGKILL
        assert host.process.wait(PATIENCE) == 0


def test_a_worker_that_cannot_start_fails_the_start_and_ends_the_others() -> None:
    with Host(2, "fails") as host:
        assert host.process.wait(10) == 3
        [failed] = host.wait("start-failed")
        assert "worker 1" in failed["detail"]
        pids = [event["pid"] for event in host.of("started")]
        assert not any(alive(pid) for pid in pids)


def test_the_loss_of_the_forking_process_is_reported_and_workers_still_drain(host: Host) -> None:
    pid = host.of("started")[0]["pid"]
    forker = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    assert forker != host.process.pid
    os.kill(forker, signal.SIGKILL)
    host.wait("forker-lost")
    with host.connect() as connection:
        assert ask(connection) > 0
    host.process.send_signal(signal.SIGTERM)
    assert host.process.wait(PATIENCE) == 0
    assert len(host.of("exited")) == 2


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    time.sleep(0.01)
    return state != "Z"
