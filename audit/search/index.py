"""The index in SQLite, derived from the chains: what is damaged is made anew, what it finds is read from the chains.

It lies below the directory of the log, holds what the records say of people and calls, and may be deleted at any time.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import orjson

from audit.search.fields import NAMED, named, reasons, text
from audit.search.query import SearchError
from audit.store.base import AuditStore, ChainReader, StoredRecord

DIRECTORY = "search"
FILE_NAME = "search.sqlite"
VERSION = 1
BATCH = 5_000

Progress = Callable[[int], None]
Result = TypeVar("Result")

_TABLES = f"""
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS about (log TEXT NOT NULL, version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS taken (chain TEXT PRIMARY KEY, first INTEGER NOT NULL, next INTEGER NOT NULL, hash BLOB);
CREATE TABLE IF NOT EXISTS names (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS hits (
    id INTEGER PRIMARY KEY, chain INTEGER NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL, time_ns INTEGER NOT NULL,
    type INTEGER NOT NULL, bytes INTEGER NOT NULL, {", ".join(f"{name} INTEGER" for name in NAMED)}
);
CREATE UNIQUE INDEX IF NOT EXISTS hits_place ON hits (chain, seq);
CREATE INDEX IF NOT EXISTS hits_time ON hits (time_ns);
CREATE INDEX IF NOT EXISTS hits_type ON hits (type, time_ns);
{"".join(f"CREATE INDEX IF NOT EXISTS hits_{n} ON hits ({n}, time_ns) WHERE {n} IS NOT NULL;" for n in NAMED)}
CREATE TABLE IF NOT EXISTS reasons (reason INTEGER, hit INTEGER, PRIMARY KEY (reason, hit)) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, content='', detail=none);
"""
_COLUMNS = ("id", "chain", "seq", "hash", "time_ns", "type", "bytes", *NAMED)
_INSERT = f"INSERT INTO hits ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608


class StaleIndexError(SearchError):
    """The index is not of these chains: it has to be made anew."""


def with_index(
    directory: Path, store: AuditStore, work: Callable[["SearchIndex"], Result], progress: Progress | None = None
) -> Result:
    """Return what `work` finds in the index, caught up with the chains; the index is made anew if it is damaged.

    Args:
        directory: directory of the log.
        store: its chains.
        work: what is to be done.
        progress: called with the number of records taken since the last call.

    Raises:
        SearchError: the index cannot be written.
        AuditStoreError: the chains cannot be read.
    """
    place = directory / DIRECTORY
    for attempt in (1, 2):
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            with closing(SearchIndex(place / FILE_NAME, store.log)) as index:
                index.catch_up(store, progress)
                return work(index)
        except (sqlite3.Error, StaleIndexError) as error:
            if "locked" in str(error):
                raise SearchError("another command is catching up with the log; try again in a moment") from error
            if attempt == 2 or "full" in str(error) or "readonly" in str(error):
                raise SearchError(f"the index in {place} cannot be made: {error}") from error
            shutil.rmtree(place, ignore_errors=True)
        except OSError as error:
            raise SearchError(f"the index in {place} cannot be written: {error.strerror}") from error
    raise AssertionError  # the second attempt returns or raises


class SearchIndex:
    """The index of one log.

    Attributes:
        connection: the database.
    """

    def __init__(self, path: Path, log: str) -> None:
        """Open it; it is made if it is new.

        Raises:
            StaleIndexError: it is of another log.
            sqlite3.Error: it is damaged, or cannot be written.
        """
        path.touch(mode=0o600)
        self.connection = sqlite3.connect(path, timeout=10, isolation_level=None)
        self._names: dict[str, int] = {}
        try:
            self.connection.executescript(_TABLES)
            self._check_log(log)
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close it."""
        self.connection.close()

    def _check_log(self, log: str) -> None:
        about = self.connection.execute("SELECT log, version FROM about").fetchall()
        if not about:
            self.connection.execute("INSERT INTO about VALUES (?, ?)", (log, VERSION))
        elif about != [(log, VERSION)]:
            raise StaleIndexError("the index is of another log, or by another version")
        (taken,) = self.connection.execute("SELECT coalesce(sum(next - first), 0) FROM taken").fetchone()
        if self.connection.execute("SELECT count(*) FROM hits").fetchone() != (taken,):
            raise StaleIndexError("the index lacks records that it had")

    def catch_up(self, store: AuditStore, progress: Progress | None = None) -> None:
        """Take what the chains have grown by.

        Raises:
            StaleIndexError: a chain is not the one that was taken, or its beginning was deleted since.
        """
        present = set(store.chains())
        for (chain,) in self.connection.execute("SELECT chain FROM taken").fetchall():
            if chain not in present:
                raise StaleIndexError(f"the chain {chain} is gone")
        for chain in sorted(present):
            with store.reader(chain) as reader:
                while taken := self._take(reader):
                    if progress is not None:
                        progress(taken)

    def _take(self, reader: ChainReader) -> int:
        """Take one batch of a chain in one transaction; return how many records it had."""
        first = reader.first()
        if first is None:
            return 0
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            begin, start = self._known(reader, first)
            rows = list(reader.records(start, stop=start + BATCH, batch=BATCH))
            if rows:
                self._insert(rows)
                values = (reader.chain, begin, rows[-1].sequence + 1, bytes.fromhex(rows[-1].hash))
                self.connection.execute("INSERT OR REPLACE INTO taken VALUES (?, ?, ?, ?)", values)
            self.connection.execute("COMMIT")
        except BaseException:
            self._names.clear()
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        return len(rows)

    def _known(self, reader: ChainReader, first: StoredRecord) -> tuple[int, int]:
        """Return the first record of a chain that was taken, and the next to take."""
        known = self.connection.execute(
            "SELECT first, next, hash FROM taken WHERE chain = ?", (reader.chain,)
        ).fetchone()
        if known is None:
            return first.sequence, first.sequence
        begin, following, digest = known
        if begin != first.sequence or not _continues(reader, following, digest):
            raise StaleIndexError(f"the chain {reader.chain} is not the one that was taken")
        return begin, following

    def _insert(self, rows: list[StoredRecord]) -> None:
        (last,) = self.connection.execute("SELECT coalesce(max(id), 0) FROM hits").fetchone()
        hits, given, words = [], [], []
        for number, row in enumerate(rows, last + 1):
            document = document_of(row)
            fields = [self._name(named(document, each)) for each in NAMED]
            place = (number, self._name(row.chain), row.sequence, bytes.fromhex(row.hash), row.time_ns)
            hits.append((*place, self._name(row.type), len(row.record), *fields))
            given += [(self._name(reason), number) for reason in reasons(document)]
            words.append((number, text(document)))
        self.connection.executemany(_INSERT, hits)
        self.connection.executemany("INSERT INTO reasons VALUES (?, ?)", given)
        self.connection.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", words)

    def _name(self, value: str | None) -> int | None:
        """Return the number of a text, giving it one the first time."""
        if value is None:
            return None
        number = self._names.get(value)
        if number is None:
            self.connection.execute("INSERT OR IGNORE INTO names (text) VALUES (?)", (value,))
            (number,) = self.connection.execute("SELECT id FROM names WHERE text = ?", (value,)).fetchone()
            if len(self._names) > 100_000:
                self._names.clear()
            self._names[value] = number
        return number


def _continues(reader: ChainReader, following: int, digest: bytes) -> bool:
    """Whether the chain still has the record that was taken last."""
    found = next(reader.records(following - 1, stop=following), None)
    return found is not None and found.hash == digest.hex()


def document_of(row: StoredRecord) -> dict[str, Any]:
    """Return the record; an empty document for one that is damaged, which `verify` is there to tell."""
    try:
        document = orjson.loads(row.record)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def size_on_disk(directory: Path) -> int:
    """Return how many bytes the index takes."""
    place = directory / DIRECTORY
    return sum(path.stat().st_size for path in place.glob(f"{FILE_NAME}*")) if place.exists() else 0
