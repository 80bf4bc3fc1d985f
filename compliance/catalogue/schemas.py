"""Writes the JSON Schema of a framework's file, which editors check it with.

Run as `python -m compliance.catalogue.schemas docs/schemas/compliance`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from compliance.catalogue.model import Framework

FILE_NAME = "framework.json"


def schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Framework.model_json_schema()}


def write_schemas(directory: Path) -> None:
    """Write the schema into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    (directory / FILE_NAME).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
