"""The log as the gateway uses it: what its writer does where nothing fails, and where something unexpected does."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from audit.chain import Head, Linked, link
from audit.errors import AuditStoreError, AuditUnavailableError, CanonicalError
from audit.log import AuditLog
from audit.store import SqliteStore
from audit.verification import verify_store


def open_log(directory: Path) -> AuditLog:
    return AuditLog(SqliteStore(directory, "example.org/audit"), "chain", digest_key=b"k" * 32, clock=time.time_ns)


async def test_what_was_appended_is_durable_in_order_and_verifies(tmp_path):
    log = open_log(tmp_path)
    entries = [log.append("test.denied", {"number": number}) for number in range(50)]
    places = [await entry.durable() for entry in entries]
    await log.close()
    assert [place.sequence for place in places] == list(range(50))
    [report] = verify_store(SqliteStore(tmp_path, "example.org/audit"))
    assert report.ok
    assert report.records == 50


async def test_a_record_without_a_canonical_form_fails_alone(tmp_path):
    log = open_log(tmp_path)
    good, bad, later = (log.append("test.denied", {"value": value}) for value in (1, 1.5, 2))
    with pytest.raises(AuditUnavailableError, match="float"):
        await bad.durable()
    assert (await good.durable()).sequence == 0
    assert (await later.durable()).sequence == 1
    await log.close()


@pytest.mark.parametrize("name", ["v", "log", "chain", "seq", "prev", "event_id", "time", "type"])
def test_a_field_never_takes_a_name_that_the_chain_sets(name):
    with pytest.raises(CanonicalError, match=name):
        link(Head(), "example.org/audit", "chain", "id", 1, "test.denied", {name: "x"})


async def test_a_writer_that_ends_unexpectedly_closes_the_log_and_leaves_nobody_waiting(tmp_path, monkeypatch):
    log = open_log(tmp_path)

    def broken(_batch: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(log._writer, "append", broken)
    entries = [log.append("test.intent", {"number": number}) for number in range(5)]
    for entry in entries:
        with pytest.raises(AuditUnavailableError, match="a defect"):
            async with asyncio.timeout(10):
                await entry.durable()
    assert not log.healthy
    assert "restart the gateway" in log.reason
    with pytest.raises(AuditUnavailableError):
        log.append("test.intent", {})
    kept = log.append("test.outcome", {"intent": entries[0].event_id}, keep=True)
    with pytest.raises(AuditUnavailableError):
        async with asyncio.timeout(10):
            await kept.durable()
    await log.close()


class Disk:
    """The store's append, with a disk that can be full."""

    def __init__(self, log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self._append = log._writer.append
        monkeypatch.setattr(log._writer, "append", self.append)

    def append(self, batch: list[Linked]) -> None:
        if self.full:
            raise AuditStoreError("the disk is full")
        self._append(batch)


@pytest.mark.parametrize("when", ["before the end", "with the end"])
async def test_what_closes_a_lost_record_brings_it_along_once_the_disk_has_room(tmp_path, monkeypatch, when):
    log = open_log(tmp_path)
    disk = Disk(log, monkeypatch)
    await log.append("test.started", {}).durable()
    disk.full = True
    intent = log.append("test.intent", {"number": 1})
    if when == "before the end":
        with pytest.raises(AuditUnavailableError, match="disk is full"):
            await intent.durable()
    outcome = log.append("test.outcome", {"intent": intent.event_id}, keep=True, closes=intent)
    lost = log.append("test.intent", {"number": 2}) if log.healthy else None
    with pytest.raises(AuditUnavailableError, match="disk is full"):
        await intent.durable()
    disk.full = False
    await outcome.durable()
    await log.close()
    assert lost is None or lost.linked is None
    store = SqliteStore(tmp_path, "example.org/audit")
    [report] = verify_store(store)
    assert report.ok, report.findings
    with store.reader("chain") as reader:
        found = [json.loads(record.record) for record in reader.last(10)]
    assert [entry["type"] for entry in found] == ["test.started", "log.recovered", "test.intent", "test.outcome"]
    assert found[2]["event_id"] == intent.event_id
    assert found[2]["delayed_from"] == str(intent.time_ns)
    assert int(found[3]["delayed_from"]) < int(found[3]["time"])


async def test_a_lost_record_that_has_no_form_is_named_by_what_closes_it(tmp_path):
    log = open_log(tmp_path)
    intent = log.append("test.intent", {"value": 1.5})
    outcome = log.append("test.outcome", {"intent": intent.event_id}, keep=True, closes=intent)
    await outcome.durable()
    await log.close()
    store = SqliteStore(tmp_path, "example.org/audit")
    [report] = verify_store(store)
    assert report.ok, report.findings
    with store.reader("chain") as reader:
        assert "float" in json.loads(reader.last(2)[0].record)["unwritable"]


async def test_a_clock_that_goes_back_is_an_event_and_the_chain_still_verifies(tmp_path):
    now = [1_800_000_000 * 10**9]
    store = SqliteStore(tmp_path, "example.org/audit")
    for step in (0, 3600, -7200, 1):  # seconds; the chain is opened anew after each
        now[0] += step * 10**9
        log = AuditLog(store, "chain", digest_key=b"k" * 32, clock=lambda: now[0])
        await log.append("test.event", {"step": str(step)}).durable()
        await log.close()
    [report] = verify_store(store)
    assert report.ok, report.findings
    with store.reader("chain") as reader:
        records = [json.loads(record.record) for record in reader.records()]
    assert [record["type"] for record in records] == ["test.event"] * 2 + ["clock.stepped"] + ["test.event"] * 2
    assert records[2]["seconds"] == -7200
    assert records[2]["before"] == records[1]["time"]


async def test_a_record_too_long_for_an_entry_bundle_fails_alone(tmp_path):
    log = open_log(tmp_path)
    with pytest.raises(AuditUnavailableError, match="65535 bytes"):
        await log.append("test.event", {"text": "x" * 65_536}).durable()
    assert (await log.append("test.event", {}).durable()).sequence == 0
    await log.close()
