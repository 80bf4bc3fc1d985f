"""The client on go-spiffe that `deploy/interop.sh` builds: one answer, a stream of answers, or answers to questions."""

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.running_gateway import ROOT

PATIENCE = 30.0
"""How long one answer may take (seconds)."""


def program() -> Path:
    """Return the program; fail where it was not built or is older than its sources."""
    built, sources = ROOT / ".interop" / "bin" / "spiffe-interop", ROOT / "tests" / "interop" / "go"
    assert built.is_file(), "the client on go-spiffe is missing; deploy/interop.sh builds it"
    newest = max(path.stat().st_mtime for path in sources.iterdir() if path.suffix != ".md")
    assert built.stat().st_mtime >= newest, "the client on go-spiffe is out of date; deploy/interop.sh builds it"
    return built


def environment(address: str) -> dict[str, str]:
    """Return the environment of a workload whose Workload API is at `address`."""
    return {**os.environ, "SPIFFE_ENDPOINT_SOCKET": address}


def ask(address: str, *arguments: str) -> dict[str, Any]:
    """Run a command that answers once, and return the answer."""
    done = subprocess.run(
        [program(), *arguments],
        check=False, capture_output=True, text=True, timeout=PATIENCE, env=environment(address),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def refusal(address: str, *arguments: str) -> str:
    """Run a command that must fail, and return what it says."""
    done = subprocess.run(
        [program(), *arguments],
        check=False, capture_output=True, text=True, timeout=PATIENCE, env=environment(address),
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    return done.stderr


class Conversation:
    """The program while it runs. `said` has every answer so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.said: list[dict[str, Any]] = []
        self._more = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def ask(self, questions: Sequence[Any]) -> list[dict[str, Any]]:
        """Write a line for each question, and return the answers to them."""
        before = len(self.said)
        assert self._process.stdin is not None
        for question in questions:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        self.wait_for(before + len(questions))
        return self.said[before:]

    def wait_for(self, count: int) -> None:
        """Wait until there are `count` answers."""
        with self._more:
            came = self._more.wait_for(lambda: len(self.said) >= count or self._ended, PATIENCE)
        assert came, f"{len(self.said)} of {count} answers came in time"
        assert len(self.said) >= count, "the program ended before it answered"

    def close(self) -> None:
        """End its input, wait for its end and check that it was not a failure."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            status = self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._reader.join()
        assert status == 0, f"the program ended with {status}"

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with self._more:
                    self.said.append(json.loads(line))
                    self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()


@contextlib.contextmanager
def conversation(*arguments: str, address: str = "") -> Iterator[Conversation]:
    """Start the program; end its input afterwards and check that it ended well."""
    process = subprocess.Popen(
        [program(), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(address),
    )  # fmt: skip
    started = Conversation(process)
    try:
        yield started
    finally:
        started.close()
