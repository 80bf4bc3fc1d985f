from collections.abc import Callable
from pathlib import Path

import pytest

from audit.chain import Linked, link
from audit.event_id import uuid7
from audit.store import SqliteStore

START_NS = 1_800_000_000_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "audit", "example.org/audit")


@pytest.fixture
def write(store: SqliteStore) -> Callable[[int], list[Linked]]:
    """Write a chain named `chain` of so many records, one commit each, and return them."""

    def _write(count: int) -> list[Linked]:
        writer = store.open_writer("chain")
        written = []
        for number in range(count):
            record = link(writer.head, store.log, "chain", uuid7(), START_NS + number, "test.event", {"number": number})
            writer.append([record])
            written.append(record)
        writer.close()
        return written

    return _write
