"""Attestation of a Unix socket's peer: real processes that stay, end, hand the socket on, and become something else."""

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from identity.attestation import process
from identity.attestation.process import ProcessError, ProcessEvidence, attest_process
from identity.selectors import check_selector

NOBODY = 65534
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a process of another user")

CONNECT = """
import os, socket, sys, time
sock = socket.socket(socket.AF_UNIX)
def connect():
    sock.connect("\\0" + sys.argv[1])
    sock.set_inheritable(True)
def say(text):
    print(text, flush=True)
def wait():
    sys.stdin.readline()
"""
STAY = "connect(); say(os.getpid()); wait()"
HAND_ON = """
connect()
if os.fork():
    wait()
else:
    os.close(1)
    sock.recv(1)
    os._exit(0)
"""


class Peers:
    """Starts processes that connect, and accepts their connections."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._name = f"govgateway-test-{secrets.token_hex(8)}"
        self._listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        self._listening.bind(f"\0{self._name}")
        self._listening.listen()
        self._listening.settimeout(10)

    def start(self, script: str) -> subprocess.Popen[str]:
        """Run a script after `CONNECT`."""
        command = [sys.executable, "-c", CONNECT + script, self._name]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._stack.callback(_end, child)
        return child

    def accept(self) -> ProcessEvidence:
        """Attest the next connection."""
        evidence = attest_process(self.accept_only())
        self._stack.callback(evidence.close)
        return evidence

    def accept_only(self) -> socket.socket:
        """Accept the next connection."""
        return self._stack.enter_context(self._listening.accept()[0])


def _end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate(timeout=10)


@pytest.fixture
def peers() -> Iterator[Peers]:
    with contextlib.ExitStack() as stack:
        yield Peers(stack)


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def go_on(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def until(look: Callable[[], bool]) -> None:
    for _ in range(500):
        if look():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within five seconds")


def runs(pid: int, program: str) -> Callable[[], bool]:
    return lambda: Path(f"/proc/{pid}/exe").resolve() == Path(program).resolve()


def refusal(evidence: ProcessEvidence) -> str:
    with pytest.raises(ProcessError) as caught:
        evidence.selectors()
    return caught.value.rule


def test_a_process_is_known_by_user_groups_and_program(peers):
    child = peers.start(STAY)
    evidence = peers.accept()
    interpreter = Path(sys.executable).resolve()
    expected = {
        f"unix:uid:{os.geteuid()}",
        f"unix:gid:{os.getegid()}",
        f"unix:path:{interpreter}",
        f"unix:sha256:{hashlib.sha256(interpreter.read_bytes()).hexdigest()}",
        *(f"unix:supplementary_gid:{number}" for number in os.getgroups()),
    }
    found = evidence.selectors()
    assert evidence.pid == child.pid
    assert expected <= found
    assert [check_selector(selector) for selector in found]


@pytest.mark.parametrize("offered", [77, 9999], ids=["by descriptor", "by number"])
def test_a_process_that_handed_its_socket_on_and_ended_is_refused(peers, monkeypatch, offered):
    monkeypatch.setattr(process, "_SO_PEERPIDFD", offered)
    child = peers.start(HAND_ON)
    evidence = peers.accept()
    assert evidence.selectors()
    go_on(child)
    child.wait(10)
    assert refusal(evidence) == "process-ended"


@pytest.mark.parametrize("offered", [77, 9999], ids=["by descriptor", "by number"])
def test_a_process_that_ended_before_its_connection_was_accepted_is_refused(peers, monkeypatch, offered):
    monkeypatch.setattr(process, "_SO_PEERPIDFD", offered)
    child = peers.start("connect()")
    child.wait(10)
    assert refusal(peers.accept()) == "process-ended"


LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def take(pid: int) -> subprocess.Popen[bytes]:
    """Start a process with a given id."""
    for _ in range(200):
        LAST_PID.write_text(str(pid - 1))
        other = subprocess.Popen(["/bin/sleep", "30"])
        if other.pid == pid:
            return other
        other.kill()
        other.wait()
    pytest.skip("the machine is too busy to give the process id away")


@pytest.mark.skipif(not os.access(LAST_PID, os.W_OK), reason="the kernel does not let a process id be chosen here")
@pytest.mark.parametrize("early", [True, False], ids=["attested before", "attested after"])
def test_the_next_holder_of_the_process_id_is_not_taken_for_the_one_that_connected(peers, early):
    child = peers.start("connect(); wait()")
    accepted = peers.accept_only()
    evidence = attest_process(accepted) if early else None
    go_on(child)
    child.wait(10)
    other = take(child.pid)
    try:
        evidence = evidence or attest_process(accepted)
        assert Path(f"/proc/{evidence.pid}/exe").resolve().name in {"sleep", "coreutils", "busybox"}
        assert refusal(evidence) == "process-ended"
        evidence.close()
    finally:
        other.kill()
        other.wait()


def test_without_a_descriptor_from_the_socket_a_younger_process_is_refused(peers, monkeypatch):
    peers.start(STAY)
    accepted = peers.accept_only()
    monkeypatch.setattr(process, "_SO_PEERPIDFD", 9999)
    now = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda clock: now(clock) - 3600)
    evidence = attest_process(accepted)
    assert refusal(evidence) == "pid-reused"
    evidence.close()


def test_a_process_that_starts_another_program_is_refused(peers):
    child = peers.start("connect(); wait(); os.execv('/bin/sleep', ['sleep', '30'])")
    evidence = peers.accept()
    assert evidence.selectors()
    go_on(child)
    until(runs(child.pid, "/bin/sleep"))
    assert refusal(evidence) == "program-changed"


def test_a_program_that_was_replaced_is_known_by_its_digest_and_no_longer_by_its_path(peers, tmp_path):
    program = tmp_path / "program"
    shutil.copy("/bin/sleep", program)
    digest = hashlib.sha256(program.read_bytes()).hexdigest()
    child = peers.start(f"connect(); os.execv({str(program)!r}, ['program', '30'])")
    until(runs(child.pid, str(program)))
    evidence = peers.accept()
    assert {f"unix:path:{program}", f"unix:sha256:{digest}"} <= evidence.selectors()
    program.unlink()
    program.write_bytes(b"another")
    found = evidence.selectors()
    assert f"unix:sha256:{digest}" in found
    assert not [selector for selector in found if selector.startswith("unix:path:")]


@ROOT
def test_another_user_is_known_as_such(peers):
    peers.start(f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); {STAY}")
    found = peers.accept().selectors()
    assert {f"unix:uid:{NOBODY}", f"unix:gid:{NOBODY}"} <= found
    assert not {"unix:uid:0", "unix:gid:0", "unix:user:root", "unix:supplementary_gid:0"} & found


@ROOT
def test_a_process_that_changed_its_user_after_it_connected_is_refused(peers):
    child = peers.start(f"connect(); os.setuid({NOBODY}); say('changed'); wait()")
    evidence = peers.accept()
    assert line(child) == "changed"
    assert refusal(evidence) == "credentials-changed"


@ROOT
def test_every_supplementary_group_counts_however_many_there_are(peers):
    peers.start(f"os.setgroups(range(5000, 5400)); {STAY}")
    found = peers.accept().selectors()
    assert {f"unix:supplementary_gid:{number}" for number in range(5000, 5400)} <= found


def test_a_process_of_another_namespace_cannot_be_attested():
    evidence = ProcessEvidence(0, 1000, 1000, (), -1)
    assert refusal(evidence) == "process-unseen"


def test_closing_gives_the_descriptor_back(peers):
    peers.start(STAY)
    before = len(list(Path("/proc/self/fd").iterdir()))
    accepted = peers.accept_only()
    evidence = attest_process(accepted)
    evidence.close()
    evidence.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    assert refusal(evidence) == "process-ended"
