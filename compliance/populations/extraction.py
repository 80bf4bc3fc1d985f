"""Reads the log once, in the order of its tree, and fills the populations."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from audit.export.source import Source
from compliance.errors import ComplianceError
from compliance.period import Period
from compliance.populations.base import Entry
from compliance.populations.collectors import calls, incidents, inventory, plain, policies, running
from compliance.populations.collectors.base import DAY_NS, SECOND, Collector, Surroundings
from compliance.populations.collectors.running import Running, retention_state
from compliance.populations.context import Context, Registers
from compliance.populations.dataset import Dataset, Tables
from compliance.populations.derived import day_rows, derive, finish_calls

FORM = 1
"""Version of the tables; another one is made anew."""

PROGRESS_RECORDS = 2000

Progress = Callable[[int, int], None]
"""Told how many records were read, and how many there are."""


def extract(
    source: Source, period: Period, database: Path, context: Context, progress: Progress | None = None
) -> Dataset:
    """Fill the populations of a period.

    A database that holds the same extraction whole is taken as it is; one that was interrupted is made anew.

    Args:
        source: the log, up to a signed checkpoint.
        period: the days.
        database: file to make.
        context: what is known besides the log.
        progress: told how far it is.

    Raises:
        audit.export.errors.ExportError: the chains lack a record that they have to have.
        ComplianceError: a record is not what the log says it is, or the disk is full.
    """
    key = _key(source, period, context)
    if not _is_whole(database, key):
        for each in (database, *(database.with_name(database.name + end) for end in ("-wal", "-journal", "-shm"))):
            each.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(database, isolation_level=None)) as connection:
                _fill(connection, source, period, context, progress)
                connection.execute("INSERT INTO _whole VALUES (?)", (key,))
        except sqlite3.Error as error:
            raise ComplianceError(
                f"the populations cannot be written to {database}: {error}; free space, and run again"
            ) from error
    return Dataset(database)


def _key(source: Source, period: Period, context: Context) -> str:
    """Return what tells extractions apart."""
    backends = {name: each.region for name, each in context.backends.items()}
    known = orjson.dumps([context.register.tables, backends], option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return sha256(source.note + f"\n{period}\n{FORM}\n".encode() + known).hexdigest()


def _is_whole(database: Path, key: str) -> bool:
    if not database.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT key FROM _whole").fetchall() == [(key,)]
    except sqlite3.Error:
        return False


def _fill(
    connection: sqlite3.Connection, source: Source, period: Period, context: Context, progress: Progress | None
) -> None:
    # The database is scratch: after a crash it is made anew, so nothing of it is synced.
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -65536"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN")
    connection.execute("CREATE TABLE _whole (key TEXT)")
    connection.execute("CREATE TABLE _leaves (type TEXT PRIMARY KEY, count INTEGER)")
    connection.execute("CREATE TABLE _window (first INTEGER, after INTEGER)")
    connection.execute("CREATE TABLE _days (day TEXT PRIMARY KEY, records INTEGER, first INTEGER, last INTEGER)")
    connection.execute("CREATE TABLE _credentials (credential TEXT PRIMARY KEY, lifetime INTEGER) WITHOUT ROWID")
    tables = Tables(connection)
    around = Surroundings(period, context, Registers(context), _last_time(source), tables.add)
    ran = Running(around)
    pairs: list[tuple[tuple[str, ...], Collector]] = [
        (calls.TYPES, calls.Calls(around)),
        (plain.TYPES, plain.Plain(around)),
        (inventory.TYPES, inventory.Inventory(around)),
        (policies.TYPES, policies.Policies(around)),
        (running.TYPES, ran),
        (incidents.TYPES, incidents.Incidents(around)),
    ]
    collectors: dict[str, list[Collector]] = {}
    for types, collector in pairs:
        for each in types:
            collectors.setdefault(each, []).append(collector)
    passed = _read(connection, source, period, collectors, progress)
    for _, collector in pairs:
        collector.finish()
    oldest = passed.oldest_ns or around.now_ns
    around.emit("retention", retention_state(around, oldest, 0 if passed.deleted else oldest))
    tables.flush()
    finish_calls(connection)
    derive(connection, around, ran.intervals)
    tables.flush()
    connection.execute("COMMIT")


class _Passed:
    """What was seen in passing."""

    def __init__(self) -> None:
        self.oldest_ns = 0
        self.deleted = 0
        self.window = [0, 0]
        self.types: dict[str, int] = {}
        self.days: dict[int, list[int]] = {}
        self.credentials: dict[str, int] = {}

    def note(self, leaf: int, time_ns: int, record_type: str) -> None:
        """Note a record of the period."""
        if not self.types:
            self.window[0] = leaf
        self.window[1] = leaf + 1
        self.types[record_type] = self.types.get(record_type, 0) + 1
        day = self.days.get(time_ns // DAY_NS)
        if day is None:
            self.days[time_ns // DAY_NS] = [1, time_ns, time_ns]
        else:
            day[0] += 1
            day[1], day[2] = min(day[1], time_ns), max(day[2], time_ns)


def _read(
    connection: sqlite3.Connection,
    source: Source,
    period: Period,
    collectors: dict[str, list[Collector]],
    progress: Progress | None,
) -> _Passed:
    passed, size, done = _Passed(), source.checkpoint.size, 0
    start_ns, end_ns = period.start_ns, period.end_ns
    for leaf in source.leaves():
        done += 1
        if done == PROGRESS_RECORDS and progress is not None:
            progress(leaf.index + 1, size)
            done = 0
        stored = leaf.record
        if stored is None:
            passed.deleted += 1
            continue
        if not passed.oldest_ns or stored.time_ns < passed.oldest_ns:
            passed.oldest_ns = stored.time_ns
        if start_ns <= stored.time_ns < end_ns:
            passed.note(leaf.index, stored.time_ns, stored.type)
        interested = collectors.get(stored.type)
        if interested is None:
            continue
        document = _parse(stored.record)
        entry = Entry(leaf.index, stored.time_ns, stored.type, stored.event_id, document)
        if stored.type == "identity.issued" and "unwritable" not in document:
            passed.credentials[str(document["serial"])] = int(document["not_after"]) - stored.time_ns // SECOND
        for collector in interested:
            collector.take(entry)
    if progress is not None:
        progress(size, size)
    connection.executemany("INSERT INTO _leaves VALUES (?, ?)", sorted(passed.types.items()))
    connection.execute("INSERT INTO _window VALUES (?, ?)", passed.window)
    connection.executemany("INSERT INTO _days VALUES (?, ?, ?, ?)", day_rows(passed.days))
    connection.executemany("INSERT OR REPLACE INTO _credentials VALUES (?, ?)", sorted(passed.credentials.items()))
    return passed


def _parse(record: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(record)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise ComplianceError("a record of the log is no JSON object; run: govctl audit verify")
    return document


def _last_time(source: Source) -> int:
    """Return the latest time of a record near the end of the tree, UNIX nanoseconds."""
    size = source.checkpoint.size
    return max(
        (leaf.record.time_ns for leaf in source.leaves(max(0, size - 1000)) if leaf.record is not None), default=0
    )
