"""What OPA servers report: recorded as it came, once, bounded, and never acknowledged before it is durable."""

import asyncio
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import canonical
from audit.chain import Head, link
from audit.errors import AuditUnavailableError
from audit.event_id import uuid7
from audit.events import validate_record
from gateway.admin import opa_reports
from gateway.admin.opa_reports import MAX_EVENT_BYTES, OpaReports, recordable, unpacked
from gateway.errors import MediaTypeError, RequestError, UnavailableError

OPA = "spiffe://t.test/machine/opa"


class Entry:
    def __init__(self, log: "Log") -> None:
        self._log = log

    async def durable(self) -> None:
        await asyncio.sleep(0)
        if self._log.broken:
            raise AuditUnavailableError("the disk is full")


class Log:
    """An audit log in memory (a fake: the real one is in the integration tests)."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.broken = False

    def append(self, record_type: str, fields: dict[str, Any]) -> Entry:
        # As the real one: what has no canonical form or is too long is refused.
        linked = link(Head(), "log.test/audit", "control", uuid7(), 1, record_type, fields)
        assert validate_record(json.loads(linked.record)) == []
        self.records.append((record_type, fields))
        return Entry(self)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def reports(log: Log) -> OpaReports:
    return OpaReports(log)  # type: ignore[arg-type]


def event(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "decision_id": f"id-{number}",
        "timestamp": "2026-11-23T12:00:00Z",
        "path": "a/b",
        "labels": {"id": "x"},
        **more,
    }


def batch(*events: Any) -> bytes:
    return gzip.compress(json.dumps(events).encode())


async def test_a_batch_is_recorded_event_by_event_and_again_only_what_is_new(reports, log):
    assert await reports.decisions(batch(event(1), event(2)), "gzip", OPA, "") == 2
    assert await reports.decisions(batch(event(2), event(3)), "gzip", OPA, "p") == 1
    assert [fields["decision_id"] for _, fields in log.records] == ["id-1", "id-2", "id-3"]
    assert {fields["principal"] for _, fields in log.records} == {OPA}
    assert await reports.decisions(batch(event(1)), "gzip", OPA + "2", "") == 1, "another OPA's ids are its own"


async def test_what_is_not_durable_is_not_acknowledged_and_taken_when_it_comes_again(reports, log):
    log.broken = True
    with pytest.raises(UnavailableError):
        await reports.decisions(batch(event(1)), "gzip", OPA, "")
    log.broken = False
    assert await reports.decisions(batch(event(1)), "gzip", OPA, "") == 1


async def test_masks_stay_and_large_or_odd_values_have_a_form(reports, log):
    odd = {"big": 10**40, "half": 0.5, "text": "x", "deep": [{"a": [None, True]}]}
    large = {"text": "y" * (MAX_EVENT_BYTES + 1)}
    sent = event(1, input=odd, result=large, masked=["/input/a"], erased=["/input/b"], error={"code": 1.5})
    await reports.decisions(batch(sent), "gzip", OPA, "")
    _, fields = log.records[0]
    assert fields["input"] == {"big": "1e+40", "half": "0.5", "text": "x", "deep": [{"a": [None, True]}]}
    assert fields["result"].keys() == {"bytes", "sha256"}
    assert (fields["masked"], fields["erased"]) == (["/input/a"], ["/input/b"])


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"nonsense", b'[{"decision_id": 5}]', b"[{}]", b"[5]", b'[{"decision_id": ""}]', b'"text"'],
)
async def test_what_is_no_batch_is_refused_whole(reports, log, body):
    with pytest.raises(RequestError):
        await reports.decisions(body, "", OPA, "")
    assert log.records == []


async def test_bounds_of_a_batch(reports, monkeypatch):
    monkeypatch.setattr(opa_reports, "MAX_EVENTS", 2)
    with pytest.raises(RequestError, match="at most 2"):
        await reports.decisions(batch(event(1), event(2), event(3)), "gzip", OPA, "")
    monkeypatch.setattr(opa_reports, "MAX_BATCH_BYTES", 1000)
    with pytest.raises(RequestError, match="more than 1000 bytes"):
        await reports.decisions(gzip.compress(b" " * 10_000_000), "gzip", OPA, "")


def test_codings_other_than_gzip_and_damaged_gzip_are_refused():
    with pytest.raises(MediaTypeError):
        unpacked(b"x", "br")
    good = gzip.compress(b"[]")
    assert unpacked(good, " GZIP ") == b"[]"
    for bad in (b"x", good[:-3], good + b"more", good + good, b""):
        with pytest.raises(RequestError):
            unpacked(bad, "gzip")


async def test_a_status_is_recorded_when_it_says_something_new(reports, log):
    def status(revision: str, **more: Any) -> bytes:
        bundles = {"b": {"active_revision": revision, "last_request": "changes each time", **more}}
        return json.dumps({"labels": {"id": "x"}, "bundles": bundles, "plugins": {"bundle": {"state": "OK"}}}).encode()

    for body in (status("1"), status("1"), status("2"), status("2", code="bundle_error", message="bad signature")):
        await reports.status(body, "", OPA, "")
    assert [kind for kind, _ in log.records] == ["opa.status"] * 3
    assert log.records[2][1]["bundles"]["b"]["message"] == "bad signature"
    for bad in (b"[]", b"5", b"x"):
        with pytest.raises(RequestError):
            await reports.status(bad, "", OPA, "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_every_json_value_has_a_form_that_a_record_may_hold(value):
    canonical(recordable(value))


async def test_no_part_of_an_event_fills_memory_or_log(reports, log):
    large = "z" * (MAX_EVENT_BYTES + 1)
    names = ("labels", "bundles", "masked", "erased", "error", "input")
    await reports.decisions(
        batch(event(1, **{**{name: {"k": large} for name in names}, "path": large})), "gzip", OPA, ""
    )
    _, fields = log.records[0]
    assert all(fields[name].keys() == {"bytes", "sha256"} for name in names)
    assert len(fields["path"]) <= 1000
    with pytest.raises(RequestError, match="at most 256"):
        await reports.decisions(batch(event(2) | {"decision_id": "x" * 257}), "gzip", OPA, "")
    await reports.status(json.dumps({"labels": {"k": large}}).encode(), "", OPA, "")
    assert log.records[-1][1]["labels"].keys() == {"bytes", "sha256"}


async def test_deep_nesting_is_recorded_in_a_form_and_not_refused_for_ever(reports, log):
    deep: Any = "end"
    for _ in range(300):
        deep = [deep]
    assert await reports.decisions(batch(event(1, input=deep)), "gzip", OPA, "") == 1
    assert "nested too deeply" in json.dumps(log.records[0][1]["input"])


async def test_the_statuses_that_are_remembered_are_bounded(reports, monkeypatch):
    monkeypatch.setattr(opa_reports, "MAX_STATUSES", 3)
    for number in range(10):
        await reports.status(b"{}", "", OPA, f"p{number}")
    assert len(reports._status) == 3


async def test_an_event_that_is_large_in_every_part_still_fits_into_its_record(reports, log):
    texts = dict.fromkeys(opa_reports._TEXTS, "\x01" * 5000)
    parts = {name: {"part": "z" * 30_000} for name in (*opa_reports._WHOLE, "labels", "bundles", "error", "masked")}
    content = batch({**event(), **texts, **parts, "decision_id": "\x01" * 200})
    assert await reports.decisions(content, "gzip", OPA, "p" * 5000) == 1
    [(_, fields)] = log.records
    assert fields["labels"] == {"part": "z" * 30_000}
    assert fields["input"].keys() == {"bytes", "sha256"}
