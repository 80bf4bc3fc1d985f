"""Obligations that change where both revisions allow a call: bounds on tokens, regions, and a person's approval."""

from dataclasses import dataclass
from typing import Any

from gateway.authorization.engine import Decision
from gateway.policyreview.replay import Replayed

TIGHTER, LOOSER, MOVED = "tighter", "looser", "moved"

_FIELDS = {"clamp_max_tokens": "max_tokens", "route_region": "region", "require_approval": "type"}

_Key = tuple[str, str, str, str, int | str | None, int | str | None]


@dataclass(frozen=True, slots=True)
class ObligationChange:
    """An obligation that changes for calls that stay allowed.

    Attributes:
        principal: SPIFFE ID of the caller.
        type: `clamp_max_tokens`, `route_region` or `require_approval`.
        before, after: the bound (tokens), the region, or `require_approval`; None for no such obligation.
        direction: `tighter`, `looser`, or `moved` to another region.
        decisions: how many recorded decisions.
        tokens: tokens charged for them.
    """

    principal: str
    action: str
    resource: str
    type: str
    before: int | str | None
    after: int | str | None
    direction: str
    decisions: int
    tokens: int


class Obligations:
    """Collects the changes."""

    def __init__(self) -> None:
        self._found: dict[_Key, list[int]] = {}

    def add(self, replayed: Replayed, principal: str, action: str, resource: str) -> None:
        """Note how the obligations of a call that both revisions allow differ."""
        base, candidate = replayed.base.decision, replayed.candidate.decision
        if base.obligations == candidate.obligations:
            return
        for kind in _FIELDS:
            before, after = _effective(base, kind), _effective(candidate, kind)
            if before != after:
                total = self._found.setdefault((principal, action, resource, kind, before, after), [0, 0])
                total[0] += replayed.case.count
                total[1] += replayed.case.tokens

    def changes(self) -> tuple[ObligationChange, ...]:
        """Return the changes, those of most decisions first."""
        found = [
            ObligationChange(*key, direction=_direction(key[4], key[5]), decisions=total[0], tokens=total[1])
            for key, total in self._found.items()
        ]
        return tuple(sorted(found, key=lambda each: (-each.decisions, repr(each))))


def _effective(decision: Decision, kind: str) -> Any:
    """Return what the obligations of a kind come to: the lowest of several bounds holds."""
    values = [each[_FIELDS[kind]] for each in decision.obligations if each["type"] == kind]
    return min(values) if values else None


def _direction(before: Any, after: Any) -> str:
    if before is None:
        return TIGHTER
    if after is None:
        return LOOSER
    if isinstance(before, str):
        return MOVED
    return TIGHTER if after < before else LOOSER
