"""How a record is written: the line of a bundle, of JSON Lines, of CSV."""

import csv
import io
from collections.abc import Mapping
from typing import Any

import orjson

from audit.store.base import StoredRecord

COLUMNS = (
    "index", "chain", "seq", "time_ns", "type", "event_id", "principal", "agent", "action", "resource_type",
    "resource_id", "system", "decision", "reasons", "result", "status", "trace_id", "hash", "record",
)  # fmt: skip

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def bundle_line(index: int, record: StoredRecord) -> bytes:
    """Return the line of a bundle: the record's exact bytes with its place in the tree before them."""
    return b'{"index":%d,"record":%b}\n' % (index, record.record)


def json_line(_index: int, record: StoredRecord) -> bytes:
    """Return the record's exact bytes as a line."""
    return record.record + b"\n"


def csv_header() -> bytes:
    """Return the first line of a CSV (RFC 4180)."""
    return _csv(COLUMNS)


def csv_line(index: int, record: StoredRecord) -> bytes:
    """Return a record as a row; the last column is the whole record."""
    document: Mapping[str, Any] = orjson.loads(record.record)
    resource = document.get("resource") or {}
    cells = [
        index,
        record.chain,
        record.sequence,
        document.get("time", ""),
        record.type,
        record.event_id,
        *(_text(document.get(name)) for name in ("principal", "agent", "action")),
        _text(resource.get("type")),
        _text(resource.get("id")),
        *(_text(document.get(name)) for name in ("system", "decision")),
        _text(" ".join(map(str, document.get("reasons") or ()))),
        *(_text(document.get(name)) for name in ("result", "status", "trace_id")),
        record.hash,
        record.record.decode(),
    ]
    return _csv(cells)


def _text(value: Any) -> str:
    """Return a cell that no spreadsheet takes for a formula: what a caller sent is in it."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv(cells: Any) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().encode()
