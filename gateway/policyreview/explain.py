"""Why a call was decided as it was: reasons, the rules behind them, the data that mattered, what would allow it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel

from gateway.authorization.delegated import intersection
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.policyreview.grants import covers
from gateway.policyreview.reason_rules import reason_rules
from gateway.policyreview.suggestions import suggestions


@dataclass(frozen=True, slots=True)
class ExplainedReason:
    """A reason code of the decision.

    Attributes:
        code: the code.
        message, remedy: for a person.
        places: `file:line` of the definitions that give it for this call; none for a code of the gateway's own.
    """

    code: str
    message: str
    remedy: str
    places: tuple[str, ...] = ()


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
        status, risk_tier: of the principal.
        region: where the resource is; empty where its backends are in several regions.
        decision: what the policies say.
        reasons: its reasons.
        roles: the caller's roles, and what of them covers the call.
        system: the entry of the AI system, None where the register knows none.
        model: the entry of the model, None where the table of models has none.
        data_classes: the classes of data of the call, each with its entry, None for an unknown one.
        prohibited: whether the system is a prohibited practice, which no change allows.
    """

    principal: str
    action: str
    resource: str
    status: str
    risk_tier: str
    region: str
    decision: Decision
    reasons: tuple[ExplainedReason, ...]
    roles: tuple[ExplainedRole, ...]
    system: dict[str, Any] | None
    model: dict[str, Any] | None
    data_classes: dict[str, dict[str, Any] | None]
    prohibited: bool


@dataclass(frozen=True, slots=True)
class ExplainedCall:
    """Why a call is decided as it is, link by link where it is made for others.

    Attributes:
        decision: what the links together may do.
        reasons: its reasons.
        links: the caller's part first.
        changes: the smallest changes that would allow it; empty for an allowed call, and where there are none.
    """

    decision: Decision
    reasons: tuple[ExplainedReason, ...]
    links: tuple[Explanation, ...]
    changes: tuple[tuple[str, ...], ...]

    @property
    def prohibited(self) -> bool:
        """Whether the system is a prohibited practice, which no change allows."""
        return any(each.prohibited for each in self.links)

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def explain_call(
    policies: LoadedPolicySet, inputs: Sequence[dict[str, Any]], others: Sequence[Mapping[str, Any]] = ()
) -> ExplainedCall:
    """Explain the decision of these policies on the inputs of a call, one for each link of the chain.

    Args:
        policies: the policies.
        inputs: the caller's first.
        others: resources that the call could be about instead, as in an input.
    """
    links = tuple(explain(policies, each) for each in inputs)
    decision = intersection([each.decision for each in links])
    places = {reason.code: reason.places for each in links for reason in each.reasons}
    final = decision.allow or any(each.prohibited for each in links)
    changes = () if final else tuple(suggestions(policies, inputs, others))
    return ExplainedCall(decision, _reasons(policies, decision, places), links, changes)


def explain(policies: LoadedPolicySet, policy_input: dict[str, Any]) -> Explanation:
    """Explain the decision of these policies on the input of one link."""
    decision = EmbeddedEngine(policies).decide_now(policy_input)
    principal, resource, action = policy_input["principal"], policy_input["resource"], policy_input["action"]
    tables = policies.tables
    system = tables.systems.get(resource.get("system", ""))
    classes = {*resource.get("data_classes", ()), *policy_input.get("request", {}).get("data_classes", ())}
    prohibited = resource.get("risk") == "prohibited" or (
        system is not None and (system.risk == "prohibited" or bool(system.practices))
    )
    return Explanation(
        principal=principal["id"],
        action=action,
        resource=resource["id"],
        status=principal.get("status", ""),
        risk_tier=principal.get("risk_tier", ""),
        region=resource.get("region", ""),
        decision=decision,
        reasons=_reasons(policies, decision, reason_rules(policies, policy_input, decision.reasons)),
        roles=tuple(_role(policies, name, action, resource["id"]) for name in principal["roles"]),
        system=None if system is None else {"id": resource["system"], **_entry(system)},
        model=_entry(tables.models[resource["id"]]) if resource["id"] in tables.models else None,
        data_classes={
            name: _entry(tables.regions.data_classes[name]) if name in tables.regions.data_classes else None
            for name in sorted(classes)
        },
        prohibited=prohibited,
    )


def _entry(entry: BaseModel) -> dict[str, Any]:
    return entry.model_dump(mode="json", exclude_unset=True)


def _reasons(
    policies: LoadedPolicySet, decision: Decision, places: Mapping[str, tuple[str, ...]]
) -> tuple[ExplainedReason, ...]:
    explained = (policies.reason(code) for code in decision.reasons)
    return tuple(ExplainedReason(each.code, each.message, each.remedy, places.get(each.code, ())) for each in explained)


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


def bounds(explained: Explanation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what binds a call to regions, and to which."""
    entries = {f"system {explained.system['id']}": explained.system} if explained.system else {}
    entries |= {f"model {explained.resource}": explained.model} if explained.model else {}
    entries |= {f"data {name}": entry for name, entry in explained.data_classes.items() if entry}
    for name, entry in entries.items():
        if entry.get("regions"):
            yield name, tuple(entry["regions"])
