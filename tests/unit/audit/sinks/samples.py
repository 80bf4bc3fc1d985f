"""A valid record of every type, made from the types' own schemas."""

import re
from typing import Any

import orjson

from audit.chain import Head, link
from audit.event_id import uuid7
from audit.events import EVENTS, validate_record
from audit.store import StoredRecord

TIME_NS = 1_800_000_000_123_456_789

CHAIN_FIELDS = {"v", "log", "chain", "seq", "prev", "event_id", "time", "type"}

_TEXTS = (
    "a text", "0", "ab" * 32, "01a20abe-c107-7000-902a-3d1d82138079", "example.org/audit", "worker-0", "1.3",
)  # fmt: skip


def sample_record(record_type: str, *, whole: bool) -> StoredRecord:
    """Return a record of a type, with every field that it may have, or only those that it must have."""
    schema = EVENTS[record_type].model.model_json_schema()
    fields = {
        name: value
        for name, value in _sample(schema, schema.get("$defs", {}), whole=whole).items()
        if name not in CHAIN_FIELDS
    }
    return make_record(record_type, fields)


def make_record(record_type: str, fields: dict[str, Any]) -> StoredRecord:
    """Return a record with these fields; it is as its type's definition says."""
    linked = link(Head(), "example.org/audit", "worker-0", uuid7(), TIME_NS, record_type, fields)
    if record_type in EVENTS:
        assert validate_record(orjson.loads(linked.record)) == []
    return StoredRecord(
        "worker-0", linked.sequence, linked.event_id, linked.time_ns, linked.type, linked.hash, linked.record
    )


def _sample(schema: dict[str, Any], definitions: dict[str, Any], *, whole: bool) -> Any:
    if "$ref" in schema:
        return _sample(definitions[schema["$ref"].rpartition("/")[2]], definitions, whole=whole)
    if "anyOf" in schema:
        return _sample(schema["anyOf"][0], definitions, whole=whole)
    if "const" in schema or "enum" in schema:
        allowed = schema.get("enum") or [schema["const"]]
        return allowed[-1 if whole else 0]
    if schema.get("type") == "object":
        required = set(schema.get("required", ()))
        return {
            name: _sample(each, definitions, whole=whole)
            for name, each in schema.get("properties", {}).items()
            if whole or name in required
        }
    if schema.get("type") == "array":
        return [_sample(schema["items"], definitions, whole=whole)] if whole else []
    return _scalar(schema, whole=whole)


def _scalar(schema: dict[str, Any], *, whole: bool) -> Any:
    if schema.get("type") == "integer":
        return min(schema.get("maximum", 7), 7) if whole else schema.get("minimum", 0)
    if schema.get("type") == "boolean":
        return whole
    return next(text for text in _TEXTS if re.search(schema.get("pattern", ""), text))
