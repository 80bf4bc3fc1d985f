"""A commit that failed, and of which nobody could look at once whether it reached the disk."""

import itertools
import time
from pathlib import Path

import pytest

from audit.errors import AuditStoreError, AuditUnavailableError
from audit.log import AuditLog
from audit.store import SqliteStore
from audit.store.sqlite import SqliteChainWriter
from audit.verification import verify_store


class Cable:
    """Between the log and its disk: once it is loose, commits arrive or not, but nobody hears of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, arrives: bool) -> None:
        self.loose = False
        append, read_head = SqliteChainWriter.append, SqliteChainWriter.read_head
        cuts = itertools.count()

        def cut_append(writer, batch):
            if not self.loose:
                append(writer, batch)
                return
            if arrives and next(cuts) == 0:
                append(writer, batch)
            raise AuditStoreError("no answer")

        def cut_read_head(writer):
            if self.loose:
                raise AuditStoreError("no answer")
            return read_head(writer)

        monkeypatch.setattr(SqliteChainWriter, "append", cut_append)
        monkeypatch.setattr(SqliteChainWriter, "read_head", cut_read_head)


@pytest.mark.parametrize("arrives", [True, False])
async def test_what_was_kept_is_written_once_whether_the_commit_arrived_or_not(tmp_path: Path, monkeypatch, arrives):
    cable = Cable(monkeypatch, arrives=arrives)
    store = SqliteStore(tmp_path, "example.org/audit")
    log = AuditLog(store, "chain", digest_key=b"k" * 32, clock=time.time_ns)
    intent = log.append("test.intent", {"number": 1})
    await intent.durable()
    cable.loose = True
    outcome = log.append("test.outcome", {"intent": intent.event_id}, keep=True, closes=intent)
    refused = log.append("test.intent", {"number": 2})
    with pytest.raises(AuditUnavailableError):
        await refused.durable()
    assert not log.healthy
    cable.loose = False
    placed = await outcome.durable()
    after = await log.append("test.event", {}).durable() if log.healthy else None
    await log.close()
    (report,) = verify_store(store)
    assert report.findings == []
    with store.reader("chain") as reader:
        rows = list(reader.records())
    assert [row.hash for row in rows if row.event_id == outcome.event_id] == [placed.hash]
    assert log.backlog == 0
    assert after is None or rows[-1].hash == after.hash
    assert "log.recovered" in [row.type for row in rows]


async def test_a_lost_record_that_arrived_after_all_is_not_written_again_by_what_closes_it(tmp_path: Path, monkeypatch):
    cable = Cable(monkeypatch, arrives=True)
    store = SqliteStore(tmp_path, "example.org/audit")
    log = AuditLog(store, "chain", digest_key=b"k" * 32, clock=time.time_ns)
    await log.append("test.started", {}).durable()
    cable.loose = True
    intent = log.append("test.intent", {"number": 1})
    with pytest.raises(AuditUnavailableError):
        await intent.durable()
    outcome = log.append("test.outcome", {"intent": intent.event_id}, keep=True, closes=intent)
    cable.loose = False
    await outcome.durable()
    await log.close()
    (report,) = verify_store(store)
    assert report.findings == []
    with store.reader("chain") as reader:
        ids = [row.event_id for row in reader.records()]
    assert (ids.count(intent.event_id), ids.count(outcome.event_id)) == (1, 1)
