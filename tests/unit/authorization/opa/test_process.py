"""The supervised child, with a stand-in for OPA's program that a test tells how to misbehave."""

import asyncio
import os
import signal
import sys
from collections import deque
from pathlib import Path

import pytest
import structlog

from gateway.authorization.opa import process as supervision
from gateway.authorization.opa.output import LINES, MAX_LINE, relay_output
from gateway.authorization.opa.process import OpaProcess
from gateway.errors import ConfigError
from tests.support.scripted_backend import eventually

STAND_IN = """#!{python} -I
import http.server, signal, socketserver, sys, time
from pathlib import Path
mode = Path({mode!r}).read_text()
path = sys.argv[sys.argv.index("--addr") + 1].removeprefix("unix://")
if mode == "ends":
    sys.exit("error: no such bundle")
if mode == "silent":
    time.sleep(60)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Health(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200 if Path({mode!r}).read_text() != "ill" else 500)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
    def address_string(self):
        return ""
socketserver.ThreadingUnixStreamServer(path, Health).serve_forever()
"""


class StandIn:
    """A program that is not OPA."""

    def __init__(self, directory: Path) -> None:
        self._mode = directory / "mode"
        self.program = directory / "opa"
        self.program.write_text(STAND_IN.format(python=sys.executable, mode=str(self._mode)))
        self.program.chmod(0o700)
        self.socket = directory / "s"
        self.be("good")

    def be(self, mode: str) -> None:
        self._mode.write_text(mode)

    def process(self, ready_seconds: float = 30) -> OpaProcess:
        return OpaProcess(self.program, Path("bundle.tar.gz"), self.socket, ready_seconds=ready_seconds)


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path)


async def test_program_is_ready_once_it_answers_and_gone_once_stopped(stand_in: StandIn) -> None:
    process = stand_in.process()
    assert (process.ready, process.pid) == (False, None)
    await process.start()
    assert (process.ready, process.detail) == (True, "")
    pid = process.pid
    assert pid is not None
    await process.stop()
    assert (process.ready, process.pid) == (False, None)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    await process.stop()


async def test_program_that_ends_at_once_is_told_with_its_words(stand_in: StandIn) -> None:
    stand_in.be("ends")
    with pytest.raises(ConfigError, match=r"OPA ended with status 1 at its start\..*error: no such bundle"):
        await stand_in.process().start()


async def test_program_that_never_answers_is_ended_at_the_deadline(stand_in: StandIn) -> None:
    stand_in.be("silent")
    process = stand_in.process(ready_seconds=0.3)
    with pytest.raises(ConfigError, match=r"OPA did not load its bundle within 0\.3 seconds"):
        await process.start()
    assert process.pid is None


async def test_program_that_is_killed_is_started_again(stand_in: StandIn) -> None:
    process = stand_in.process()
    await process.start()
    first = process.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: not process.ready)
    assert "OPA ended with status -9" in process.detail
    await eventually(lambda: process.ready, 30)
    assert process.pid not in {None, first}
    await process.stop()


async def test_program_that_cannot_be_started_again_is_tried_until_it_can(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "SHORTEST_PAUSE", 0.01)
    process = stand_in.process()
    await process.start()
    stand_in.be("ends")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    await eventually(lambda: "at its start" in process.detail, 30)
    assert not process.ready
    stand_in.be("good")
    await eventually(lambda: process.ready, 30)
    await process.stop()


async def test_program_that_falls_ill_is_ended_and_started_again(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(supervision, "SHORTEST_PAUSE", 0.01)
    process = stand_in.process()
    await process.start()
    first = process.pid
    stand_in.be("ill")
    await eventually(lambda: not process.ready, 30)
    assert "no sign of health" in process.detail
    stand_in.be("good")
    await eventually(lambda: process.ready, 30)
    assert process.pid != first
    await process.stop()


async def test_program_that_does_not_end_is_killed(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "STOP_SECONDS", 0.1)
    stand_in.be("stubborn")
    process = stand_in.process()
    await process.start()
    await process.stop()
    assert process.pid is None


async def test_socket_that_is_left_behind_is_replaced(stand_in: StandIn) -> None:
    server = await asyncio.start_unix_server(lambda _reader, _writer: None, stand_in.socket)
    server.close()
    await server.wait_closed()
    process = stand_in.process()
    await process.start()
    await process.stop()


async def test_cancelled_start_leaves_nothing_behind(stand_in: StandIn) -> None:
    stand_in.be("silent")
    process = stand_in.process()
    start = asyncio.create_task(process.start())
    await eventually(lambda: process.pid is not None)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert process.pid is None


def test_program_or_socket_that_cannot_be_used_is_refused(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not a program that can be run\. Install OPA"):
        OpaProcess(tmp_path / "none", tmp_path, tmp_path / "s")
    with pytest.raises(ConfigError, match="at most 107 bytes"):
        OpaProcess(stand_in.program, tmp_path, tmp_path / ("s" * 110))


async def test_output_is_passed_on_in_bounded_lines() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(
        b'{"level": "error", "msg": "bad bundle", "err": "why"}\nplain\n\n{"level": "info", "msg": "hello"}\n'
    )
    stream.feed_data(b"x" * 100_000 + b"\n" + b"y\n" * (2 * LINES) + b"last")
    stream.feed_eof()
    last: deque[str] = deque(maxlen=3)
    with structlog.testing.capture_logs() as logs:
        await relay_output(stream, last)
    assert [(each["log_level"], each["detail"]) for each in logs[:3]] == [
        ("error", "bad bundle: why"),
        ("error", "plain"),
        ("info", "hello"),
    ]
    assert len(logs) == LINES
    assert max(len(each["detail"]) for each in logs) == MAX_LINE
    assert list(last) == ["y", "y", "last"]
