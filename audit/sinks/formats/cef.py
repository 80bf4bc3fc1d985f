"""Records in the Common Event Format, version 0: one line each.

Of the format's escapes, a backslash and a pipe in the header, and a backslash and an equals sign in the extension, are
preceded by a backslash; a line feed and a carriage return in the extension are written as `\\n` and `\\r`. Whatever
else could end a line, or show something else than is there (other control characters, Unicode's separators of lines and
paragraphs, marks that turn the direction of text), is written as its code point, for instance `<U+001B>`. So no value,
whoever chose it, becomes another field or another event.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from audit.events.base import Severity
from audit.sinks.formats import Origin
from audit.sinks.formats.documents import document, severity
from audit.store.base import StoredRecord

PRODUCT = "govgateway"
"""Device vendor and device product of every event."""

MAX_VALUE = 1023
"""Most characters of a value, before it is escaped: what the format allows its shorter keys."""

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

_SEVERITY: Mapping[Severity, int] = {"informational": 1, "low": 3, "medium": 5, "high": 8, "critical": 10}
"""Of 0 to 10: 0 to 3 is low, 4 to 6 medium, 7 and 8 high, 9 and 10 very high."""

_KEYS = {"principal": "suid", "action": "act", "cause": "reason"}
"""Fields that have a key of their own in CEF."""

_CUSTOM = ("decision", "system", "agent", "subject", "delegation", "reasons")
"""Fields that take the custom strings 1 to 6."""


def cef_event(record: StoredRecord, origin: Origin) -> bytes:
    """Return a record as one line, without a line feed, UTF-8.

    Raises:
        ValueError: the record is not a JSON object.
    """
    fields = document(record)
    name = record.type.replace(".", " ").replace("_", " ")
    header = (PRODUCT, PRODUCT, origin.version, record.type, name, str(_SEVERITY[severity(record.type)]))
    extension = {
        "rt": str(record.time_ns // 1_000_000),
        "dvchost": origin.host,
        "externalId": record.event_id,
        **{key: _text(fields[field]) for field, key in _KEYS.items() if field in fields},
        "outcome": _outcome(fields),
        "request": _resource(fields),
    }
    for number, field in enumerate(_CUSTOM, 1):
        if fields.get(field):
            extension |= {f"cs{number}Label": field, f"cs{number}": _text(fields[field])}
    extension |= {
        "cat": str(fields.get("log", "")),
        "deviceProcessName": record.chain,
        "cn1Label": "seq",
        "cn1": str(record.sequence),
        "fileHash": record.hash,
    }
    line = "|".join(["CEF:0", *map(header_value, header), ""]) + " ".join(
        f"{key}={extension_value(value)}" for key, value in extension.items() if value
    )
    return line.encode()


def header_value(text: str) -> str:
    """Return a value as it stands in the header."""
    return _visible(text[:MAX_VALUE].replace("\\", "\\\\").replace("|", "\\|"))


def extension_value(text: str) -> str:
    """Return a value as it stands in the extension."""
    escaped = text[:MAX_VALUE].replace("\\", "\\\\").replace("=", "\\=")
    return _visible(escaped.replace("\n", "\\n").replace("\r", "\\r"))


def _visible(text: str) -> str:
    return _UNSAFE.sub(lambda found: f"<U+{ord(found.group()):04X}>", text)


def _outcome(fields: Mapping[str, Any]) -> str:
    return _text(fields.get("result") or fields.get("problem") or fields.get("decision") or "")


def _resource(fields: Mapping[str, Any]) -> str:
    resource = fields.get("resource")
    if not isinstance(resource, dict) or not resource:
        return ""
    return f"{_text(resource.get('type', ''))}:{_text(resource.get('id', ''))}"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return orjson.dumps(value).decode()
