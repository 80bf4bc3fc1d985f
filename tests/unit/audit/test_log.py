"""The log as the gateway uses it: what its writer does where nothing fails, and where something unexpected does."""

import asyncio
import time
from pathlib import Path

import pytest

from audit.chain import Head, link
from audit.errors import AuditUnavailableError, CanonicalError
from audit.log import AuditLog
from audit.store import AuditStore
from audit.verification import verify_store


def open_log(directory: Path) -> AuditLog:
    return AuditLog(AuditStore(directory), "chain", digest_key=b"k" * 32, clock=time.time_ns)


async def test_what_was_appended_is_durable_in_order_and_verifies(tmp_path):
    log = open_log(tmp_path)
    entries = [log.append("access.denied", {"number": number}) for number in range(50)]
    places = [await entry.durable() for entry in entries]
    await log.close()
    assert [place.sequence for place in places] == list(range(50))
    [report] = verify_store(AuditStore(tmp_path))
    assert report.ok
    assert report.records == 50


async def test_a_record_without_a_canonical_form_fails_alone(tmp_path):
    log = open_log(tmp_path)
    good, bad, later = (log.append("access.denied", {"value": value}) for value in (1, 1.5, 2))
    with pytest.raises(AuditUnavailableError, match="float"):
        await bad.durable()
    assert (await good.durable()).sequence == 0
    assert (await later.durable()).sequence == 1
    await log.close()


@pytest.mark.parametrize("name", ["v", "log", "seq", "prev", "event_id", "time", "type"])
def test_a_field_never_takes_a_name_that_the_chain_sets(name):
    with pytest.raises(CanonicalError, match=name):
        link(Head(), "chain", "id", 1, "access.denied", {name: "x"})


async def test_a_writer_that_ends_unexpectedly_closes_the_log_and_leaves_nobody_waiting(tmp_path, monkeypatch):
    log = open_log(tmp_path)

    def broken(_batch: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(log._writer, "append", broken)
    entries = [log.append("access.intent", {"number": number}) for number in range(5)]
    for entry in entries:
        with pytest.raises(AuditUnavailableError, match="a defect"):
            async with asyncio.timeout(10):
                await entry.durable()
    assert not log.healthy
    assert "restart the gateway" in log.reason
    with pytest.raises(AuditUnavailableError):
        log.append("access.intent", {})
    kept = log.append("access.outcome", {"intent": entries[0].event_id}, keep=True)
    with pytest.raises(AuditUnavailableError):
        async with asyncio.timeout(10):
            await kept.durable()
    await log.close()
