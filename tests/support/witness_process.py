"""A witness as its operator runs it: a process of its own."""

import json
import signal
import subprocess
from copy import copy
from pathlib import Path

from tests.support.running_gateway import BIN, govctl


class WitnessProcess:
    """`govctl audit witness serve`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        (directory / "logs").write_text("")
        made = govctl(directory, "audit", "witness", "keygen", "--name", "witness.test/w", "--out", "key.pem")
        self.verifier_key = made.stdout.strip()
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def beside(self) -> "WitnessProcess":
        """Return another process, not started yet, on the same state."""
        other = copy(self)
        other.port, other._process = 0, None
        return other

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def watch(self, verifier_key: str) -> None:
        """Let the witness know a log."""
        with (self.directory / "logs").open("a") as file:
            file.write(f"{verifier_key}\n")

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                BIN / "govctl", "audit", "witness", "serve", "--name", "witness.test/w", "--key", "key.pem",
                "--state", "seen.sqlite", "--log", "logs", "--listen", f"127.0.0.1:{self.port}",
            ],
            cwd=self.directory, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert "http://127.0.0.1:" in line, line
        self.port = int(line.split("http://127.0.0.1:")[1].split()[0])

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(20)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def sizes(self) -> dict[str, int]:
        shown = govctl(self.directory, "audit", "witness", "show", "--state", "seen.sqlite", "--json").stdout
        return {each["origin"]: each["size"] for each in json.loads(shown)}
