"""One decision for a chain of delegation: what every link may do, and nothing more."""

from collections.abc import Sequence

from gateway.authorization.engine import Decision

REGIONS_CONFLICT = "delegation_regions_conflict"


def intersection(decisions: Sequence[Decision]) -> Decision:
    """Combine the decisions of the links of a chain, one each.

    The call passes only if each link alone may make it. Every obligation of every link holds; two that send the call
    to different regions cannot both be kept, so the call is refused.
    """
    if len(decisions) == 1:
        return decisions[0]
    cache_seconds = min(decision.cache_seconds for decision in decisions)
    for decision in decisions:
        if not decision.allow:
            return Decision(allow=False, reasons=decision.reasons, cache_seconds=cache_seconds)
    obligations = tuple(
        {repr(sorted(each.items())): each for decision in decisions for each in decision.obligations}.values()
    )
    if len({each["region"] for each in obligations if each["type"] == "route_region"}) > 1:
        return Decision(allow=False, reasons=(REGIONS_CONFLICT,), cache_seconds=cache_seconds)
    reasons = tuple(dict.fromkeys(reason for decision in decisions for reason in decision.reasons))
    return Decision(allow=True, reasons=reasons, obligations=obligations, cache_seconds=cache_seconds)
