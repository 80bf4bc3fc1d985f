"""Syslog messages (RFC 5424), framed by counting octets (RFC 5425, section 4.3). Pure."""

import re
from typing import Literal

from audit.events.base import Severity
from audit.sinks.encoding import timestamp
from audit.sinks.formats import Origin
from audit.sinks.formats.documents import severity
from audit.store.base import StoredRecord

LOG_AUDIT = 13
"""Facility `log audit` (RFC 5424, section 6.2.1)."""

_SEVERITY: dict[Severity, Literal[1, 2, 3, 4, 5, 6]] = {
    "informational": 6, "low": 5, "medium": 4, "high": 3, "critical": 2,
}  # fmt: skip
"""Informational, notice, warning, error and critical."""

_MAX_SEQUENCE_ID = 2_147_483_647
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")


def message(record: StoredRecord, content: bytes, origin: Origin) -> bytes:
    """Return the message that carries `content`, one line without control characters.

    The structured data are those of RFC 5424, section 7: `sequenceId` is the record's place in its chain, from 1.

    Raises:
        ValueError: the content would not be one line.
    """
    if any(byte < 0x20 or byte == 0x7F for byte in content):
        raise ValueError("it has control characters")
    data = f'[origin software="govgateway" swVersion="{_parameter(origin.version)}"]'
    data += f'[meta sequenceId="{record.sequence % _MAX_SEQUENCE_ID + 1}"]'
    head = " ".join(
        (
            f"<{LOG_AUDIT * 8 + _SEVERITY[severity(record.type)]}>1",
            timestamp(record),
            _word(origin.host, 255),
            "govgateway",
            _word(record.chain, 128),
            _word(record.type, 32),
            data,
        )
    )
    return head.encode() + b" " + content


def frame(text: bytes) -> bytes:
    """Return a message with its length before it."""
    return b"%d %s" % (len(text), text)


def _word(text: str, most: int) -> str:
    """Return a header field: printable ASCII without spaces, or `-`."""
    return _NOT_PRINTABLE.sub("_", text)[:most] or "-"


def _parameter(text: str) -> str:
    """Return the value of a parameter (RFC 5424, section 6.3.3), of at most 32 characters as `swVersion` may have."""
    clean = _NOT_PRINTABLE.sub("_", text)[:32]
    return re.sub(r'(["\\\]])', r"\\\1", clean)
