"""The fields of the audit records that the pipeline writes: who, what, why, and digests, never content.

`audit.events.access` defines them. They are built for every call, so that what one record says already the next one
takes from it, and nothing is built twice.
"""

from typing import Any

from audit.log import AuditLog
from gateway.errors import GatewayError, IdentityRefusedError
from gateway.exchange import Exchange
from gateway.quota.ledger import LimitReached
from gateway.runtime import Runtime
from identity.registry import Agent

_REVOCATIONS = (
    "certificate-revoked",
    "identity-revoked",
    "identity-suspended",
    "identity-quarantined",
    "identity-retired",
)
"""Codes that say that somebody took away what an identity was allowed before."""

_NO_RESERVATION: dict[str, Any] = {"reserved_tokens": 0, "limits": []}


def intent(exchange: Exchange, runtime: Runtime, audit: AuditLog) -> dict[str, Any]:
    """Return the fields of `access.intent`: an allowed call that is about to be forwarded or answered."""
    fields = _common(exchange, runtime, audit)
    decision, reservation = exchange.decision, exchange.reservation
    assert decision is not None  # noqa: S101 - nothing goes on without one
    fields["decision"] = "allow"
    fields["reasons"] = decision.reasons
    fields["obligations"] = decision.obligations
    fields["quota"] = (
        {"reserved_tokens": reservation.tokens, "limits": [limit.key for limit in reservation.limits]}
        if reservation is not None
        else _NO_RESERVATION
    )
    if exchange.approval is not None:
        fields["approval"] = exchange.approval.approval_id
    return fields


def denied(exchange: Exchange, runtime: Runtime, error: GatewayError, audit: AuditLog) -> dict[str, Any]:
    """Return the fields of `access.denied`: a proven identity whose call went no further."""
    fields = _common(exchange, runtime, audit)
    decision = exchange.decision
    refused_by_policy = decision is not None and not decision.allow
    fields["decision"] = "deny"
    fields["reasons"] = decision.reasons if decision is not None and refused_by_policy else [error.code]
    fields["problem"] = error.slug
    fields["status"] = error.status
    if isinstance(error, LimitReached):
        limit = error.standing.limit
        fields["quota"] = {
            "limit": limit.key,
            "unit": limit.unit,
            "window_seconds": limit.window_seconds,
            "amount": limit.amount,
            "remaining": error.standing.remaining,
            "retry_after_seconds": error.retry_after_seconds,
        }
    elif exchange.approval is not None:
        fields["approval"] = exchange.approval.approval_id
    _add_revocation(fields, error, exchange.agent)
    return fields


def outcome(exchange: Exchange, result: str, cause: str, charged: int) -> dict[str, Any]:
    """Return the fields of `access.outcome`, which closes an intent."""
    assert exchange.intent and exchange.digest  # noqa: S101, PT018 - it is what is closed
    said = exchange.intent.fields
    usage = exchange.meter.usage if exchange.meter is not None else None
    fields: dict[str, Any] = {
        "intent": exchange.request_id,
        "principal": said["principal"],
        "delegation": said["delegation"],
        "action": said["action"],
        "resource": said["resource"],
        "system": said["system"],
        "result": result,
        "cause": cause,
        "status": exchange.status,
        "backend": exchange.backend.name if exchange.backend else "",
        "usage": {
            "input_tokens": usage.input_tokens if usage else 0,
            "output_tokens": usage.output_tokens if usage else 0,
            "reported": bool(usage and usage.known),
            "charged_tokens": charged,
        },
        "response": {"bytes": exchange.relayed, "digest": exchange.digest.hexdigest()},
        "trace_id": said["trace_id"],
    }
    shown = exchange.answer.credential if exchange.answer is not None else None
    if shown is not None:
        fields["credential"] = {
            "secret": shown.reference[:512],
            "version": shown.version,
            "lease": shown.lease_id[:512],
        }
    if "model" in said:
        fields["model"] = said["model"]
    if exchange.cut_by is not None:
        _add_revocation(fields, exchange.cut_by, exchange.agent)
    return fields


def _common(exchange: Exchange, runtime: Runtime, audit: AuditLog) -> dict[str, Any]:
    peer, agent, call, policies = exchange.peer, exchange.agent, exchange.call, runtime.policies
    resource = exchange.policy_input.get("resource")
    fields: dict[str, Any] = {
        "principal": peer.id if peer else "",
        "delegation": exchange.delegation,
        "action": call.action if call else "",
        "resource": {"type": call.resource_type, "id": call.resource_id} if call else {},
        "operation": call.operation if call else "",
        "system": resource["system"] if resource else "",
        "policy": {"revision": policies.revision, "data_digest": policies.data_digest},
        "policy_input": exchange.policy_input,
        "request": {"bytes": len(exchange.body), "digest": audit.digest(exchange.body)},
        "risk": {
            "agent": agent.risk_tier if agent else "",
            "status": agent.status if agent else "",
            "system": resource["risk"] if resource else "",
        },
        "trace_id": exchange.trace.trace_id if exchange.trace else "",
    }
    if call is not None and not call.local:
        model = runtime.models.get(call.resource_id)
        if model is not None:
            fields["model"] = {"name": call.resource_id, "upstream": model.upstream_name or call.resource_id}
    if peer is not None:
        fields["peer"] = {"serial": peer.serial, "fingerprint": peer.fingerprint, "not_after": peer.not_after}
    if exchange.token is not None:
        token = exchange.token
        fields["token"] = {"id": token.id, "jti": token.jti, "key_id": token.key_id, "not_after": token.not_after}
    if exchange.delegated_inputs:
        fields["delegated_inputs"] = exchange.delegated_inputs
    if agent is not None:
        fields["team"] = agent.team
    return fields


def _add_revocation(fields: dict[str, Any], error: GatewayError, agent: Agent | None) -> None:
    """Say who was taken what was allowed before, and why."""
    if isinstance(error, IdentityRefusedError) and error.code in _REVOCATIONS:
        why = f" {agent.status_reason}" if agent is not None and agent.status != "active" else ""
        fields["revocation"] = {"code": error.code, "cause": error.detail + why}
