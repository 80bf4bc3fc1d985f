"""The fields of records about the inventory: the same, whether govctl or the control plane makes the change."""

from typing import Any

from identity.registry import Agent

_DESCRIBED = ("kind", "status", "team", "owner", "risk_tier", "system", "environment")


def registered(agent: Agent) -> dict[str, Any]:
    """Return the fields of `agent.registered`, without the principal."""
    return {"agent": agent.id, **{name: getattr(agent, name) for name in _DESCRIBED}}
