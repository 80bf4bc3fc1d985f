"""Every change of a finished chain is found: each field of a record, each row, the order, the ends, and whole chains.

Four attackers, each with more patience than the one before: one changes a record; one makes its hash anew; one the
columns of its row as well; one links every record after it anew, which leaves a chain that is right in itself. The last
one is found by the end of the chain that was noted. Who changes that too is found by what others know of the log, which
is not the matter here.
"""

import copy
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from audit.canonical import canonical
from audit.chain import GENESIS, Head, Linked, link, record_hash
from audit.event_id import uuid7
from audit.store import SqliteStore
from audit.verification import verify_store

LOG, CHAINS, COUNT = "example.org/audit", ("worker-0", "worker-1"), 12
START_NS = 1_800_000_000_000_000_000


@dataclass(frozen=True)
class Row:
    """One row of a chain's table."""

    seq: Any
    event_id: Any
    time_ns: Any
    type: Any
    hash: Any
    record: Any


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log of two chains, in which calls begin and end and other things happen."""
    directory = tmp_path_factory.mktemp("original") / "audit"
    store = SqliteStore(directory, LOG)
    for chain in CHAINS:
        writer, intent, last = store.open_writer(chain), "", None
        for number in range(COUNT):
            kind = ("access.intent", "access.outcome", "test.event")[number % 3]
            fields = {
                "principal": f"spiffe://example.org/agent/{chain}/{number}",
                "policy": {"revision": "r1", "serial": number, "signed": True},
                "reasons": ["first", "second ä \" \\ \u2028"],
                "nothing": None, "empty": {}, "none_at_all": [], "negative": -7, "big": 2**53 - 1,
            }  # fmt: skip
            if kind == "access.outcome":
                fields["intent"] = intent
            last = link(writer.head, LOG, chain, uuid7(), START_NS + number * 10**6, kind, fields)
            intent = last.event_id if kind == "access.intent" else intent
            writer.append([last])
        writer.close()
    assert rules(directory) == {chain: set() for chain in CHAINS}
    return directory


@pytest.fixture
def changed(original: Path, tmp_path: Path) -> "Callable[..., Path]":
    """Return a function that copies the log with other rows in one chain."""
    numbers = iter(range(10**6))

    def _changed(rows: list[Row], chain: str = CHAINS[0]) -> Path:
        directory = tmp_path / str(next(numbers))
        shutil.copytree(original, directory)
        write(directory, rows, chain)
        return directory

    return _changed


def read(directory: Path, chain: str = CHAINS[0]) -> list[Row]:
    with closing(sqlite3.connect(directory / f"{chain}.sqlite")) as connection:
        query = "SELECT seq, event_id, time_ns, type, hash, record FROM records ORDER BY seq"
        return [Row(*row) for row in connection.execute(query)]


def write(directory: Path, rows: list[Row], chain: str) -> None:
    with closing(sqlite3.connect(directory / f"{chain}.sqlite")) as connection, connection:
        connection.execute("DELETE FROM records")
        values = [(row.seq, row.event_id, row.time_ns, row.type, row.hash, row.record) for row in rows]
        query = "INSERT INTO records (seq, event_id, time_ns, type, hash, record) VALUES (?, ?, ?, ?, ?, ?)"
        connection.executemany(query, values)


def rules(directory: Path) -> dict[str, set[str]]:
    """Verify, and return the rules that were broken, by chain."""
    reports = verify_store(SqliteStore(directory, LOG), processes=1)
    return {report.chain: {finding.rule for finding in report.findings} for report in reports}


def found(directory: Path) -> set[str]:
    return {rule for broken in rules(directory).values() for rule in broken}


# The attackers


def only_the_record(rows: list[Row], place: int, document: Any) -> list[Row]:
    return [*rows[:place], replace(rows[place], record=_written(document)), *rows[place + 1 :]]


def and_its_hash(rows: list[Row], place: int, document: Any) -> list[Row]:
    rows = only_the_record(rows, place, document)
    rows[place] = replace(rows[place], hash=record_hash(rows[place].record))
    return rows


def and_its_columns(rows: list[Row], place: int, document: Any) -> list[Row]:
    rows = and_its_hash(rows, place, document)
    rows[place] = replace(
        rows[place],
        event_id=_text(document, "event_id", rows[place].event_id),
        time_ns=int(_text(document, "time", "") or rows[place].time_ns),
        type=_text(document, "type", rows[place].type),
    )
    return rows


def and_all_that_follows(rows: list[Row], place: int, document: Any) -> list[Row]:
    rows = and_its_columns(rows, place, document)
    before = rows[place].hash
    for number in range(place + 1, len(rows)):
        following = orjson.loads(rows[number].record)
        following["prev"] = before
        record = canonical(following)
        before = record_hash(record)
        rows[number] = replace(rows[number], record=record, hash=before)
    return rows


ATTACKERS = (only_the_record, and_its_hash, and_its_columns, and_all_that_follows)


def _written(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _text(document: dict[str, Any], name: str, otherwise: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else otherwise


# Fields


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value in a document, whole objects and lists among them."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def holder(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


def other(value: Any) -> Any:
    """Return another value of the same kind, as near as can be."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value - 1
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    if isinstance(value, dict):
        return {**value, "more": 1}
    return [*value, 1] if isinstance(value, list) else "null"


def change(document: Any, path: tuple[Any, ...]) -> None:
    inside = holder(document, path)
    inside[path[-1]] = other(inside[path[-1]])


def remove(document: Any, path: tuple[Any, ...]) -> None:
    del holder(document, path)[path[-1]]


def empty(document: Any, path: tuple[Any, ...]) -> None:
    inside = holder(document, path)
    inside[path[-1]] = None if inside[path[-1]] is not None else ""


def rename(document: Any, path: tuple[Any, ...]) -> None:
    inside = holder(document, path)
    value = inside.pop(path[-1])
    if isinstance(inside, dict):
        inside[f"{path[-1]}_"] = value
    else:
        inside.insert(0, [value])


def as_text(document: Any, path: tuple[Any, ...]) -> None:
    inside = holder(document, path)
    inside[path[-1]] = [inside[path[-1]]]


@pytest.mark.parametrize("attacker", ATTACKERS)
@pytest.mark.parametrize("what", [change, remove, empty, rename, as_text])
def test_no_field_of_a_record_can_be_touched(original: Path, changed, what, attacker) -> None:
    rows = read(original)
    for place in (0, 4, COUNT - 1):
        untouched = orjson.loads(rows[place].record)
        for path in places(untouched):
            document = copy.deepcopy(untouched)
            what(document, path)
            directory = changed(attacker(rows, place, document))
            assert found(directory), f"{what.__name__} {path} in record {place}"
            shutil.rmtree(directory)


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_no_field_can_be_added_to_a_record(original: Path, changed, attacker) -> None:
    rows = read(original)
    for place in (0, 4, COUNT - 1):
        assert found(changed(attacker(rows, place, {**orjson.loads(rows[place].record), "added": "x"})))


@pytest.mark.parametrize("column", ["event_id", "time_ns", "type", "hash", "record"])
@pytest.mark.parametrize("value", ["", 0, "7", b"7", 10**9, "text", 1.5])
def test_no_column_of_a_row_can_be_changed(original: Path, changed, column: str, value: Any) -> None:
    rows = read(original)
    assert found(changed([replace(row, **{column: value}) if row.seq == 4 else row for row in rows]))


@pytest.mark.parametrize("value", [-(2**63), -1, 7, COUNT, 10**9, 2**62, 2**63 - 1])
@pytest.mark.parametrize("place", [0, 4, COUNT - 1])
def test_no_record_can_be_given_another_number(original: Path, changed, place: int, value: int) -> None:
    """However far away: a number that no chain reaches does not keep the verification busy."""
    rows = [row for row in read(original) if row.seq != value]
    assert found(changed([replace(row, seq=value) if row.seq == place else row for row in rows]))


# Rows, hypothesis among them


def removed(rows: list[Row], data: st.DataObject) -> list[Row]:
    first = data.draw(st.integers(0, len(rows) - 1))
    return rows[:first] + rows[data.draw(st.integers(first + 1, len(rows))) :]


def inserted(rows: list[Row], data: st.DataObject) -> list[Row]:
    """Insert, anywhere but at the end, a record that never was."""
    place = data.draw(st.integers(0, max(len(rows) - 1, 0)))
    forged = link_after(rows[:place])
    return [*rows[:place], Row(forged.sequence, forged.event_id, forged.time_ns, forged.type, forged.hash,
                               forged.record), *rows[place:]]  # fmt: skip


def duplicated(rows: list[Row], data: st.DataObject) -> list[Row]:
    row = data.draw(st.sampled_from(rows))
    place = data.draw(st.integers(0, len(rows) - 1))
    return [*rows[:place], row, *rows[place:]]


def reordered(rows: list[Row], data: st.DataObject) -> list[Row]:
    return data.draw(st.permutations(rows))


def link_after(rows: list[Row]) -> Linked:
    head = Head(rows[-1].seq, rows[-1].hash) if rows else Head()
    time_ns = rows[-1].time_ns + 1 if rows else START_NS
    return link(head, LOG, CHAINS[0], uuid7(), time_ns, "test.event", {"forged": True})


ROW_ATTACKS = (removed, inserted, duplicated, reordered)


def as_it_is(rows: list[Row]) -> list[Row]:
    return rows


def numbered(rows: list[Row]) -> list[Row]:
    return [replace(row, seq=number) for number, row in enumerate(rows)]


def linked_anew(rows: list[Row]) -> list[Row]:
    """Number and link every record anew, with everything that the chain sets right."""
    before, made = GENESIS, []
    for number, row in enumerate(rows):
        document = {**orjson.loads(row.record), "seq": number, "prev": before, "chain": CHAINS[0]}
        record = canonical(document)
        before = record_hash(record)
        made.append(replace(row, seq=number, hash=before, record=record))
    return made


@pytest.mark.parametrize("repaired", [as_it_is, numbered, linked_anew])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_record_can_be_removed_inserted_repeated_moved_or_taken_from_elsewhere(
    original: Path, changed, repaired, data: st.DataObject
) -> None:
    rows = untouched = read(original)
    others = read(original, CHAINS[1])

    def of_another_chain(rows: list[Row], data: st.DataObject) -> list[Row]:
        place = data.draw(st.integers(0, len(rows) - 1))
        return [*rows[:place], data.draw(st.sampled_from(others)), *rows[place + 1 :]]

    for attack in data.draw(st.lists(st.sampled_from((*ROW_ATTACKS, of_another_chain)), min_size=1, max_size=3)):
        rows = attack(rows, data) if rows else rows
    rows = repaired(rows)
    # A table holds a place once: what comes twice without a number of its own is not even written.
    assume(len({row.seq for row in rows}) == len(rows))
    # Nothing changed, or only a record added at the end: that is the tree's matter.
    assume(sorted(rows, key=lambda row: row.seq)[: len(untouched)] != untouched)
    directory = changed(rows)
    broken = rules(directory)
    assert broken[CHAINS[0]], [row.seq for row in rows]
    assert not broken[CHAINS[1]], "the other chain is not to blame"
    shutil.rmtree(directory)


@pytest.mark.parametrize("count", range(1, COUNT + 1))
def test_a_tail_that_was_cut_is_missed(original: Path, changed, count: int) -> None:
    assert rules(changed(read(original)[:-count]))[CHAINS[0]] == {"shortened"}


@pytest.mark.parametrize("count", range(1, COUNT))
def test_a_beginning_that_was_cut_is_missed(original: Path, changed, count: int) -> None:
    rows = read(original)[count:]
    assert rules(changed(rows))[CHAINS[0]] == {"beginning"}
    assert "shortened" in rules(changed(linked_anew(rows)))[CHAINS[0]]


def test_two_chains_that_changed_their_names_are_both_found(original: Path, tmp_path: Path) -> None:
    for files in (["sqlite"], ["sqlite", "head"]):
        directory = tmp_path / str(len(files))
        shutil.copytree(original, directory)
        one, two = CHAINS
        for kind in files:
            (directory / f"{one}.{kind}").rename(directory / "third")
            (directory / f"{two}.{kind}").rename(directory / f"{one}.{kind}")
            (directory / "third").rename(directory / f"{two}.{kind}")
        broken = rules(directory)
        assert broken[one]
        assert broken[two]


def test_a_chain_that_stands_in_for_another_is_found(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "log")
    for kind in ("sqlite", "head"):
        shutil.copy2(original / f"{CHAINS[1]}.{kind}", tmp_path / "log" / f"{CHAINS[0]}.{kind}")
    broken = rules(tmp_path / "log")
    assert broken[CHAINS[0]]
    assert not broken[CHAINS[1]]


def test_a_chain_of_another_log_is_found(original: Path, changed) -> None:
    rows = linked_anew(
        [replace(row, record=canonical({**orjson.loads(row.record), "log": "other/log"})) for row in read(original)]
    )
    directory = changed(rows)
    (directory / f"{CHAINS[0]}.head").write_text(f"{rows[-1].seq} {rows[-1].hash}\n")
    assert rules(directory)[CHAINS[0]]


@pytest.mark.parametrize("kinds", [["sqlite"], ["head"], ["sqlite", "head"]])
def test_a_chain_that_was_taken_away_is_missed(original: Path, tmp_path: Path, kinds: list[str]) -> None:
    """A lock file outlives it; where that is gone as well, only others know that the chain was there."""
    shutil.copytree(original, tmp_path / "log")
    for kind in kinds:
        (tmp_path / "log" / f"{CHAINS[0]}.{kind}").unlink()
    assert rules(tmp_path / "log")[CHAINS[0]]
