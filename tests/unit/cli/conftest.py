"""A gateway's directory, and govctl run in this process as `main` runs it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from audit.store import SqliteStore
from gateway.cli import main, output

TD = "gateway.test"


@dataclass(frozen=True)
class Answer:
    """What govctl said and its exit status."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Govctl:
    """Runs govctl in one directory, as one person."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0, user: str = "alex") -> Answer:
        self._monkeypatch.setenv("LOGNAME", user)
        self._monkeypatch.setattr("sys.argv", ["govctl", *arguments])
        left = 0
        try:
            main()
        except SystemExit as leaving:
            left = int(leaving.code or 0)
        told = self._capsys.readouterr()
        assert left == code, f"govctl {' '.join(arguments)} left with {left}:\n{told.out}\n{told.err}"
        return Answer(left, told.out, told.err)

    def records(self, record_type: str) -> list[dict[str, Any]]:
        """Return what the audit log says under this type."""
        with SqliteStore(self.directory / "state" / "audit", "example.org/audit").reader("govctl") as reader:
            records = [orjson.loads(each.record) for each in reader.last(1000)]
        return [each for each in records if each["type"] == record_type]


@pytest.fixture
def govctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Govctl:
    monkeypatch.chdir(tmp_path)
    for each in (output.console, output.errors):  # made when first imported, with the width of then
        monkeypatch.setattr(each, "_width", 250)
    run = Govctl(tmp_path, monkeypatch, capsys)
    run("init", "--trust-domain", TD, "--backend", "http://127.0.0.1:1/v1", "--model", "example-chat")
    return run
