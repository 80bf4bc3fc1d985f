"""Credentials that were issued, so that calls can be joined with them: in the database, since there may be many."""

import sqlite3

from compliance.period import Period
from compliance.populations.base import Entry
from compliance.populations.collectors.base import SECOND

_BATCH = 2000

_Row = tuple[str, int, str, str, str]


class Credentials:
    """Fills a table with every credential that was good for a while in the period."""

    def __init__(self, connection: sqlite3.Connection, period: Period) -> None:
        self._connection = connection
        self._start, self._end_ns = period.start_ns // SECOND, period.end_ns
        self._waiting: list[_Row] = []

    def take(self, entry: Entry) -> None:
        """Take a record of an issuance."""
        document = entry.document
        if "unwritable" in document or entry.time_ns >= self._end_ns:
            return
        not_after = int(document["not_after"])
        if not_after < self._start:
            return
        lifetime = not_after - entry.time_ns // SECOND
        names = (str(document.get(name, "")) for name in ("entry", "authority", "parent"))
        self._waiting.append((str(document["serial"]), lifetime, *names))  # type: ignore[arg-type]
        if len(self._waiting) >= _BATCH:
            self.finish()

    def finish(self) -> None:
        """Write what waits."""
        self._connection.executemany("INSERT OR REPLACE INTO _credentials VALUES (?, ?, ?, ?, ?)", self._waiting)
        self._waiting.clear()
