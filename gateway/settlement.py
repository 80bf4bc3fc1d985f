"""Pure rules around one call: output bound, region, what is charged, and what a backend's error means."""

from gateway.authorization.engine import Decision
from gateway.config.model import ModelConfig
from gateway.errors import RequestError, UnavailableError, UpstreamError
from gateway.exchange import Exchange
from gateway.protocols.base import Call
from gateway.upstream.client import UpstreamAnswer


def output_bound(call: Call, model: ModelConfig, decision: Decision) -> int:
    """Return the output tokens this call may produce per choice (tokens; 0 where nothing is generated).

    The caller's wish, else the model's default, lowered by every `clamp_max_tokens` obligation.

    Raises:
        RequestError: the caller asks for more than the model's context holds.
    """
    if call.action != "model.infer":
        return 0
    if call.max_tokens > model.context_tokens:
        raise RequestError(
            f"max_tokens is {call.max_tokens}; {call.resource_id} takes at most {model.context_tokens}.",
            remedy="Ask for fewer output tokens.",
            code="max_tokens_too_large",
        )
    bound = call.max_tokens or model.max_output_tokens
    for obligation in decision.obligations:
        if obligation["type"] == "clamp_max_tokens":
            bound = min(bound, obligation["max_tokens"])
    return bound


def region_required(decision: Decision) -> str | None:
    """Return the region that the policy routes this call to, or None for any."""
    for obligation in decision.obligations:
        if obligation["type"] == "route_region":
            region: str = obligation["region"]
            return region
    return None


def charged_tokens(exchange: Exchange, outcome: str) -> int:
    """Return the tokens to charge for a call that ended.

    What the backend reported, where it did. Otherwise: nothing for a call that no backend answered with
    success; the worst case where the caller left or the answer was complete without a figure, so that
    leaving early never makes a call cheaper; what was seen to arrive where the backend failed midway.
    """
    reservation, meter = exchange.reservation, exchange.meter
    if reservation is None or not exchange.reached_backend:
        return 0
    if meter is None:
        return reservation.tokens if outcome == "client-disconnected" else 0
    usage = meter.usage
    if usage.known or outcome == "failed":
        return usage.input_tokens + usage.output_tokens
    return reservation.tokens


def backend_error(answer: UpstreamAnswer) -> Exception:
    """Return the error for an answer of a backend that is not the caller's doing."""
    status = answer.status
    if 300 <= status < 400:
        return UpstreamError(
            "The model server answered with a redirect, which is never followed.",
            remedy="The operator has to set the backend's final URL.",
            code="upstream_redirect",
        )
    if status in {429, 503}:
        retry = next((value for name, value in answer.headers if name == b"retry-after"), b"1")
        return UnavailableError(
            "The model server is busy.",
            remedy="Try again later.",
            code="upstream_busy",
            headers=[(b"retry-after", retry if retry.isdigit() else b"1")],
        )
    return UpstreamError(f"The model server answered with status {status}.", code=f"upstream_status_{status}")
