"""Records as OCSF events: every type is one that the schema allows, and nothing of a record is lost."""

from hashlib import sha256
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.chain import record_hash
from audit.events import EVENTS
from audit.sinks import RecordsDiverted, RecordsMissed, SinkEvent, SinkFailed, SinkRecovered, SinkRestarted
from audit.sinks.formats import Origin
from audit.sinks.formats.ocsf import ocsf_event
from audit.sinks.formats.ocsf_classes import CLASSES
from audit.store import StoredRecord
from tests.unit.audit.sinks.samples import TIME_NS, make_record, sample_record

ORIGIN = Origin("1.2.3", "gateway-1.example.org")


def intent(**changed: Any) -> dict[str, Any]:
    record: dict[str, Any] = orjson.loads(sample_record("access.intent", whole=True).record)
    chain = ("v", "log", "chain", "seq", "prev", "event_id", "time", "type")
    return {**{name: value for name, value in record.items() if name not in chain}, **changed}


def test_every_record_type_has_its_class() -> None:
    assert EVENTS.keys() == CLASSES.keys()


@pytest.mark.parametrize("record_type", sorted(EVENTS))
@pytest.mark.parametrize("whole", [True, False])
def test_every_field_of_every_type_is_in_the_event_and_the_record_is_in_it_as_it_is(
    record_type: str, *, whole: bool
) -> None:
    record = sample_record(record_type, whole=whole)
    event = ocsf_event(record, ORIGIN)
    assert event["raw_data"].encode() == record.record
    assert event["raw_data_hash"]["value"] == sha256(record.record).hexdigest()
    assert event["unmapped"]["record_hash"] == record_hash(event["raw_data"].encode())
    assert event["metadata"]["uid"] == record.event_id
    assert event["metadata"]["event_code"] == record_type
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    unmapped = event["unmapped"]
    for name, value in orjson.loads(record.record).items():
        if name not in unmapped:
            assert name in {"event_id", "seq", "time", "type", "chain", "principal"}
            assert name != "principal" or event["actor"]["user"]["uid"] == value
        else:
            assert unmapped[name] == value


def test_a_call_that_is_allowed_says_who_did_what_by_which_policy() -> None:
    event = ocsf_event(
        make_record(
            "access.intent",
            intent(
                principal="spiffe://example.org/agent/a", action="model.infer", operation="chat.completions",
                resource={"type": "model", "id": "example-chat"}, trace_id="ab" * 16,
                policy={"revision": "r7", "data_digest": "cd" * 32}, delegation=["spiffe://example.org/human/h"],
            ),
        ),
        ORIGIN,
    )  # fmt: skip
    assert (event["class_uid"], event["activity_id"], event["activity_name"]) == (6003, 99, "model.infer")
    assert event["actor"] == {
        "user": {
            "uid": "spiffe://example.org/agent/a", "name": "spiffe://example.org/agent/a", "type_id": 4,
            "type": "Service",
        },
        "authorizations": [
            {"decision": "allow", "policy": {"name": "r7", "uid": "cd" * 32, "is_applied": True}},
        ],
        "invoked_by": "spiffe://example.org/human/h",
    }  # fmt: skip
    assert event["api"]["operation"] == "chat.completions"
    assert event["resources"] == [{"uid": "example-chat", "type": "model"}]
    assert event["trace"] == {"uid": "ab" * 16}
    assert (event["action_id"], event["disposition_id"], event["status_id"]) == (1, 1, 0)


def test_an_outcome_leads_to_its_intent_and_says_how_the_call_ended() -> None:
    record = sample_record("access.outcome", whole=True)
    fields = {
        name: value
        for name, value in orjson.loads(record.record).items()
        if name not in {"v", "log", "chain", "seq", "prev", "event_id", "time", "type"}
    }
    found = []
    for result in ("completed", "failed", "cut", "client-disconnected"):
        event = ocsf_event(make_record("access.outcome", {**fields, "result": result, "status": 502}), ORIGIN)
        assert event["metadata"]["correlation_uid"] == fields["intent"]
        assert event["status_code"] == "502"
        found.append((event["status_id"], event["status"]))
    assert found == [(1, "Success"), (2, "Failure"), (99, "cut"), (99, "client-disconnected")]


def test_a_refusal_is_a_failure_that_was_blocked_and_says_why() -> None:
    event = ocsf_event(sample_record("access.denied", whole=True), ORIGIN)
    assert (event["action_id"], event["disposition_id"], event["status_id"]) == (2, 2, 2)
    assert event["status_detail"] == "a text"


def test_an_operator_is_a_user_and_a_workload_is_a_service() -> None:
    kinds = []
    for principal in ("operator:alice", "spiffe://example.org/agent/a"):
        record = make_record("agent.status_changed", {
            "principal": principal, "agent": "spiffe://example.org/agent/b", "status": "suspended", "cause": "leaver",
        })  # fmt: skip
        event = ocsf_event(record, ORIGIN)
        kinds.append(event["actor"]["user"]["type"])
        assert event["entity"] == {"type_id": 99, "type": "agent", "name": "spiffe://example.org/agent/b"}
    assert kinds == ["User", "Service"]


def test_what_happened_before_it_could_be_written_has_the_time_at_which_it_happened() -> None:
    earlier = TIME_NS - 5_000_000_000
    event = ocsf_event(make_record("log.recovered", {"cause": "full", "delayed_from": str(earlier)}), ORIGIN)
    assert event["time"] == earlier // 1_000_000
    assert event["metadata"]["logged_time"] == TIME_NS // 1_000_000


def test_a_type_that_is_not_known_is_a_base_event_with_all_it_says() -> None:
    event = ocsf_event(make_record("test.future", {"novel": {"deep": [1, "x"]}}), ORIGIN)
    assert (event["class_uid"], event["type_uid"], event["activity_name"]) == (0, 99, "test.future")
    assert event["unmapped"]["novel"] == {"deep": [1, "x"]}


@pytest.mark.parametrize("earlier", ["9" * 30, "9" * 5000, "٣", "-1", "", "1e9"])
def test_a_time_that_is_none_is_not_taken_for_the_time(earlier: str) -> None:
    record = StoredRecord("worker-0", 0, "id", TIME_NS, "log.recovered", "", orjson.dumps({"delayed_from": earlier}))
    assert ocsf_event(record, ORIGIN)["time"] == TIME_NS // 1_000_000


def test_what_sinks_report_is_as_the_record_types_say() -> None:
    reported: list[SinkEvent] = [
        SinkFailed("siem", "away"),
        SinkRecovered("siem", 3),
        RecordsMissed("siem", "worker-0", 3, 9, "deleted"),
        RecordsDiverted("siem", "worker-0", (3, 5), "too large"),
        SinkRestarted("siem", "", "the cursor was lost"),
        SinkRestarted("siem", "worker-0", "another chain"),
    ]
    for event in reported:
        assert event.type in EVENTS
        assert ocsf_event(make_record(event.type, event.fields()), ORIGIN)["class_uid"] == 2004
    assert {event.type for event in reported} == {name for name in EVENTS if name.startswith("sink.")}


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(sorted(CLASSES)),
    st.dictionaries(
        st.sampled_from(
            ["principal", "action", "decision", "result", "status", "cause", "resource", "policy", "delegation",
             "trace_id", "delayed_from", "intent", "agent", "reasons", "of", "problem", "operation", "log"]
        ),
        ANY,
        max_size=8,
    ),
)  # fmt: skip
def test_whatever_a_changed_store_holds_becomes_one_event_and_one_line(
    record_type: str, fields: dict[str, Any]
) -> None:
    record = StoredRecord("worker-0", 3, "id", TIME_NS, record_type, "ab" * 32, orjson.dumps(fields))
    line = orjson.dumps(ocsf_event(record, ORIGIN))
    assert b"\n" not in line
    assert b"\r" not in line
    assert orjson.loads(orjson.loads(line)["raw_data"]) == fields


@pytest.mark.parametrize("content", [b"[]", b"no json", b"", b'"text"', b"\xff"])
def test_what_is_no_record_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        ocsf_event(StoredRecord("worker-0", 0, "", 0, "access.denied", "", content), ORIGIN)
