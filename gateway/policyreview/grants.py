"""What subjects may do by the tables: which role grants an action on a resource, and until when."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from gateway.authorization.policy_data import PolicyData
from gateway.authorization.policy_data_roles import Grant, Permission, Role, role_of

Access = tuple[str, str]
"""An action, and the pattern of the resources it is granted on."""


@dataclass(frozen=True, slots=True, order=True)
class Granted:
    """Something a subject is granted.

    Attributes:
        subject: a SPIFFE ID, `team:NAME` or `kind:NAME`.
        role: the role that grants it.
        action: the action.
        resource: pattern of the resources.
    """

    subject: str
    role: str
    action: str
    resource: str

    def on(self, resource: str) -> bool:
        """Return whether it is granted on this resource."""
        return covers(self.action, self.resource, resource)


def covers(action: str, pattern: str, resource: str) -> bool:
    """Return whether an action granted on a pattern is granted on a resource. The list of models needs no name."""
    return matches(pattern, resource) or (action == "model.list" and not resource)


def matches(pattern: str, resource: str) -> bool:
    """Return whether a resource is one of a pattern's, in which * stands for any text."""
    return _compiled(pattern).fullmatch(resource) is not None


def accesses(permissions: Iterable[Permission]) -> set[Access]:
    """Return the permissions as pairs of one action and one pattern."""
    return {(action, resource) for each in permissions for action in each.actions for resource in each.resources}


def grants_of(tables: PolicyData, subjects: Iterable[str]) -> set[Granted]:
    """Return what the subjects are granted, whenever the grant begins or ends."""
    return {
        Granted(subject, role, action, resource)
        for subject in subjects
        for role in {role_of(binding) for binding in tables.bindings.get(subject, ())}
        if role in tables.roles
        for action, resource in accesses(tables.roles[role].permissions)
    }


def granting_roles(tables: PolicyData, roles: Iterable[str], kind: str, action: str, resource: str) -> tuple[str, ...]:
    """Return those of the roles that name the action and the resource, sorted."""
    return tuple(sorted(name for name in roles if _grants(tables.roles.get(name), kind, action, resource)))


def binding_text(binding: str | Grant) -> str:
    """Return a binding for people: the role, and for a grant its dates."""
    if isinstance(binding, str):
        return binding
    start = f"from {binding.not_before} " if binding.not_before else ""
    kind = ", break-glass" if binding.break_glass else ""
    return f"{binding.role} ({start}until {binding.not_after}{kind})"


def _grants(role: Role | None, kind: str, action: str, resource: str) -> bool:
    if role is None or (role.kinds is not None and kind not in role.kinds):
        return False
    return any(
        action in each.actions and any(covers(action, pattern, resource) for pattern in each.resources)
        for each in role.permissions
    )


@lru_cache(10_000)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
