"""Exports: whole or marked as not, resumed where they stopped, never over something else."""

import csv
import io
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

import audit.export.run
from audit.export import ExportError, ExportRequest, export_log
from audit.export.output import PLAN
from audit.tlog.merkle import leaf_hash, root_of
from audit.tlog.tiles import parse_entries
from tests.support.audit_log import START_NS, STEP_NS, LogWorld, call


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogWorld]:
    with LogWorld(tmp_path / "audit") as world:
        world.write("control", ("gateway.started", {"version": "1"}))
        world.calls("worker-0", 150)
        world.sequence()
        yield world


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("form", ["jsonl", "csv", "tiles", "bundle"])
def test_an_export_that_was_interrupted_goes_on_and_is_the_same(
    log: LogWorld, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit.export.run, "FLUSH_RECORDS", 40)
    export_log(log.store, log.tree, ExportRequest(form, tmp_path / "whole"))
    done = 0

    def kill(count: int, _: int) -> None:
        nonlocal done
        done += count
        if done > 100:
            raise KilledError

    with pytest.raises(KilledError):
        export_log(log.store, log.tree, ExportRequest(form, tmp_path / "cut"), kill)
    assert (tmp_path / "cut" / PLAN).exists()
    log.calls("worker-0", 3)
    log.sequence()  # what grew meanwhile does not belong to it
    told: list[int] = []
    result = export_log(log.store, log.tree, ExportRequest(form, tmp_path / "cut"), lambda n, _: told.append(n))
    assert (result.resumed, result.records, result.size, sum(told)) == (True, 301, 301, 301)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_jsonl_is_the_records_in_the_order_of_the_tree(log: LogWorld, tmp_path: Path) -> None:
    export_log(log.store, log.tree, ExportRequest("jsonl", tmp_path / "out"))
    lines = (tmp_path / "out" / "records.jsonl").read_bytes().splitlines()
    checkpoint = (log.tree / "checkpoint").read_text().split("\n")
    assert root_of([leaf_hash(line) for line in lines]) == b64decode(checkpoint[2])
    assert list(files(tmp_path / "out")) == ["records.jsonl"]


def test_tiles_have_bundles_of_entries_that_hash_to_the_leaves(log: LogWorld, tmp_path: Path) -> None:
    export_log(log.store, log.tree, ExportRequest("tiles", tmp_path / "out"))
    for entries, tile in (("tile/entries/000", "tile/0/000"), ("tile/entries/001.p/45", "tile/0/001.p/45")):
        bundle = parse_entries((tmp_path / "out" / entries).read_bytes())
        assert b"".join(map(leaf_hash, bundle)) == (tmp_path / "out" / tile).read_bytes()
    assert (tmp_path / "out" / "checkpoint").read_bytes() == (log.tree / "checkpoint").read_bytes()


def test_csv_has_the_whole_record_and_no_formula(log: LogWorld, tmp_path: Path) -> None:
    log.write("worker-0", ("access.denied", {**call(1), "system": "=1+1", "reasons": ["a", "b"]}))
    log.sequence()
    export_log(log.store, log.tree, ExportRequest("csv", tmp_path / "out"))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "records.csv").read_bytes().decode(), newline="")))
    assert len(rows) == 302
    assert rows[-1]["system"] == "'=1+1"
    assert rows[-1]["reasons"] == "a b"
    assert orjson.loads(rows[-1]["record"])["system"] == "=1+1"


def test_a_time_range_is_an_excerpt(log: LogWorld, tmp_path: Path) -> None:
    request = ExportRequest("jsonl", tmp_path / "out", START_NS + 10 * STEP_NS, START_NS + 20 * STEP_NS)
    assert export_log(log.store, log.tree, request).records == 10


@pytest.mark.parametrize("form", ["jsonl", "bundle"])
def test_nothing_is_written_over(log: LogWorld, tmp_path: Path, form: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        export_log(log.store, log.tree, ExportRequest(form, tmp_path / "out"))
    assert files(tmp_path / "out") == {"mine": b"mine"}


def test_an_unfinished_export_of_something_else_does_not_go_on(log: LogWorld, tmp_path: Path) -> None:
    def kill(*_: int) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        export_log(log.store, log.tree, ExportRequest("jsonl", tmp_path / "out"), kill)
    with pytest.raises(ExportError, match="something else"):
        export_log(log.store, log.tree, ExportRequest("csv", tmp_path / "out"))


def test_a_chain_that_lacks_a_record_is_not_exported_as_whole(log: LogWorld, tmp_path: Path) -> None:
    log.change("worker-0", "DELETE FROM records WHERE seq = 50")
    with pytest.raises(ExportError, match="govctl audit verify"):
        export_log(log.store, log.tree, ExportRequest("bundle", tmp_path / "out"))
    assert not (tmp_path / "out" / "records.jsonl").exists()


def test_a_format_that_is_none_is_refused(log: LogWorld, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="jsonl, csv, bundle, tiles"):
        export_log(log.store, log.tree, ExportRequest("xml", tmp_path / "out"))
