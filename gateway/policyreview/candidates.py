"""The changes that somebody could make so that a call is allowed: of an identity, a binding, a system, or the call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.authorization.policy_data_roles import Role
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.policyreview.grants import granting_roles

MAX_OTHERS = 8
"""Other resources that are tried at most."""

MAX_REGIONS = 20
"""Regions that are tried at most."""

Tables = dict[str, Any]
_TIERS = ("minimal", "limited", "high")
_ACTIVATIONS = {
    "active": "",
    "quarantined": "have the agent taken out of quarantine and activated",
    "retired": "",  # for good
}
"""What makes an agent active, by its status; empty where nothing does or needs to."""


def _nothing(_: dict[str, Any]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Candidate:
    """One change.

    Attributes:
        text: what to do.
        part: what it changes; two changes of one part exclude each other.
        apply: changes the input of a link, in place.
        apply_to_tables: changes the tables below `data.govgateway`, in place; None if it leaves them alone.
        principal: the SPIFFE ID whose links it changes; empty for every link of the call.
    """

    text: str
    part: str
    apply: Callable[[dict[str, Any]], None] = field(default=_nothing)
    apply_to_tables: Callable[[Tables], None] | None = None
    principal: str = ""


def candidates(
    policies: LoadedPolicySet, inputs: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]] = ()
) -> Iterator[Candidate]:
    """Yield the changes worth trying.

    Args:
        policies: the policies.
        inputs: of the links of the call, the caller's first.
        others: resources that the call could be about instead, as in an input.
    """
    of_principals = {each["principal"]["id"]: each["principal"] for each in inputs}
    for spiffe_id, principal in of_principals.items():
        for change in _of_principal(policies, principal):
            text = f"for {spiffe_id}: {change.text}" if len(of_principals) > 1 else change.text
            yield replace(change, text=text, part=f"{change.part} of {spiffe_id}", principal=spiffe_id)
    caller = inputs[0]
    resource = caller["resource"]
    yield from _of_regions(policies, resource)
    yield from _of_data(inputs)
    if resource.get("system") and policies.system(resource["system"]) is not None:
        yield from _of_system(resource["system"])
    yield from _of_others(policies, caller, others)


def _of_principal(policies: LoadedPolicySet, principal: Mapping[str, Any]) -> Iterator[Candidate]:
    activation = _ACTIVATIONS.get(principal.get("status", ""), "have the agent activated")
    if activation:
        yield Candidate(activation, "status", _set("principal", "status", "active"))
    tier = principal.get("risk_tier")
    for higher in _TIERS[_TIERS.index(tier) + 1 if tier in _TIERS else 0 :]:
        text = f"register the agent for the risk tier {higher}"
        yield Candidate(text, "risk_tier", _set("principal", "risk_tier", higher))
    held = set(principal["roles"])
    for name, role in sorted(policies.tables.roles.items()):
        if name not in held:
            yield Candidate(_binding(name, role), f"role {name}", _add_role(name))
    for name in principal["roles"]:
        yield Candidate(f"take the role {name} from the agent", f"role {name}", _drop_role(name))


def _binding(name: str, role: Role) -> str:
    if role.max_grant_days is None:
        return f"bind the role {name} to the agent or its team"
    days = f"{role.max_grant_days} day{'s' if role.max_grant_days > 1 else ''}"
    return f"grant the role {name} to the agent for a time, at most {days}"


def _of_regions(policies: LoadedPolicySet, resource: Mapping[str, Any]) -> Iterator[Candidate]:
    tables = policies.tables
    bound = [each.regions for each in tables.regions.data_classes.values()]
    bound += [each.regions for each in tables.systems.values()]
    bound += [each.regions for each in tables.models.values()]
    regions = {region for each in bound for region in each or ()}
    for region in sorted(regions - {resource.get("region")})[:MAX_REGIONS]:
        yield Candidate(f"serve the model in the region {region}", "region", _set("resource", "region", region))


def _of_data(inputs: Sequence[Mapping[str, Any]]) -> Iterator[Candidate]:
    resource = inputs[0]["resource"]
    for name in sorted({name for each in inputs for name in each.get("request", {}).get("data_classes", ())}):
        text = f"leave data of the class {name} out of the request"
        yield Candidate(text, f"request data {name}", _drop_class("request", name))
    for name in sorted(set(resource.get("data_classes", ()))):
        text = f"have the system {resource.get('system', '')} process no data of the class {name}"
        yield Candidate(text, f"system data {name}", _drop_class("resource", name), _forget_class(resource, name))


def _of_system(system: str) -> Iterator[Candidate]:
    for text, key, value in (
        (f"name an overseer of the system {system}", "oversight", {"overseers": ["somebody"]}),
        (f"register the instructions for use of the system {system}", "instructions_for_use", "a link"),
        (f"register the fundamental rights impact assessment of the system {system}", "fria", "a link"),
    ):
        yield Candidate(text, key, apply_to_tables=_enter(system, key, value))


def _of_others(
    policies: LoadedPolicySet, policy_input: Mapping[str, Any], others: Sequence[Mapping[str, Any]]
) -> Iterator[Candidate]:
    principal, action = policy_input["principal"], policy_input["action"]

    def ungranted(other: Mapping[str, Any]) -> bool:
        kind = principal.get("kind", "")
        return not granting_roles(policies.tables, principal["roles"], kind, action, other["id"])

    named = [each for each in others if each["id"] != policy_input["resource"]["id"]]
    for other in sorted(named, key=lambda each: (ungranted(each), each["id"]))[:MAX_OTHERS]:
        yield Candidate(f"use the model {other['id']} instead", "model", _replace("resource", other))


def _set(part: str, key: str, value: str) -> Callable[[dict[str, Any]], None]:
    return lambda document: document[part].update({key: value})


def _replace(part: str, value: Mapping[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update({part: dict(value)})


def _add_role(role: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["principal"]["roles"] = sorted({*document["principal"]["roles"], role})

    return change


def _drop_role(role: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in ("roles", "break_glass"):
            document["principal"][key] = [each for each in document["principal"].get(key, ()) if each != role]

    return change


def _drop_class(part: str, name: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        classes = document.get(part, {}).get("data_classes")
        if classes:
            document[part]["data_classes"] = [each for each in classes if each != name]

    return change


def _enter(system: str, key: str, value: Any) -> Callable[[Tables], None]:
    return lambda tables: tables["systems"][system].update({key: value})


def _forget_class(resource: Mapping[str, Any], name: str) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        entry = tables.get("systems", {}).get(resource.get("system", ""))
        if entry is not None:
            entry["data_classes"] = [each for each in entry.get("data_classes", ()) if each != name]

    return change
