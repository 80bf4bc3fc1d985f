"""From a batch to what a receiver is sent, and what becomes of a record that has no such form."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

import orjson

from audit.sinks.errors import SinkRefusedError
from audit.sinks.formats import Origin
from audit.sinks.formats.cef import cef_event
from audit.sinks.formats.documents import document
from audit.sinks.formats.ocsf import ocsf_event
from audit.store.base import StoredRecord

Encode = Callable[[StoredRecord], bytes]
"""Returns a record on one line. Raises ValueError where it has no such form."""


def encoder(form: Literal["record", "ocsf", "cef"], origin: Origin) -> Encode:
    """Return what encodes a record in a form."""
    if form == "cef":
        return lambda record: cef_event(record, origin)
    if form == "ocsf":
        return lambda record: orjson.dumps(ocsf_event(record, origin))
    return _record


def encoded(batch: Sequence[StoredRecord], encode: Encode) -> list[bytes]:
    """Return the records of a batch, encoded.

    Raises:
        SinkRefusedError: one has no such form.
    """
    found = []
    for record in batch:
        try:
            found.append(encode(record))
        except ValueError as error:
            raise SinkRefusedError(f"the record {record.sequence} cannot be put into this form: {error}") from error
    return found


def timestamp(record: StoredRecord) -> str:
    """Return when a record was written (RFC 3339, UTC, microseconds)."""
    seconds, rest = divmod(record.time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06}Z"


def _record(record: StoredRecord) -> bytes:
    """Return the record as it is in the log: what its hash is computed of."""
    document(record)
    if b"\n" in record.record or b"\r" in record.record:
        raise ValueError("it is not in canonical form")
    return record.record
