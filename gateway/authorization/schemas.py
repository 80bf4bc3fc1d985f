"""Writes the JSON Schema of each policy table, which editors check the data files with.

Run as `python -m gateway.authorization.schemas docs/schemas/policy`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from gateway.authorization.policy_data import PolicyData

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of each table, by the table's name."""
    return {name: _schema(name, field.annotation) for name, field in PolicyData.model_fields.items()}


def write_schemas(directory: Path) -> None:
    """Write `<table>.json` for each table, and remove what belongs to no table."""
    directory.mkdir(parents=True, exist_ok=True)
    written = {f"{name}.json": schema for name, schema in schemas().items()}
    for path in directory.glob("*.json"):
        if path.name not in written:
            path.unlink()
    for name, schema in written.items():
        (directory / name).write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _schema(table: str, annotation: Any) -> dict[str, Any]:
    schema = TypeAdapter(annotation).json_schema()
    _close(schema)
    schema.pop("title", None)
    return {"$schema": DIALECT, "title": f"govgateway/{table}/data.yaml", **schema}


def _close(node: Any) -> None:
    """Refuse keys that match no pattern, as the loader does, and drop what only repeats a name."""
    if isinstance(node, list):
        for item in node:
            _close(item)
    elif isinstance(node, dict):
        if "patternProperties" in node:
            node.setdefault("additionalProperties", False)
        if isinstance(node.get("title"), str):
            del node["title"]
        for value in node.values():
            _close(value)


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
