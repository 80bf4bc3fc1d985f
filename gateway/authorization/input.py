"""Builds the input document of the policies. Called once per request, so it allocates little."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gateway.authorization.engine import System
from gateway.protocols.base import Call


class Principal(Protocol):
    """What the policies are told about the caller; `identity.registry.Agent` has this shape."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def team(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def risk_tier(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...


def model_input(
    principal: Principal,
    roles: Sequence[str],
    call: Call,
    system: System | None,
    region: str,
    gateway_region: str,
    environment: str,
    delegation: Sequence[str] = (),
    break_glass: Sequence[str] = (),
    credentials: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """Return the policy input of one call.

    Args:
        principal: the caller as registered.
        roles: its roles, sorted (`PolicySet.roles_of`).
        call: the parsed request.
        system: the AI system the resource belongs to; None where the register knows none.
        region: region of the resource's backends, empty where they are in several.
        gateway_region: region of this gateway.
        environment: environment of this gateway, for instance `production`.
        delegation: SPIFFE IDs of those for whom the caller acts, the first in the chain first.
        break_glass: those of its roles that it holds through break-glass alone (`PolicySet.break_glass_of`).
        credentials: `{"backend", "secret"}` of each backend that may serve the call and is shown a credential.
    """
    resource: dict[str, Any] = {
        "type": call.resource_type,
        "id": call.resource_id,
        "system": system.id if system else "",
        "risk": system.risk if system else "",
        "region": region,
        "data_classes": list(system.data_classes) if system else [],
    }
    if credentials:
        resource["credentials"] = credentials
    return {
        "principal": _principal(principal, roles, delegation, break_glass),
        "action": call.action,
        "resource": resource,
        "request": {
            "protocol": call.protocol,
            "stream": call.stream,
            "max_tokens": call.max_tokens,
            "tools": list(call.tools),
            "data_classes": [],
        },
        "context": {"region": gateway_region, "environment": environment},
    }


def admin_input(
    principal: Principal,
    roles: Sequence[str],
    action: str,
    resource_id: str,
    gateway_region: str,
    environment: str,
    break_glass: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the policy input of one request to the control plane.

    Args:
        principal, roles, gateway_region, environment, break_glass: as for `model_input`.
        action: for instance `admin.config.reload`.
        resource_id: path of the control-plane route.
    """
    return {
        "principal": _principal(principal, roles, (), break_glass),
        "action": action,
        "resource": {
            "type": "control-plane",
            "id": resource_id,
            "system": "",
            "risk": "",
            "region": gateway_region,
            "data_classes": [],
        },
        "request": {"protocol": "admin", "stream": False, "max_tokens": 0, "tools": [], "data_classes": []},
        "context": {"region": gateway_region, "environment": environment},
    }


def _principal(
    principal: Principal, roles: Sequence[str], delegation: Sequence[str], break_glass: Sequence[str]
) -> dict[str, Any]:
    return {
        "id": principal.id,
        "kind": principal.kind,
        "team": principal.team,
        "owner": principal.owner,
        "status": principal.status,
        "risk_tier": principal.risk_tier,
        "roles": list(roles),
        "break_glass": list(break_glass),
        "delegation": list(delegation),
        "attributes": principal.attributes,
    }
