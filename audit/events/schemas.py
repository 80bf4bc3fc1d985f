"""Writes one JSON Schema a record type.

Run as `python -m audit.events docs/schemas/audit`.
"""

import json
from pathlib import Path
from typing import Any

from audit.events.base import EventDefinition
from audit.events.registry import EVENTS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of every type, by the name of its file."""
    return {f"{each.type}.v{each.version}.json": _schema(each) for each in EVENTS.values()}


def write_schemas(directory: Path) -> None:
    """Write the schemas, and remove what belongs to no type."""
    directory.mkdir(parents=True, exist_ok=True)
    written = schemas()
    for path in directory.glob("*.json"):
        if path.name not in written:
            path.unlink()
    for name, schema in written.items():
        (directory / name).write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _schema(event: EventDefinition) -> dict[str, Any]:
    schema = event.model.model_json_schema()
    _plain(schema)
    return {
        "$schema": DIALECT,
        "$id": f"urn:govgateway:audit:{event.type}:v{event.version}",
        "title": event.type,
        **{name: schema[name] for name in schema if name != "title"},
    }


def _plain(node: Any) -> None:
    """Drop titles that only repeat a name, and the default of what a record may lack: it is absent, not null."""
    if isinstance(node, list):
        for item in node:
            _plain(item)
    elif isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if node.get("default", ...) is None:
            del node["default"]
        for value in node.values():
            _plain(value)
