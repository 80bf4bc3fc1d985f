"""Sums the decisions that turn by principal, by resource and by rule."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gateway.policyreview.impact import ALLOW_TO_DENY, Flip, Impact

By = Literal["principal", "resource", "rule"]


@dataclass(slots=True)
class Total:
    """How many decisions turn, and the tokens of those that would be refused.

    Attributes:
        name: the principal, the resource, or the reason code. A decision with several reasons counts for each.
    """

    name: str
    allow_to_deny: int = 0
    deny_to_allow: int = 0
    tokens: int = 0


def totals_by(impact: Impact, by: str) -> list[Total]:
    """Return the totals by `principal`, `resource` or `rule`, the largest first."""
    found: dict[str, Total] = {}
    for flip in impact.flips:
        for name in _names(flip, by):
            total = found.setdefault(name, Total(name))
            if flip.change == ALLOW_TO_DENY:
                total.allow_to_deny += flip.count.decisions
                total.tokens += flip.count.tokens
            else:
                total.deny_to_allow += flip.count.decisions
    return sorted(found.values(), key=lambda each: (-each.allow_to_deny - each.deny_to_allow, each.name))


def _names(flip: Flip, by: str) -> Iterable[str]:
    if by == "principal":
        return (flip.who[0],)
    return (flip.resource,) if by == "resource" else dict.fromkeys(flip.reasons)
