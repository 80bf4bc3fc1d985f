"""Finds the reason codes that the rules of a policy set can give, so that each can be explained."""

import re
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import orjson

from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.rego import new_engine

_SETS = frozenset({"objections", "remarks", "lacking"})
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")


def reason_codes(policies: LoadedPolicySet) -> frozenset[str]:
    """Return the codes written as texts: in the sets `objections`, `remarks` and `lacking`, in `not_granted`, and in
    `reasons` of a decision.

    A code put together at run time is not found.
    """
    return frozenset(reason_code_places(policies))


def reason_code_places(policies: LoadedPolicySet) -> dict[str, tuple[str, int]]:
    """Return the codes of `reason_codes`, each with the file and the line it is found at first."""
    found: dict[str, tuple[str, int]] = {}
    for module in orjson.loads(new_engine(policies.modules).get_ast_as_json()):
        for rule in module["ast"]["rules"]:
            for code, line in sorted(codes_of_rule(rule), key=itemgetter(1)):
                if _CODE.fullmatch(code):
                    found.setdefault(code, (module["source"]["file"], line))
    return found


def codes_of_rule(rule: Any) -> Iterator[tuple[str, int]]:
    """Yield the texts of one definition, a syntax tree, that may be reason codes, each with its line."""
    if "Default" in rule:
        default = rule["Default"]
        if _name(default["refr"]) == "not_granted":
            yield from _texts(default["value"])
        yield from _reasons(default["value"])
        return
    head = rule["Spec"]["head"]
    if "Set" in head:
        if _name(head["Set"]["refr"]) in _SETS:
            yield from _texts(head["Set"]["key"])
    elif "Compr" in head and _name(head["Compr"]["refr"]) == "not_granted":
        yield from _texts(head["Compr"]["assign"])
    yield from _reasons(rule)


def _name(reference: Any) -> str:
    return str(reference.get("Var", {}).get("value", ""))


def _reasons(node: Any) -> Iterator[tuple[str, int]]:
    """Yield the texts under each key `reasons` of an object."""
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            for field in current.get("Object", {}).get("fields", ()):
                if field[1].get("String", {}).get("value") == "reasons":
                    yield from _texts(field[2])
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)


def _texts(node: Any) -> Iterator[tuple[str, int]]:
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            text = current.get("String")
            if isinstance(text, dict):
                yield str(text["value"]), int(text["span"]["line"])
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)
