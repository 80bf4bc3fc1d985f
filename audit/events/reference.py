"""Writes docs/audit-records.md from the definitions, so that the page cannot drift from the records.

Run as `python -m audit.events.reference > docs/audit-records.md`.
"""

from typing import Any, get_args

from audit.events.base import Record, RetentionClass
from audit.events.registry import EVENTS, SUBJECTS
from audit.events.schemas import schemas

_HEAD = """# Audit records

Every record is one JSON object in canonical form (RFC 8785) without floats, of at most 65,535 bytes. It names its log,
its chain and its place in it, and the hash of the record before. What it says beyond that depends on its type. Each
type has a [JSON Schema](schemas/audit) (draft 2020-12); unknown fields are errors in it, and a field that a record may
lack is left out, never null. A record holds no content and no secret: of a body it says the size and a keyed digest
(HMAC-SHA256 under a key of the log's own), from which a short prompt cannot be guessed.

`audit.events.validate_record` checks a record against its type. The schema's file name carries the type's version: a
change that an older reader would misunderstand makes a new one.

This page is generated: `python -m audit.events.reference > docs/audit-records.md`.
"""

_RETENTION = {
    "access": "who used which AI system for what, and what came of it (AI Act, articles 12, 19 and 26(6))",
    "change": "what was changed in configuration, policies and inventory, and by whom",
    "identity": "what was issued, and to whom",
    "security": "revocations, keys, secrets, unsafe options, opened content",
    "integrity": "what the log says of itself; without it the rest proves less",
}


_WORDS = {"string": "text", "integer": "integer", "boolean": "true or false", "array": "list", "object": "object"}


def reference() -> str:
    """Return the page."""
    written = sum(event.written for event in EVENTS.values())
    lines = [_HEAD, "## Types", "", f"{len(EVENTS)} types, {written} of them written by this version; the others are"]
    lines += ["defined so that readers can be prepared, and nothing writes them yet.", ""]
    lines += ["| type | written | retention | severity | when |", "| --- | --- | --- | --- | --- |"]
    for event in EVENTS.values():
        when = " ".join(event.description.split())
        name, retention = f"[`{event.type}`](#{event.type.replace('.', '')})", event.retention_class
        lines.append(f"| {name} | {'yes' if event.written else 'not yet'} | {retention} | {event.severity} | {when} |")
    lines += ["", "## Retention classes", "", "| class | what it is |", "| --- | --- |"]
    lines += [f"| {name} | {_RETENTION[name]} |" for name in get_args(RetentionClass)]
    made = schemas()
    common = set(Record.model_fields)
    lines += ["", "## Fields of every record", ""]
    lines += _fields(made["gateway.stopped.v1.json"], lambda name: name in common)
    for subject in SUBJECTS:
        lines += ["", f"## {subject.__name__.rpartition('.')[2].capitalize()}", "", (subject.__doc__ or "").strip()]
        for event in subject.DEFINITIONS:
            schema = made[f"{event.type}.v{event.version}.json"]
            lines += ["", f"### {event.type}", "", event.description, ""]
            lines += _fields(schema, lambda name: name not in common)
    return "\n".join(lines) + "\n"


def _fields(schema: dict[str, Any], shown: Any) -> list[str]:
    lines = ["| field | form | meaning |", "| --- | --- | --- |"]
    required = set(schema["required"])
    for name, field in schema["properties"].items():
        if not shown(name):
            continue
        form = _form(field, schema.get("$defs", {})) + ("" if name in required else ", may be absent")
        lines.append(f"| `{name}` | {form} | {_meaning(field, schema.get('$defs', {}))} |")
    return lines


def _meaning(field: dict[str, Any], defs: dict[str, Any]) -> str:
    if "description" in field:
        return str(field["description"]).replace("|", "\\|")
    reference = field.get("$ref", "")
    return str(defs.get(reference.rpartition("/")[2], {}).get("description", ""))


def _form(field: dict[str, Any], defs: dict[str, Any]) -> str:
    if "$ref" in field:
        return _part(field["$ref"].rpartition("/")[2], defs)
    if "anyOf" in field:
        return " or ".join(_form(each, defs) for each in field["anyOf"])
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"])
    inner = f" of {_form(field['items'], defs)}" if "items" in field else ""
    return _WORDS[field["type"]] + inner


def _part(name: str, defs: dict[str, Any]) -> str:
    if name == "Json":
        return "any JSON"
    properties = defs[name].get("properties")
    return "object: " + ", ".join(f"`{each}`" for each in properties) if properties else "empty object"


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201 - the page goes to standard output
