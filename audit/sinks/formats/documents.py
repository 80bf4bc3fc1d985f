"""What a format starts from: a record as a JSON object, and how much attention it asks for."""

from typing import Any

import orjson

from audit.events import EVENTS
from audit.events.base import Severity
from audit.store.base import StoredRecord


def document(record: StoredRecord) -> dict[str, Any]:
    """Return a record's fields.

    Raises:
        ValueError: it is not a JSON object, which only a changed store can hold.
    """
    found = orjson.loads(record.record)
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - what is wrong is its value
    return found


def severity(record_type: str) -> Severity:
    """Return how much attention a record type asks for; `medium` for one that is not known."""
    known = EVENTS.get(record_type)
    return "medium" if known is None else known.severity
