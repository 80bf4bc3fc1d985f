"""Why a call was decided as it was: reasons, the rules behind them, what the roles cover, and what would allow it."""

from dataclasses import asdict, dataclass
from typing import Any

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision, System
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.reason_codes import reason_code_places
from gateway.policyreview.grants import covers
from gateway.policyreview.suggestions import suggestions


@dataclass(frozen=True, slots=True)
class ExplainedReason:
    """A reason code of the decision.

    Attributes:
        code: the code.
        message, remedy: for a person.
        place: `file:line` of the rule that gives it; empty where it is not found.
    """

    code: str
    message: str
    remedy: str
    place: str


@dataclass(frozen=True, slots=True)
class ExplainedRole:
    """A role of the caller.

    Attributes:
        name: the role.
        grants: permissions that cover the call, as `action on pattern`.
        misses: why its other permissions do not.
    """

    name: str
    grants: tuple[str, ...]
    misses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one call of one principal is decided as it is.

    Attributes:
        principal, action, resource: the call.
        decision: what the policies say.
        reasons: its reasons.
        roles: the caller's roles, and what of them covers the call.
        system: the entry of the AI system, None where the register knows none.
        changes: the smallest changes that would allow it; empty for an allowed call, and where there are none.
    """

    principal: str
    action: str
    resource: str
    decision: Decision
    reasons: tuple[ExplainedReason, ...]
    roles: tuple[ExplainedRole, ...]
    system: dict[str, Any] | None
    changes: tuple[tuple[str, ...], ...]

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def explain(policies: LoadedPolicySet, policy_input: dict[str, Any]) -> Explanation:
    """Explain the decision of these policies on an input."""
    decision = EmbeddedEngine(policies).decide_now(policy_input)
    places = reason_code_places(policies)
    action, resource = policy_input["action"], policy_input["resource"]
    system = policies.system(resource.get("system", ""))
    return Explanation(
        principal=policy_input["principal"]["id"],
        action=action,
        resource=resource["id"],
        decision=decision,
        reasons=tuple(_reason(policies, code, places) for code in decision.reasons),
        roles=tuple(_role(policies, name, action, resource["id"]) for name in policy_input["principal"]["roles"]),
        system=None if system is None else _entry(system),
        changes=() if decision.allow else tuple(suggestions(policies, policy_input)),
    )


def _entry(system: System) -> dict[str, Any]:
    return {"id": system.id, "risk": system.risk, "data_classes": list(system.data_classes), **system.attributes}


def _reason(policies: LoadedPolicySet, code: str, places: dict[str, tuple[str, int]]) -> ExplainedReason:
    reason = policies.reason(code)
    file, line = places.get(code, ("", 0))
    return ExplainedReason(code, reason.message, reason.remedy, f"{file}:{line}" if file else "")


def _role(policies: LoadedPolicySet, name: str, action: str, resource: str) -> ExplainedRole:
    role = policies.tables.roles.get(name)
    if role is None:
        return ExplainedRole(name, (), ("the policies do not know this role",))
    grants, misses = [], []
    for permission in role.permissions:
        patterns = [each for each in permission.resources if covers(action, each, resource)]
        if action in permission.actions and patterns:
            grants += [f"{action} on {pattern}" for pattern in patterns]
        elif action in permission.actions:
            misses.append(f"{action} only on {', '.join(permission.resources)}")
    if not grants and not misses:
        misses.append(f"nothing about {action}")
    return ExplainedRole(name, tuple(grants), tuple(misses))
