"""The JSON Schemas beside the documentation are those of the models."""

import json
import re
from pathlib import Path
from typing import get_args

from audit.events import EVENTS, RetentionClass, Severity
from audit.events.schemas import schemas, write_schemas

ROOT = Path(__file__).resolve().parents[4]
WRITTEN = ROOT / "docs" / "schemas" / "audit"


def test_written_schemas_are_those_of_the_models(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    ours = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert ours == {path.name: path.read_text() for path in WRITTEN.iterdir()}, (
        "run: python -m audit.events docs/schemas/audit"
    )


def test_schema_of_a_type_that_is_gone_is_removed(tmp_path: Path) -> None:
    (tmp_path / "former.v1.json").write_text("{}")
    write_schemas(tmp_path)
    assert not (tmp_path / "former.v1.json").exists()


def test_every_type_has_a_schema_of_its_own_name_that_refuses_unknown_fields() -> None:
    made = schemas()
    assert len(made) == len(EVENTS)
    for event in EVENTS.values():
        schema = made[f"{event.type}.v{event.version}.json"]
        assert schema["$id"] == f"urn:govgateway:audit:{event.type}:v{event.version}"
        assert schema["properties"]["type"] == {"const": event.type, "type": "string"}
        assert {"v", "log", "chain", "seq", "prev", "event_id", "time", "type"} <= set(schema["required"])
        for part in (schema, *schema.get("$defs", {}).values()):
            if "properties" in part:
                assert part["additionalProperties"] is False


def test_no_schema_allows_a_float() -> None:
    assert '"number"' not in json.dumps(schemas())


def test_every_type_says_when_it_is_written_and_is_classed() -> None:
    for name, event in EVENTS.items():
        assert name == event.type
        assert re.fullmatch(r"[a-z_]+\.[a-z_]+", name)
        assert event.description.startswith("Written ")
        assert event.description.endswith(".")
        assert event.retention_class in get_args(RetentionClass)
        assert event.severity in get_args(Severity)
