"""The smallest changes under which the policies would allow a call: each is tried, not guessed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import orjson

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.policy_set import LoadedPolicySet

MOST = 2
"""Changes combined at most."""

MAX_TRIED = 4000
"""Combinations tried at most."""

MAX_FOUND = 12
"""Suggestions given at most."""

Tables = dict[str, Any]
Change = Callable[[dict[str, Any], Tables], None]
"""Changes an input, or the tables below `data.govgateway`, in place."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One change that somebody could make.

    Attributes:
        text: what to do.
        apply: does it.
        data: whether it changes the tables.
    """

    text: str
    apply: Change
    data: bool = False


def suggestions(policies: LoadedPolicySet, policy_input: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return sets of changes that would allow the call, the smallest first; none is a part of another.

    Args:
        policies: the policies.
        policy_input: of a call that they refuse.
    """
    candidates = list(_candidates(policies, policy_input))
    found: list[frozenset[int]] = []
    engines: dict[frozenset[int], EmbeddedEngine] = {}
    tried = 0
    for size in range(1, MOST + 1):
        for chosen in combinations(range(len(candidates)), size):
            if len(found) >= MAX_FOUND or tried >= MAX_TRIED:
                break
            if any(each <= set(chosen) for each in found):
                continue
            tried += 1
            if _allows(policies, policy_input, [candidates[place] for place in chosen], chosen, engines):
                found.append(frozenset(chosen))
    return [tuple(candidates[place].text for place in sorted(each)) for each in found]


def _allows(
    policies: LoadedPolicySet,
    policy_input: dict[str, Any],
    changes: list[Candidate],
    places: tuple[int, ...],
    engines: dict[frozenset[int], EmbeddedEngine],
) -> bool:
    document = orjson.loads(orjson.dumps(policy_input))
    changed = frozenset(place for place, change in zip(places, changes, strict=True) if change.data)
    data = orjson.loads(policies.data_json)
    for change in changes:
        change.apply(document, data["govgateway"])
    if changed not in engines:
        engines[changed] = EmbeddedEngine(replace(policies, data_json=orjson.dumps(data).decode()))
    return engines[changed].decide_now(document).allow


def _candidates(policies: LoadedPolicySet, policy_input: dict[str, Any]) -> Iterator[Candidate]:
    principal, resource = policy_input["principal"], policy_input["resource"]
    if principal["status"] != "active":
        yield Candidate("have the agent activated", _set("principal", "status", "active"))
    for tier in ("limited", "high"):
        if principal["risk_tier"] != tier:
            yield Candidate(f"register the agent for the risk tier {tier}", _set("principal", "risk_tier", tier))
    for role in sorted(set(policies.tables.roles) - set(principal["roles"])):
        yield Candidate(f"bind the role {role} to the agent or its team", _add_role(role))
    for role in principal["roles"]:
        yield Candidate(f"take the role {role} from the agent", _drop_role(role))
    yield from _of_regions(policies, resource)
    for name in sorted({*resource["data_classes"], *policy_input["request"]["data_classes"]}):
        yield Candidate(f"leave out data of the class {name}", _drop_class(name))
    if resource.get("system") and policies.system(resource["system"]) is not None:
        yield from _of_system(resource["system"])


def _of_regions(policies: LoadedPolicySet, resource: dict[str, Any]) -> Iterator[Candidate]:
    tables = policies.tables
    bound = [each.regions for each in tables.regions.data_classes.values() if each.regions]
    bound += [each.regions for each in tables.systems.values() if each.regions]
    for region in sorted({region for regions in bound for region in regions} - {resource["region"]}):
        yield Candidate(f"serve the model in the region {region}", _set("resource", "region", region))


def _of_system(system: str) -> Iterator[Candidate]:
    def entry(tables: Tables) -> dict[str, Any]:
        found: dict[str, Any] = tables["systems"][system]
        return found

    def overseer(_: dict[str, Any], tables: Tables) -> None:
        entry(tables)["oversight"] = {"overseers": ["somebody"]}

    def instructions(_: dict[str, Any], tables: Tables) -> None:
        entry(tables)["instructions_for_use"] = "a link"

    def assessment(_: dict[str, Any], tables: Tables) -> None:
        entry(tables)["fria"] = "a link"

    yield Candidate(f"name an overseer of the system {system}", overseer, data=True)
    yield Candidate(f"register the instructions for use of the system {system}", instructions, data=True)
    yield Candidate(f"register the fundamental rights impact assessment of {system}", assessment, data=True)


def _set(part: str, key: str, value: str) -> Change:
    def change(document: dict[str, Any], _: Tables) -> None:
        document[part][key] = value

    return change


def _add_role(role: str) -> Change:
    def change(document: dict[str, Any], _: Tables) -> None:
        document["principal"]["roles"] = sorted({*document["principal"]["roles"], role})

    return change


def _drop_role(role: str) -> Change:
    def change(document: dict[str, Any], _: Tables) -> None:
        document["principal"]["roles"] = [each for each in document["principal"]["roles"] if each != role]

    return change


def _drop_class(name: str) -> Change:
    def change(document: dict[str, Any], _: Tables) -> None:
        for part in ("resource", "request"):
            document[part]["data_classes"] = [each for each in document[part]["data_classes"] if each != name]

    return change
