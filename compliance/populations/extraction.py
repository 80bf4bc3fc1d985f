"""Reads the log once, in the order of its tree, and fills the populations."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from audit.export.source import Leaf, Source
from audit.store.base import StoredRecord
from compliance.errors import ComplianceError
from compliance.period import Period
from compliance.populations.base import Entry
from compliance.populations.collectors import calls, incidents, inventory, keys, plain, policies, running, unsafe
from compliance.populations.collectors.base import Collector, Surroundings
from compliance.populations.collectors.running import Running
from compliance.populations.context import Context, Registers
from compliance.populations.credentials import Credentials
from compliance.populations.dataset import Dataset
from compliance.populations.derived import derive
from compliance.populations.joining import join
from compliance.populations.passing import Passed
from compliance.populations.registry import POPULATIONS
from compliance.populations.scratch import Scratch

FORM = 3
"""Version of what is made of the log; a database of another one is made anew."""

PROGRESS_RECORDS = 2000
MARK_RECORDS = 50_000

Progress = Callable[[int, int], None]
"""Told how many records were read, and how many there are."""


def extract(
    source: Source, period: Period, database: Path, context: Context, progress: Progress | None = None
) -> Dataset:
    """Fill the populations of a period.

    A database that holds the same extraction whole is taken as it is. One that was interrupted goes on where it was:
    calls are not made again, and what other collectors have to know is read again.

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
    try:
        scratch = Scratch(database, key)
        if not scratch.whole:
            _fill(scratch, source, period, context, progress)
    except sqlite3.Error as error:
        raise ComplianceError(
            f"the populations cannot be written to {database}: {error}; free space, remove that file, and run again"
        ) from error
    return Dataset(database)


def _key(source: Source, period: Period, context: Context) -> str:
    """Return what tells extractions apart."""
    backends = {name: each.region for name, each in context.backends.items()}
    tables = {name: [each.name for each in population.columns] for name, population in POPULATIONS.items()}
    known = orjson.dumps(
        [context.register.tables, backends, tables], option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    )
    return sha256(source.note + f"\n{period}\n{FORM}\n".encode() + known).hexdigest()


def _fill(scratch: Scratch, source: Source, period: Period, context: Context, progress: Progress | None) -> None:
    with closing(scratch):
        passed = Passed(period)
        around = Surroundings(
            period,
            context,
            Registers(context),
            _last_time(source),
            scratch.tables.add,
            passed.signs.before,
            lambda: passed.oldest_ns,
        )
        reading = _Reading(scratch, source, around, passed)
        reading.run(progress)
        reading.finish()
        join(scratch.connection)
        derive(scratch.connection, around, passed, reading.ran)
        scratch.finish(passed)


class _Reading:
    """One pass over the log."""

    def __init__(self, scratch: Scratch, source: Source, around: Surroundings, passed: Passed) -> None:
        self._scratch, self._source, self._around, self._passed = scratch, source, around, passed
        self._calls = calls.Calls(around)
        self._credentials = Credentials(scratch.connection, around.period)
        self.ran = Running(around)
        self._all: list[tuple[tuple[str, ...], Collector]] = [
            (calls.TYPES, self._calls),
            (plain.TYPES, plain.Plain(around)),
            (inventory.TYPES, inventory.Inventory(around)),
            (policies.TYPES, policies.Policies(around)),
            (keys.TYPES, keys.Keys(around)),
            (unsafe.TYPES, unsafe.UnsafeOptions(around)),
            (running.TYPES, self.ran),
            (incidents.TYPES, incidents.Incidents(around)),
            (("identity.issued",), self._credentials),
        ]
        self._collectors: dict[str, list[Collector]] = {}
        for types, collector in self._all:
            for each in types:
                self._collectors.setdefault(each, []).append(collector)

    def run(self, progress: Progress | None) -> None:
        """Read every record, and keep a mark now and then."""
        passed, size, mark = self._passed, self._source.checkpoint.size, self._scratch.mark
        if mark:
            self._calls.restore(self._scratch.kept)
        self._scratch.tables.muted = mark > 0
        for leaf in self._source.leaves():
            index = leaf.index
            if index == mark:
                self._scratch.tables.muted = False
            if index % PROGRESS_RECORDS == 0 and progress is not None:
                progress(index, size)
            if index % MARK_RECORDS == 0 and index > mark:
                self._keep(index)
            stored = leaf.record
            if stored is None:
                passed.lack(leaf)
                continue
            within = passed.note(leaf, stored)
            if index >= mark or stored.type not in calls.KEPT:
                self._take(leaf, stored, within)
            elif within and _marked_unwritable(stored):
                passed.types[stored.type].unwritable += 1
            passed.sign(leaf, stored)
        self._scratch.tables.muted = False
        if progress is not None:
            progress(size, size)

    def finish(self) -> None:
        """Let the collectors give out what is left."""
        for _, collector in self._all:
            collector.finish()
        self._scratch.tables.flush()

    def _take(self, leaf: Leaf, stored: StoredRecord, within: bool) -> None:
        record_type = stored.type
        if not within and record_type in calls.KEPT and record_type != "access.outcome":
            if record_type == "access.intent":
                self._calls.pass_over(stored.event_id)
            return
        if within and _marked_unwritable(stored):
            self._passed.types[record_type].unwritable += 1
        interested = self._collectors.get(record_type)
        if interested is None:
            return
        entry = Entry(leaf.index, stored.time_ns, record_type, stored.event_id, _parse(stored.record))
        for collector in interested:
            collector.take(entry)

    def _keep(self, index: int) -> None:
        self._credentials.finish()
        self._scratch.keep(index, self._calls.state())


def _marked_unwritable(stored: StoredRecord) -> bool:
    return b'"unwritable":' in stored.record and "unwritable" in _parse(stored.record)


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
