"""Finds what in the policy tables is of no use: covered permissions, roles nobody has, bindings that add nothing."""

from collections.abc import Iterable, Iterator, Sequence

from gateway.authorization.bindings import expired_grants
from gateway.authorization.input import Principal
from gateway.authorization.policy_data import PolicyData
from gateway.authorization.policy_data_roles import Grant, Permission, role_of
from gateway.policyreview.data_places import DataPlaces
from gateway.policyreview.findings import Finding
from gateway.policyreview.grants import binding_text, matches

_ROOT = "govgateway"


def covered_permissions(tables: PolicyData, places: DataPlaces) -> Iterator[Finding]:
    """Yield a finding for each permission that another one of the same role covers as a whole."""
    for name, role in tables.roles.items():
        for index in range(len(role.permissions)):
            other = _covering(role.permissions, index)
            if other is not None:
                yield Finding(
                    "warning",
                    "covered-permission",
                    *places.find(_ROOT, "roles", name, "permissions", index),
                    f"the role {name} has this permission through its permission number {other + 1} as well",
                    "Remove it, or narrow the other one if that is wider than it was meant to be.",
                )


def unbound_roles(tables: PolicyData, places: DataPlaces) -> Iterator[Finding]:
    """Yield a finding for each role that no subject is bound to, grants of the past and the future included."""
    bound = {role_of(binding) for bindings in tables.bindings.values() for binding in bindings}
    for name in tables.roles:
        if name not in bound:
            yield Finding(
                "info",
                "unbound-role",
                *places.find(_ROOT, "roles", name),
                f"nobody has the role {name}",
                "Bind it, or remove it if nobody is going to need it.",
            )


def repeated_bindings(tables: PolicyData, places: DataPlaces, now: int) -> Iterator[Finding]:
    """Yield a finding for each binding that adds nothing to the others of its subject at any time from `now` on.

    Args:
        tables: the tables.
        places: where they are written.
        now: UNIX seconds. Grants that are over are left to `expired`.
    """
    for subject, bindings in tables.bindings.items():
        for index, binding in enumerate(bindings):
            if isinstance(binding, Grant) and binding.end <= now:
                continue
            other = _containing(bindings, index)
            if other is not None:
                yield Finding(
                    "warning",
                    "repeated-binding",
                    *places.find(_ROOT, "bindings", subject, index),
                    f"{subject} is bound to {binding_text(binding)}, and has it by {binding_text(other)} anyway",
                    "Remove it; or, if the role was meant to be granted for a time only, remove the other one.",
                )


def inherited_bindings(
    tables: PolicyData, places: DataPlaces, principals: Iterable[Principal], now: int
) -> Iterator[Finding]:
    """Yield a finding for each binding of a principal that adds nothing to what its team or its kind is bound to.

    Args:
        tables: the tables.
        places: where they are written.
        principals: whose team and kind are known.
        now: UNIX seconds. Grants that are over are left out.
    """
    for principal in principals:
        groups = (f"team:{principal.team}", f"kind:{principal.kind}")
        for index, binding in enumerate(tables.bindings.get(principal.id, ())):
            if isinstance(binding, Grant) and binding.end <= now:
                continue
            for group in groups:
                if any(_contains(wide, binding) for wide in tables.bindings.get(group, ())):
                    yield Finding(
                        "info",
                        "inherited-binding",
                        *places.find(_ROOT, "bindings", principal.id, index),
                        f"{principal.id} is bound to {binding_text(binding)}, and has it through {group} anyway",
                        "Remove it, unless it is to stay when the principal leaves the group.",
                    )


def expired(tables: PolicyData, places: DataPlaces, now: int) -> Iterator[Finding]:
    """Yield a finding for each grant that is over at `now` (UNIX seconds)."""
    for subject, grant in expired_grants(tables, now):
        index = next(index for index, each in enumerate(tables.bindings[subject]) if each is grant)
        yield Finding(
            "info",
            "expired-grant",
            *places.find(_ROOT, "bindings", subject, index),
            f"the grant of {grant.role} to {subject} is over since {grant.not_after}",
            "It may stay as history, or be removed.",
        )


def unused_systems(tables: PolicyData, places: DataPlaces, used: frozenset[str]) -> Iterator[Finding]:
    """Yield a finding for each AI system that is not among those `used` by the configured models."""
    for name in tables.systems:
        if name not in used:
            yield Finding(
                "info",
                "unused-system",
                *places.find(_ROOT, "systems", name),
                f"no configured model belongs to the AI system {name}",
                "Name it as the system of a model in the configuration, or remove it from the register.",
            )


def _covering(permissions: Sequence[Permission], index: int) -> int | None:
    """Return which other permission covers this one; of two that cover each other, the first one stays."""
    for other, permission in enumerate(permissions):
        if other == index or not _covers(permission, permissions[index]):
            continue
        if other < index or not _covers(permissions[index], permission):
            return other
    return None


def _covers(wide: Permission, narrow: Permission) -> bool:
    # A * of the narrow pattern is matched as a sign like any other: only a * of the wide one matches it.
    return set(narrow.actions) <= set(wide.actions) and all(
        any(matches(pattern, resource) for pattern in wide.resources) for resource in narrow.resources
    )


def _containing(bindings: Sequence[str | Grant], index: int) -> str | Grant | None:
    """Return which other binding contains this one; of two that contain each other, the first one stays."""
    for other, binding in enumerate(bindings):
        if other == index or not _contains(binding, bindings[index]):
            continue
        if other < index or not _contains(bindings[index], binding):
            return binding
    return None


def _contains(wide: str | Grant, narrow: str | Grant) -> bool:
    if role_of(wide) != role_of(narrow):
        return False
    if isinstance(wide, str):
        return True
    # What an emergency allows is marked, so a break-glass grant stands in for no other one.
    marked = wide.break_glass and not (isinstance(narrow, Grant) and narrow.break_glass)
    return isinstance(narrow, Grant) and not marked and wide.start <= narrow.start and narrow.end <= wide.end
