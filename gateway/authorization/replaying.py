"""Decides a recorded input by other policies: what the tables say of the caller and the system is looked up anew."""

from typing import Any

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision, PolicyInput, PolicySet


def looked_up_anew(policies: PolicySet, policy_input: PolicyInput, now: int) -> dict[str, Any]:
    """Return the input as it would have been under these policies.

    The caller's roles come from their bindings, the system's risk and classes of data from their register; all else
    is as recorded.

    Args:
        policies: the policies.
        policy_input: as recorded.
        now: when it was recorded, for grants that end (UNIX seconds).
    """
    principal, resource = policy_input["principal"], policy_input["resource"]
    who = (principal["id"], principal["team"], principal["kind"])
    anew = {
        **policy_input,
        "principal": {
            **principal,
            "roles": list(policies.roles_of(*who, now=now)),
            "break_glass": list(policies.break_glass_of(*who, now=now)),
        },
    }
    if resource.get("system"):
        system = policies.system(resource["system"])
        anew["resource"] = {
            **resource,
            "system": system.id if system else "",
            "risk": system.risk if system else "",
            "data_classes": list(system.data_classes) if system else [],
        }
    return anew


def decided_anew(engine: EmbeddedEngine, policies: PolicySet, policy_input: PolicyInput, now: int) -> Decision:
    """Return the decision of these policies on a recorded input (see `looked_up_anew`)."""
    return engine.decide_now(looked_up_anew(policies, policy_input, now))
