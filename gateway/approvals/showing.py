"""Approvals and stops as JSON shows them. Times are UNIX seconds."""

from typing import Any

from gateway.approvals.model import Approval, Stop
from gateway.clock import NANOSECONDS


def approval_view(approval: Approval, now_ns: int) -> dict[str, Any]:
    """Return a request for approval. `state` is what it is worth at `now_ns`."""
    asked = approval.asked
    state: str = approval.state
    if approval.used_ns:
        state = "used"
    elif state in {"pending", "granted"} and now_ns >= approval.expires_ns:
        state = "expired"
    return {
        "approval": approval.approval_id,
        "state": state,
        "principal": asked.principal,
        "owner": approval.owner,
        "delegation": list(asked.delegation),
        "action": asked.action,
        "resource": {"type": asked.resource_type, "id": asked.resource},
        "operation": asked.operation,
        "system": asked.system,
        "request": {"bytes": approval.bytes, "digest": asked.digest},
        "four_eyes": approval.four_eyes,
        "approvals_missing": approval.missing,
        "requested_at": approval.requested_ns // NANOSECONDS,
        "expires_at": approval.expires_ns // NANOSECONDS,
        "used_at": approval.used_ns // NANOSECONDS,
        "verdicts": [
            {"by": each.by, "approve": each.approve, "reason": each.reason, "at": each.at_ns // NANOSECONDS}
            for each in approval.verdicts
        ],
    }


def stop_view(stop: Stop) -> dict[str, Any]:
    """Return a stopped system."""
    return {
        "system": stop.system,
        "by": stop.by,
        "reason": stop.reason,
        "since": stop.at_ns // NANOSECONDS,
        "drill": stop.drill,
    }
