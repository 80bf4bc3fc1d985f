"""Ranges verified apart and joined find what one look over the whole chain finds, wherever the ranges end."""

from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.canonical import canonical
from audit.chain import Head, link
from audit.event_id import uuid7
from audit.store import StoredRecord
from audit.verification import ChainReport, chains, verify_chain, verify_store
from audit.verification.form import parse_canonical
from audit.verification.joining import explain, join
from audit.verification.ranges import check_range
from tests.support.audit_log import START_NS, STEP_NS, LogWorld, call, outcome

LOG = "example.org/audit"
COUNT = 24


def chain_of(count: int) -> list[StoredRecord]:
    """Return a good chain of calls, one of them without an outcome that a restart explains."""
    head, rows, intent = Head(), [], ""
    for number in range(count):
        kind, fields = ("access.outcome", outcome(intent, number)) if number % 2 else ("access.intent", call(number))
        if number == 11:
            kind, fields = "gateway.started", {"version": "1"}
        made = link(head, LOG, "chain", uuid7(), START_NS + number * STEP_NS, kind, fields)
        head, intent = Head(made.sequence, made.hash), made.event_id
        rows.append(
            StoredRecord("chain", made.sequence, made.event_id, made.time_ns, made.type, made.hash, made.record)
        )
    return rows


GOOD = chain_of(COUNT)


def joined(rows: list[StoredRecord], cuts: list[int]) -> ChainReport:
    report, explainers = ChainReport("chain"), []
    edges = [0, *sorted(cuts), len(rows)]
    for start, stop in pairwise(edges):
        result = check_range("chain", LOG, rows[start:stop], None)
        join(report, result)
        explainers += result.explainers
    explain([report], explainers)
    return report


def told(report: ChainReport) -> tuple[object, ...]:
    found = sorted((f.rule, f.sequence) for f in report.findings if f.rule != "duplicate-id")
    calls = (report.open_calls, report.explained) if report.ok else ()  # of a chain that is not good they mean little
    return found, report.records, report.head, calls


def tampered(rows: list[StoredRecord], how: str, at: int) -> list[StoredRecord]:
    row, rest = rows[at], rows[at + 1 :]
    if how == "removed":
        return [*rows[:at], *rest]
    if how == "repeated":
        return [*rows[:at], row, row, *rest]
    if how == "moved":
        return [*rest[:1], *rows[:at], row, *rest[1:]]
    document = orjson.loads(row.record)
    if how == "earlier":
        document["time"] = str(int(document["time"]) - 100 * STEP_NS)
    elif how == "unlinked":
        document["prev"] = "ab" * 32
    record = canonical(document) if how != "garbage" else b"\xff"
    changed = StoredRecord("chain", row.sequence, row.event_id, int(document["time"]), row.type, row.hash, record)
    return [*rows[:at], changed, *rest]


HOW = ["nothing", "removed", "repeated", "moved", "earlier", "unlinked", "garbage"]


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(HOW), st.integers(1, COUNT - 2), st.lists(st.integers(0, COUNT), max_size=5))
def test_where_the_ranges_end_makes_no_difference(how: str, at: int, cuts: list[int]) -> None:
    rows = GOOD if how == "nothing" else tampered(GOOD, how, at)
    whole = verify_chain("chain", rows, log=LOG)
    assert whole.ok == (how == "nothing")
    assert told(joined(rows, cuts)) == told(whole)


@pytest.mark.parametrize("seq", [9, 10, 11, 19, 20])
def test_several_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seq: int) -> None:
    monkeypatch.setattr(chains, "RANGE_RECORDS", 10)
    monkeypatch.setattr(chains, "PARALLEL_RECORDS", 1)
    with LogWorld(tmp_path / "audit") as world:
        world.calls("worker-0", 20)
        world.calls("worker-1", 3)
        assert all(report.ok for report in verify_store(world.store, processes=2))
        world.change("worker-0", "DELETE FROM records WHERE seq = ?", seq)
        one, two = (verify_store(world.store, processes=count) for count in (1, 2))
        assert [told(report) for report in one] == [told(report) for report in two]
        assert ("sequence", seq + 1) in {(f.rule, f.sequence) for f in two[0].findings}


def test_an_id_that_came_back_in_another_range_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "RANGE_RECORDS", 5)
    with LogWorld(tmp_path / "audit") as world:
        written = world.write("chain", *[("test.event", {"n": n}) for n in range(12)])
        again = link(Head(11, written[-1].hash), LOG, "chain", written[2].event_id, world.now, "test.event", {})
        insert = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)"
        row = (again.sequence, again.event_id, again.time_ns, again.type, again.hash, again.record)
        world.change("chain", insert, *row)
        [report] = verify_store(world.store)
        assert {(f.rule, f.sequence) for f in report.findings} == {("duplicate-id", 12)}


def test_records_written_late_under_an_older_id_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "RANGE_RECORDS", 5)
    late = uuid7()
    with LogWorld(tmp_path / "audit") as world:
        written = world.write("chain", *[("test.event", {"n": n}) for n in range(12)])
        made = link(Head(11, written[-1].hash), LOG, "chain", late, world.now, "test.event", {"delayed_from": "1"})
        insert = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)"
        world.change("chain", insert, made.sequence, made.event_id, made.time_ns, made.type, made.hash, made.record)
        [report] = verify_store(world.store)
        assert report.ok, report.findings


FIELDS = {"v": 1, "log": LOG, "chain": "c", "seq": 0, "prev": "0" * 64, "event_id": "e", "time": "1", "type": "t"}


@pytest.mark.parametrize(
    "extra",
    [
        b'"z":1.5',
        b'"z":1e30',
        b'"z":9007199254740993',
        b'"z":[1,2.0]',
        b'"z":-0.0',
        b'"z":1,"z":1',
        b'"a":1',
        b'"z": 1',
    ],
)
def test_what_is_not_canonical_is_none(extra: bytes) -> None:
    record = canonical(FIELDS)
    assert parse_canonical(record) == FIELDS
    assert parse_canonical(record[:-1] + b"," + extra + b"}") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(JSON)
def test_a_record_is_read_exactly_if_it_is_canonical(value: object) -> None:
    try:
        record = orjson.dumps({**FIELDS, "zz": value}, option=orjson.OPT_SORT_KEYS)
        document = orjson.loads(record)
        expected = canonical(document) == record
    except ValueError:
        expected = False
    assert (parse_canonical(record) is not None) == expected
