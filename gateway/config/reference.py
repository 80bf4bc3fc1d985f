"""Writes docs/configuration.md from the models, so that the reference cannot drift from the code."""

from typing import Any

from gateway.config.loader import config_schema

_HEAD = """# Configuration

One YAML file, by default `govgateway.yaml` (`--config`, or `GOVGATEWAY_CONFIG`). Unknown keys are errors. Relative
paths are relative to the file. `${NAME}` and `${NAME:-default}` are taken from the environment; a secret is only ever
given by reference: `file:/path`, `env:NAME` or `${NAME}`.

`govctl config check` tests a file, `govctl config show` prints it with every default, `govctl config schema` prints its
JSON Schema. `govctl reload` (or SIGHUP) takes a changed file into use without dropping a connection; a bad one is
refused whole. A change of `trust_domain`, `state_dir`, `listener`, `admin`, `operations`, `audit` or `identity` needs a
restart, and the reload says so.

This page is generated: `python -m gateway.config.reference > docs/configuration.md`.
"""


def reference() -> str:
    """Return the page."""
    schema = config_schema()
    lines = [_HEAD]
    _section(lines, "Top level", "", schema, schema)
    return "\n".join(lines)


def _section(lines: list[str], title: str, prefix: str, section: dict[str, Any], schema: dict[str, Any]) -> None:
    lines += [f"## {title}", ""]
    if prefix:
        lines += [str(section.get("description", "")), ""]
    lines += ["| key | default | meaning |", "| --- | --- | --- |"]
    below: list[tuple[str, dict[str, Any]]] = []
    required = section.get("required", [])
    for key, item in section["properties"].items():
        nested, many = _nested(item, schema)
        if nested is not None:
            path = f"{prefix}{key}{'[]' if many else ''}"
            below.append((path, nested))
            meaning = item.get("description") or nested.get("description", "").splitlines()[0]
            shown = "required" if key in required else f"see [{path}](#{_anchor(path)})"
        else:
            meaning = item.get("description", "")
            shown = "required" if key in required else f"`{_yaml(item.get('default'))}`"
        lines.append(f"| `{key}` | {shown} | {meaning}{_choices(item)} |")
    lines.append("")
    for path, nested in below:
        _section(lines, path, path + ".", nested, schema)


def _nested(item: dict[str, Any], schema: dict[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    reference = item.get("$ref") or item.get("items", {}).get("$ref")
    if reference is None:
        return None, False
    return schema["$defs"][reference.rsplit("/", 1)[1]], "items" in item


def _choices(item: dict[str, Any]) -> str:
    return f" One of {', '.join(item['enum'])}." if "enum" in item else ""


def _yaml(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "empty" if value == "" else str(value)


def _anchor(path: str) -> str:
    return "".join(character for character in path.lower() if character.isalnum() or character in "_-")


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201 - the page goes to standard output
