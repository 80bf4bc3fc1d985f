"""Looks through a log for records that are not as their types' definitions say."""

from pathlib import Path

import orjson

from audit.events import validate_record
from audit.store import SqliteStore


def wrong_records(directory: Path) -> list[str]:
    """Return what is wrong with the records of every chain in a directory."""
    store = SqliteStore(directory, "example.org/audit")
    found: list[str] = []
    for chain in store.chains():
        with store.reader(chain) as reader:
            for row in reader.records():
                problems = validate_record(orjson.loads(row.record))
                found += [f"{chain}/{row.sequence} {row.type}: {problem}" for problem in problems]
    return found
