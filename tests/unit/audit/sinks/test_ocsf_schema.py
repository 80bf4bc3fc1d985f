"""Events against the OCSF schema itself, as its project compiles it, by a package that is not ours."""

from functools import cache
from typing import Any

import jsonschema
import ocsf_json_schema
import orjson
import pytest

from audit.events import EVENTS
from audit.sinks.formats import Origin
from audit.sinks.formats.ocsf import ocsf_event
from audit.sinks.formats.ocsf_classes import VERSION
from tests.unit.audit.sinks.samples import sample_record

ORIGIN = Origin("1.2.3", "gateway-1.example.org")


@cache
def validator(class_uid: int, profiles: tuple[str, ...]) -> Any:
    schema = ocsf_json_schema.OcsfJsonSchemaEmbedded(ocsf_json_schema.get_ocsf_schema(VERSION))
    name = schema.lookup_class_name_from_uid(class_uid)
    return jsonschema.Draft202012Validator(schema.get_class_schema(name, list(profiles)))


def problems(event: dict[str, Any]) -> list[str]:
    checked = validator(event["class_uid"], tuple(event["metadata"]["profiles"]))
    return [f"{error.json_path}: {error.message}" for error in checked.iter_errors(event)]


@pytest.mark.parametrize("record_type", sorted(EVENTS))
@pytest.mark.parametrize("whole", [True, False])
def test_an_event_of_every_type_is_as_the_schema_says(record_type: str, *, whole: bool) -> None:
    event = orjson.loads(orjson.dumps(ocsf_event(sample_record(record_type, whole=whole), ORIGIN)))
    assert problems(event) == []


def test_the_schema_would_refuse_a_wrong_event() -> None:
    event = ocsf_event(sample_record("access.intent", whole=True), ORIGIN)
    del event["actor"]
    event["activity_id"] = 5
    event["surplus"] = 1
    found = "\n".join(problems(event))
    for named in ("'actor' is a required property", "$.activity_id", "'surplus' was unexpected"):
        assert named in found
