"""Evaluates the entry point when policies are loaded: a broken rule is found before a call meets it."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from gateway.authorization.decision_form import MalformedDecisionError, parse_decision
from gateway.authorization.policy_data import PolicyData
from gateway.authorization.rego import RegoError, evaluate, evaluate_all
from gateway.errors import ConfigError

MAX_PROBES = 500
"""Most probes of allowed calls; large tables are sampled from their start."""


def probe(engine: Any, entry_point: str, tables: PolicyData) -> None:
    """Evaluate the entry point for a caller without rights, who must be refused, and for each role.

    Raises:
        ConfigError: an evaluation failed, an answer is no decision, or a caller without rights was allowed.
    """
    try:
        evaluate_all(engine)
    except RegoError as error:
        raise ConfigError(f"{error}. Correct the rule; nothing is decided by policies that do not evaluate.") from None
    for document in (
        {},
        _input("model.infer", "probe", []),
        _input("admin.config.reload", "/probe", []),
    ):
        if _decide(engine, entry_point, document):
            raise ConfigError(
                f"{entry_point} allows a caller without any role ({orjson.dumps(document).decode()}). "
                "Policies deny by default: add 'default decision := {\"allow\": false, …}' and allow by rule."
            )
    for document in islice(_granted(tables), MAX_PROBES):
        _decide(engine, entry_point, document)


def _decide(engine: Any, entry_point: str, document: dict[str, Any]) -> bool:
    shown = orjson.dumps(document).decode()
    try:
        answer = evaluate(engine, entry_point, shown)
        return parse_decision(answer).allow
    except RegoError as error:
        raise ConfigError(f"{error}. {entry_point} failed for the input {shown}.") from None
    except MalformedDecisionError as error:
        if answer is None:
            raise ConfigError(
                f"{entry_point} is undefined for the input {shown}. Define it with a default that denies, "
                "in the package govgateway.authz."
            ) from None
        raise ConfigError(
            f"{entry_point}: {error}, for the input {shown}. A decision is "
            '{"allow": bool, "reasons": [codes], "obligations": [{"type", …}], "cache_seconds": int}.'
        ) from None


def _granted(tables: PolicyData) -> Iterator[dict[str, Any]]:
    """Yield one call for each permission of each role, on a resource of each system."""
    systems: list[tuple[str, str, list[str]]] = [
        (name, system.risk, system.data_classes) for name, system in tables.systems.items()
    ]
    for role, entry in tables.roles.items():
        for permission in entry.permissions:
            resource = permission.resources[0].replace("*", "probe")
            for system, risk, classes in systems or [("", "", [])]:
                for action in permission.actions:
                    yield _input(action, resource, [role], system=system, risk=risk, data_classes=classes)


def _input(
    action: str,
    resource: str,
    roles: list[str],
    *,
    system: str = "",
    risk: str = "",
    data_classes: list[str] | None = None,
) -> dict[str, Any]:
    return {
        "principal": {
            "id": "spiffe://probe.invalid/probe",
            "kind": "agent",
            "team": "probe",
            "owner": "probe",
            "status": "active",
            "risk_tier": "high",
            "roles": roles,
            "break_glass": [],
            "delegation": [],
            "attributes": {},
        },
        "action": action,
        "resource": {
            "type": action.partition(".")[0],
            "id": resource,
            "system": system,
            "risk": risk,
            "region": "",
            "data_classes": data_classes or [],
        },
        "request": {"protocol": "probe", "stream": False, "max_tokens": 0, "tools": [], "data_classes": []},
        "context": {"region": "local", "environment": "probe"},
    }
