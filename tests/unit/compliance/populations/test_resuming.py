"""An extraction that was killed goes on where it was, and ends with the rows of one that was not."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from audit.export.source import Source, open_source
from audit.store import SqliteStore
from compliance.period import Period
from compliance.populations import extraction
from compliance.populations.base import Entry
from compliance.populations.collectors import calls
from compliance.populations.context import Context
from compliance.populations.dataset import Dataset
from compliance.populations.extraction import extract
from compliance.register import load_register
from tests.support.audit_log import ORIGIN
from tests.support.planted_log import AGENT, DIGEST, SYSTEM, PlantedLog, intent, outcome

MARCH = Period(date(2027, 3, 1), date(2027, 3, 3))
MARK = 10
CONTEXT = Context(load_register({"systems": {"hiring": SYSTEM}}))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantedLog]:
    """A log whose calls are open over many marks, with something of everything that collectors remember."""
    policy = {"revision": "r", "data_digest": DIGEST}
    started = {"version": "1", "trust_domain": "e", "workers": 1, "config_digest": "c" * 64, "policy": policy}
    with PlantedLog(tmp_path_factory.mktemp("log")) as planted:
        planted.write(
            "2027-02-01T10:00:00", "control", ("gateway.started", started), ("unsafe.option", {"option": "x"}),
            ("identity.revoked", {"principal": "p", "kind": "id", "subject": AGENT, "cause": "stolen"}),
        )  # fmt: skip
        planted.call("2027-02-28T23:00:00")
        (late,) = planted.write("2027-02-28T23:59:59", "worker-0", intent())
        opened = planted.write("2027-03-01T00:00:01", "worker-0", *(intent() for _ in range(8)))
        planted.world.sequence()
        planted.alive("2027-03-01")
        planted.write("2027-03-01T12:00:00", "worker-0", ("access.denials_suppressed", {"principal": "p", "count": 3}))
        planted.write("2027-03-01T12:01:00", "worker-0", ("access.intent", {"unwritable": "odd"}))
        planted.world.sequence()
        planted.write("2027-03-02T00:00:01", "worker-0", outcome(late), *(outcome(of) for of in opened[2:]))
        planted.write("2027-03-02T10:00:00", "control", ("gateway.started", started))
        planted.call("2027-03-02T11:00:00")
        planted.world.sequence()
        yield planted


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "MARK_RECORDS", MARK)
    monkeypatch.setattr(extraction, "PROGRESS_RECORDS", 1)


def source_of(log: PlantedLog) -> Source:
    return open_source(log.world.store, log.world.tree)


def everything(data: Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {name: list(data.rows(name)) for name in data.populations}
    data.close()
    return found


def kill_at(log: PlantedLog, database: Path, record: int) -> None:
    """Extract in a process of its own that is killed at a record."""
    code = f"import sys; from {__name__} import extract_and_die; extract_and_die(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(log.world.directory), str(database), str(record)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


def extract_and_die(directory: str, database: str, record: str) -> None:
    """Be killed when so many records were read."""
    extraction.MARK_RECORDS, extraction.PROGRESS_RECORDS = MARK, 1

    def told(done: int, _of: int) -> None:
        if done == int(record):
            os.kill(os.getpid(), signal.SIGKILL)

    source = open_source(SqliteStore(Path(directory), ORIGIN), Path(directory) / "tree")
    extract(source, MARCH, Path(database), CONTEXT, told)


def mark_of(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT mark FROM _state").fetchone()[0])


def test_rows_are_the_same_after_any_kill(log, tmp_path):
    source = source_of(log)
    expected = everything(extract(source, MARCH, tmp_path / "whole.sqlite", CONTEXT))
    assert len(expected["calls"]) == 10
    database = tmp_path / "killed.sqlite"
    for record, mark in ((24, 20), (39, 30), (source.checkpoint.size, 40)):
        kill_at(log, database, record)
        assert mark_of(database) == mark
    assert everything(extract(source, MARCH, database, CONTEXT)) == expected


@pytest.mark.parametrize("stop", range(1, 46, 4))
def test_rows_are_the_same_wherever_it_was_interrupted(log, tmp_path, stop):
    source, database = source_of(log), tmp_path / "interrupted.sqlite"

    def told(done: int, _of: int) -> None:
        if done == stop:
            raise InterruptedError

    expected = everything(extract(source, MARCH, tmp_path / "whole.sqlite", CONTEXT))
    with pytest.raises(InterruptedError):
        extract(source, MARCH, database, CONTEXT, told)
    assert everything(extract(source, MARCH, database, CONTEXT)) == expected


def test_calls_before_the_mark_are_not_made_again(log, tmp_path, monkeypatch):
    database = tmp_path / "killed.sqlite"
    kill_at(log, database, source_of(log).checkpoint.size)
    taken: list[int] = []

    class Watched(calls.Calls):
        def take(self, entry: Entry) -> None:
            taken.extend([entry.leaf] if entry.type in calls.KEPT else [])
            super().take(entry)

    monkeypatch.setattr(calls, "Calls", Watched)
    extract(source_of(log), MARCH, database, CONTEXT).close()
    assert taken
    assert min(taken) >= mark_of(database)


def test_a_whole_extraction_is_taken_as_it_is_and_one_of_something_else_is_made_anew(log, tmp_path):
    database = tmp_path / "it.sqlite"
    read: list[int] = []
    extract(source_of(log), MARCH, database, CONTEXT).close()
    extract(source_of(log), MARCH, database, CONTEXT, lambda done, _of: read.append(done)).close()
    assert read == []
    other = Period(date(2027, 3, 2), date(2027, 3, 2))
    data = extract(source_of(log), other, database, CONTEXT, lambda done, _of: read.append(done))
    assert read
    assert {row["day"] for row in data.rows("calls")} == {"2027-03-02"}


@pytest.mark.parametrize(
    "spoil", [lambda data: b"", lambda data: b"x" * len(data), lambda data: data[: len(data) // 2]]
)
def test_a_damaged_database_is_made_anew(log, tmp_path, spoil):
    expected = everything(extract(source_of(log), MARCH, tmp_path / "whole.sqlite", CONTEXT))
    database = tmp_path / "damaged.sqlite"
    kill_at(log, database, 39)
    database.with_name(database.name + "-wal").unlink(missing_ok=True)
    database.write_bytes(spoil((tmp_path / "whole.sqlite").read_bytes()))
    assert everything(extract(source_of(log), MARCH, database, CONTEXT)) == expected


def test_progress_is_told_from_the_first_record_to_the_last(log, tmp_path):
    told: list[tuple[int, int]] = []
    source = source_of(log)
    extract(source, MARCH, tmp_path / "it.sqlite", CONTEXT, lambda done, of: told.append((done, of))).close()
    size = source.checkpoint.size
    assert told == [(done, size) for done in range(size + 1)]
