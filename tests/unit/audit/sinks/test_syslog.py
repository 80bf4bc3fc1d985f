"""Syslog messages: what is in a record, whoever wrote it, is neither another message nor another field."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.sinks.formats import Origin
from audit.sinks.syslog import frame, message
from audit.store import StoredRecord

_HEAD = re.compile(
    rb"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) "
    rb'(\[origin software="govgateway" swVersion="(?:[^"\\\]]|\\["\\\]])*"\]\[meta sequenceId="\d+"\]) '
)


def record(chain: str = "worker-0", record_type: str = "access.denied", sequence: int = 0) -> StoredRecord:
    return StoredRecord(chain, sequence, "id", 1_800_000_000_123_456_789, record_type, "00" * 32, b"{}")


def test_a_message_is_as_rfc_5424_says() -> None:
    assert message(record(), b"CEF:0|a", Origin("1.0", "gateway-1")) == (
        b"<108>1 2027-01-15T08:00:00.123456Z gateway-1 govgateway worker-0 access.denied "
        b'[origin software="govgateway" swVersion="1.0"][meta sequenceId="1"] CEF:0|a'
    )


@pytest.mark.parametrize(
    ("record_type", "priority"),
    [
        ("access.intent", 110),
        ("quota.exceeded", 109),
        ("access.denied", 108),
        ("log.recovered", 107),
        ("log.broken", 106),
    ],
)
def test_a_type_of_more_severity_has_a_lower_priority_value(record_type: str, priority: int) -> None:
    assert message(record(record_type=record_type), b"x", Origin("1", "h")).startswith(b"<%d>1 " % priority)


def test_sequence_ids_begin_again_where_the_rfc_says_so() -> None:
    last, after = 2_147_483_646, 2_147_483_647
    assert b'sequenceId="2147483647"' in message(record(sequence=last), b"x", Origin("1", "h"))
    assert b'sequenceId="1"' in message(record(sequence=after), b"x", Origin("1", "h"))


@given(st.text(), st.text(), st.text(), st.text())
def test_no_value_becomes_another_field(chain: str, record_type: str, version: str, host: str) -> None:
    made = message(record(chain, record_type), b"content", Origin(version, host))
    found = _HEAD.match(made)
    assert found is not None
    assert made[found.end() :] == b"content"


@given(st.binary())
def test_content_that_would_be_more_than_a_line_is_refused(content: bytes) -> None:
    if any(byte < 0x20 or byte == 0x7F for byte in content):
        with pytest.raises(ValueError, match="control characters"):
            message(record(), content, Origin("1", "h"))
    else:
        assert message(record(), content, Origin("1", "h")).endswith(b" " + content)


@given(st.lists(st.binary(min_size=1)))
def test_frames_are_read_back_as_they_were(messages: list[bytes]) -> None:
    rest, found = b"".join(map(frame, messages)), []
    while rest:
        length, _, rest = rest.partition(b" ")
        found.append(rest[: int(length)])
        rest = rest[int(length) :]
    assert found == messages
