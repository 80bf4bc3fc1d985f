"""The fields of the audit records that the pipeline writes: who, what, why, and digests, never content."""

from typing import Any

from audit.log import AuditLog
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.runtime import Runtime


def intent(exchange: Exchange, runtime: Runtime, audit: AuditLog) -> dict[str, Any]:
    """Return the fields of `access.intent`: an allowed call that is about to be forwarded or answered."""
    fields = _common(exchange, runtime, audit)
    decision, reservation = exchange.decision, exchange.reservation
    fields["decision"] = "allow"
    if decision is not None:
        fields["reasons"] = list(decision.reasons)
        fields["obligations"] = list(decision.obligations)
    if reservation is not None:
        fields["quota"] = {"reserved_tokens": reservation.tokens, "limits": [limit.key for limit in reservation.limits]}
    return fields


def denied(exchange: Exchange, runtime: Runtime, error: GatewayError, audit: AuditLog) -> dict[str, Any]:
    """Return the fields of `access.denied`: a proven identity whose call went no further."""
    fields = _common(exchange, runtime, audit)
    decision = exchange.decision
    refused_by_policy = decision is not None and not decision.allow
    fields["decision"] = "deny"
    fields["reasons"] = list(decision.reasons) if decision is not None and refused_by_policy else [error.code]
    fields["problem"] = error.slug
    fields["status"] = error.status
    return fields


def outcome(exchange: Exchange, result: str, cause: str, charged: int) -> dict[str, Any]:
    """Return the fields of `access.outcome`, which closes an intent."""
    usage = exchange.meter.usage if exchange.meter is not None else None
    return {
        "intent": exchange.request_id,
        "principal": exchange.peer.id if exchange.peer else "",
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
        "response_bytes": exchange.relayed,
        "trace_id": exchange.trace.trace_id if exchange.trace else "",
    }


def _common(exchange: Exchange, runtime: Runtime, audit: AuditLog) -> dict[str, Any]:
    peer, agent, call = exchange.peer, exchange.agent, exchange.call
    fields: dict[str, Any] = {
        "principal": peer.id if peer else "",
        "delegation": list(exchange.delegation),
        "action": call.action if call else "",
        "resource": {"type": call.resource_type, "id": call.resource_id} if call else {},
        "operation": call.operation if call else "",
        "system": exchange.policy_input.get("resource", {}).get("system", ""),
        "policy": {"revision": runtime.policies.revision, "data_digest": runtime.policies.data_digest},
        "policy_input": exchange.policy_input,
        "request": {"bytes": len(exchange.body), "digest": audit.digest(exchange.body)},
        "trace_id": exchange.trace.trace_id if exchange.trace else "",
    }
    if peer is not None:
        fields["peer"] = {"serial": peer.serial, "fingerprint": peer.fingerprint, "not_after": peer.not_after}
    if exchange.token is not None:
        token = exchange.token
        fields["token"] = {"id": token.id, "jti": token.jti, "key_id": token.key_id, "not_after": token.not_after}
    if exchange.delegated_inputs:
        fields["delegated_inputs"] = exchange.delegated_inputs
    if agent is not None:
        fields["team"] = agent.team
        fields["risk_tier"] = agent.risk_tier
    return fields
