"""Quota limits that change for the principals that were seen."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.authorization.policy_set import LoadedPolicySet
from gateway.policyreview.impact_obligations import LOOSER, TIGHTER
from gateway.quota.limits import LimitTable


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A limit that changes for some principals.

    Attributes:
        name: the limit with what it bounds, for instance `agent-default-tokens-per-day`.
        before, after: amount; None for no such limit.
        direction: `tighter` or `looser`.
        principals: SPIFFE IDs of those seen whose calls it counts, sorted.
    """

    name: str
    before: int | None
    after: int | None
    direction: str
    principals: tuple[str, ...]


def limit_changes(
    base: LoadedPolicySet, candidate: LoadedPolicySet, principals: Iterable[tuple[str, str, str]]
) -> tuple[LimitChange, ...]:
    """Return the limits that differ for principals given by SPIFFE ID, team and kind."""
    one, other = LimitTable.from_data(base.limits()), LimitTable.from_data(candidate.limits())
    found: dict[tuple[str, int | None, int | None], set[str]] = {}
    for who in principals:
        before = {limit.name: limit.amount for limit in one.for_principal(*who)}
        after = {limit.name: limit.amount for limit in other.for_principal(*who)}
        for name in before.keys() | after.keys():
            if before.get(name) != after.get(name):
                found.setdefault((name, before.get(name), after.get(name)), set()).add(who[0])
    return tuple(
        LimitChange(name, had, has, _direction(had, has), tuple(sorted(ids)))
        for (name, had, has), ids in sorted(found.items(), key=lambda item: repr(item[0]))
    )


def _direction(before: int | None, after: int | None) -> str:
    if before is None or after is None:
        return TIGHTER if before is None else LOOSER
    return TIGHTER if after < before else LOOSER
