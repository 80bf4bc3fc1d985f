"""What people who run govctl may do, decided by the policies as for everybody else.

An operator is a person of the inventory: of the kind human, active, with the attribute `operator` naming the account
that they run govctl with. Their roles come from the bindings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.input import admin_input
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.config import GatewayConfig
from gateway.people import person
from identity.registry import Agent, RegistrySnapshot

ATTRIBUTE = "operator"
"""Attribute of a person in the inventory: the account that they run govctl with."""


@dataclass(frozen=True, slots=True)
class Permission:
    """What the policies say of an operator.

    Attributes:
        allow: whether they may.
        person: SPIFFE ID in the inventory; empty where nobody there is this operator.
        reasons: stable codes; for a refusal at least one.
        message: why not, and what to do about it; empty where they may.
        policy_input: what was decided on; empty where it did not come to that.
    """

    allow: bool
    person: str
    reasons: tuple[str, ...]
    message: str
    policy_input: Mapping[str, Any]


def permission(
    config: GatewayConfig,
    policies: LoadedPolicySet,
    agents: RegistrySnapshot,
    operator: str,
    action: str,
    resource: str,
    now: int,
) -> Permission:
    """Return whether an operator may do something.

    Args:
        config: the configuration.
        policies: those in force.
        agents: the inventory.
        operator: as in `operator:ada`.
        action: for instance `admin.evidence.export`.
        resource: what it is done to.
        now: UNIX seconds.
    """
    account = operator.removeprefix("operator:")
    found = _find(account, agents)
    if found is None:
        return Permission(
            False,
            "",
            ("person-unknown",),
            f"{operator} is nobody in the inventory. Register them: govctl agent register "
            f"spiffe://{config.trust_domain}/operator/NAME --kind human --attribute {ATTRIBUTE}={account}",
            {},
        )
    if found.status != "active":
        reason = f"identity-{found.status}"
        return Permission(False, found.id, (reason,), f"{operator} ({found.id}) is {found.status}.", {})
    who = (found.id, found.team, found.kind)
    asked = admin_input(
        found,
        policies.roles_of(*who, now=now),
        action,
        resource,
        config.context.region,
        config.context.environment,
        policies.break_glass_of(*who, now=now),
    )
    decision = EmbeddedEngine(policies).decide_now(asked)
    if decision.allow:
        return Permission(True, found.id, decision.reasons, "", asked)
    refusal = policies.reason(decision.reasons[0] if decision.reasons else "default_deny")
    text = f"{operator} ({found.id}) may not do {action}: {refusal.message} {refusal.remedy}".strip()
    return Permission(False, found.id, decision.reasons, text, asked)


def _find(account: str, agents: RegistrySnapshot) -> Agent | None:
    """Return the one person with this account; nobody, where two claim it."""
    found = [
        each
        for each in agents.agents.values()
        if each.kind == "human" and person(str(each.attributes.get(ATTRIBUTE, ""))) == person(account) != ""
    ]
    return found[0] if len(found) == 1 else None
