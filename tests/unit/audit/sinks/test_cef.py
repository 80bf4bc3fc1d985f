"""CEF: every value comes back as it was, and none becomes another field or event."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import canonical
from audit.sinks.formats import Origin
from audit.sinks.formats.cef import MAX_VALUE, cef_event, extension_value, header_value
from audit.store import StoredRecord

ORIGIN = Origin("1.2.3", "gateway-1.example.org")

# What a line can be ended or hidden with, and what separates fields, much more often than by chance.
HOSTILE = st.text(
    st.one_of(
        st.sampled_from("|=\\\r\n\t\x00\x1b\x7f\x85\x9b\u2028\u2029\u202e\u2066 CEF:0rt"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=80,
)


def stored(fields: dict[str, Any], record_type: str = "access.denied") -> StoredRecord:
    document = {"log": "example.org/audit", "chain": "worker-0", "seq": 7, "type": record_type, **fields}
    return StoredRecord(
        "worker-0", 7, "01a20abe-c107-7000-902a-3d1d82138079", 1_800_000_000_123_456_789, record_type, "ab" * 32,
        canonical(document),
    )  # fmt: skip


def parse(line: str) -> tuple[list[str], dict[str, str]]:
    """Read a line as a receiver does: fields end at a pipe or key that no backslash precedes."""
    parts = re.findall(r"((?:[^|\\]|\\.)*)\|", line, re.DOTALL)[:7]
    rest = line[sum(len(part) + 1 for part in parts) :]
    header = [re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL) for part in parts]
    keys = list(re.finditer(r"(?:^| )([A-Za-z0-9]+)=", rest))
    ends = [key.start() for key in keys[1:]] + [len(rest)]
    letters = {"n": "\n", "r": "\r"}
    extension: dict[str, str] = {}
    for key, end in zip(keys, ends, strict=True):
        assert key.group(1) not in extension, "a key stands twice"
        extension[key.group(1)] = re.sub(
            r"\\(.)", lambda found: letters.get(found.group(1), found.group(1)), rest[key.end() : end]
        )
    return header, extension


def shown(text: str) -> str:
    """Return a text as it is to be read back in the extension."""
    return re.sub(
        "[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]",
        lambda found: f"<U+{ord(found.group()):04X}>",
        text[:MAX_VALUE],
    )


def test_a_record_is_one_line_that_says_who_did_what_and_where_to_find_it() -> None:
    line = cef_event(
        stored(
            {
                "principal": "spiffe://example.org/agent/a", "action": "model.infer", "decision": "deny",
                "problem": "policy-denied", "reasons": ["team-unknown", "no-model"], "system": "claims-triage",
                "resource": {"type": "model", "id": "example-chat"}, "delegation": [],
            }
        ),
        ORIGIN,
    ).decode()  # fmt: skip
    header, extension = parse(line)
    assert header == ["CEF:0", "govgateway", "govgateway", "1.2.3", "access.denied", "access denied", "5"]
    assert extension == {
        "rt": "1800000000123", "dvchost": "gateway-1.example.org",
        "externalId": "01a20abe-c107-7000-902a-3d1d82138079", "suid": "spiffe://example.org/agent/a",
        "act": "model.infer", "outcome": "policy-denied", "request": "model:example-chat",
        "cs1Label": "decision", "cs1": "deny", "cs2Label": "system", "cs2": "claims-triage",
        "cs6Label": "reasons", "cs6": "team-unknown, no-model", "cat": "example.org/audit",
        "deviceProcessName": "worker-0", "cn1Label": "seq", "cn1": "7", "fileHash": "ab" * 32,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a|b", "a\\|b"),
        ("a\\b", "a\\\\b"),
        ("a=b", "a=b"),
        ("a\nCEF:0|x", "a<U+000A>CEF:0\\|x"),
        ("a\\|b", "a\\\\\\|b"),
    ],
)
def test_the_header_escapes_pipes_and_backslashes_and_has_no_line_ends(text: str, written: str) -> None:
    assert header_value(text) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a=b", "a\\=b"),
        ("a|b", "a|b"),
        ("a\\b", "a\\\\b"),
        ("a\r\nb", "a\\r\\nb"),
        ("a\\nb", "a\\\\nb"),
        ("a\x1b[2Kb\u2028c\u202ed\x85", "a<U+001B>[2Kb<U+2028>c<U+202E>d<U+0085>"),
    ],
)
def test_the_extension_escapes_equals_signs_backslashes_and_line_ends(text: str, written: str) -> None:
    assert extension_value(text) == written


@given(HOSTILE, HOSTILE, HOSTILE, st.lists(HOSTILE, max_size=3))
def test_no_value_becomes_another_field_or_another_event(
    principal: str, cause: str, resource: str, reasons: list[str]
) -> None:
    fields = {
        "principal": principal, "cause": cause, "reasons": reasons,
        "resource": {"type": "model", "id": resource},
    }  # fmt: skip
    line = cef_event(stored(fields), ORIGIN).decode()
    assert len(line.splitlines()) == 1
    assert not any(ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 for each in line)
    header, extension = parse(line)
    assert header == ["CEF:0", "govgateway", "govgateway", "1.2.3", "access.denied", "access denied", "5"]
    expected = {"suid": principal, "reason": cause, "request": f"model:{resource}", "cs6": ", ".join(reasons)}
    for key, value in expected.items():
        assert extension.pop(key, "") == shown(value)
    allowed = {"rt", "dvchost", "externalId", "cs6Label", "cat", "deviceProcessName", "cn1Label", "cn1", "fileHash"}
    assert extension.keys() <= allowed


@given(HOSTILE)
def test_a_type_or_version_cannot_forge_the_header(text: str) -> None:
    line = cef_event(stored({}, text), Origin(text, text)).decode()
    assert len(line.splitlines()) == 1
    header, extension = parse(line)
    assert len(header) == 7
    assert header[4] == shown(text).replace("\n", "<U+000A>").replace("\r", "<U+000D>")
    assert extension["fileHash"] == "ab" * 32


def test_a_long_value_is_cut_before_it_is_escaped() -> None:
    written = extension_value("=" * 5000)
    assert written == "\\=" * MAX_VALUE


@pytest.mark.parametrize("content", [b"[]", b"no json", b"", b"\xff"])
def test_what_is_no_record_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        cef_event(StoredRecord("worker-0", 0, "", 0, "access.denied", "", content), ORIGIN)
