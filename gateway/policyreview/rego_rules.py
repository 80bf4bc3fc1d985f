"""The rules of a revision, each reduced to what it says: layout, comments and places left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.authorization.rego import Module, new_engine

_PLACES = frozenset({"span", "eidx", "sidx", "qidx"})
_SPAN = frozenset({"line", "col", "start", "end"})


@dataclass(frozen=True, slots=True)
class Rule:
    """Everything a file says about one name.

    Attributes:
        line: where it says so first.
        content: its definitions, comparable.
    """

    line: int
    content: tuple[bytes, ...]


def rules_of(modules: Sequence[Module]) -> dict[tuple[str, str], Rule]:
    """Return the rules by file and full name; imports are listed as `import NAME`."""
    found: dict[tuple[str, str], Rule] = {}
    for module in orjson.loads(new_engine(modules).get_ast_as_json()):
        file, syntax = module["source"]["file"], module["ast"]
        package = _name(syntax["package"]["refr"])
        for name, line, node in _definitions(syntax, package, module["source"]["contents"].encode()):
            content = orjson.dumps(_bare(node), option=orjson.OPT_SORT_KEYS)
            known = found.get((file, name))
            found[file, name] = Rule(known.line, (*known.content, content)) if known else Rule(line, (content,))
    return {key: Rule(rule.line, tuple(sorted(rule.content))) for key, rule in found.items()}


def _definitions(syntax: Any, package: str, source: bytes) -> Iterator[tuple[str, int, Any]]:
    for item in syntax["imports"]:
        span = item.get("as")
        local = source[span["start"] : span["end"]].decode() if span else ""
        yield f"import {_name(item['refr'])}", item["span"]["line"], {"refr": item["refr"], "local": local}
    for rule in syntax["rules"]:
        if "Default" in rule:
            head = rule["Default"]
        else:
            (head,) = rule["Spec"]["head"].values()
        yield f"{package}.{_name(head['refr'])}", head["span"]["line"], rule


def _name(node: Any) -> str:
    """Return a reference as text, its computed parts as `[…]`."""
    parts: list[str] = []
    while "Var" not in node:
        if "RefDot" in node:
            node = node["RefDot"]
            parts.append(f".{node['field'][1]}")
        elif "RefBrack" in node:
            node = node["RefBrack"]
            index = node["index"].get("String")
            parts.append(f".{index['value']}" if index else "[…]")
        else:
            return "…"
        node = node["refr"]
    return str(node["Var"]["value"]) + "".join(reversed(parts))


def _bare(node: Any) -> Any:
    """Return a syntax tree without the places of its parts."""
    if isinstance(node, dict):
        return {key: _bare(value) for key, value in node.items() if key not in _PLACES}
    if isinstance(node, list):
        return [_bare(item) for item in node if not (isinstance(item, dict) and item.keys() == _SPAN)]
    return node
