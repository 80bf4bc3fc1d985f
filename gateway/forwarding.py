"""Sends a call to a backend of the static registry, and to another where certainly nothing of it arrived."""

from time import perf_counter_ns

from gateway.errors import UnavailableError, UpstreamConnectError, UpstreamTimeoutError
from gateway.exchange import Exchange
from gateway.observation import Observation
from gateway.runtime import Runtime
from gateway.settlement import region_required
from gateway.upstream.client import Backend, UpstreamClient
from gateway.upstream.headers import own_authorization, request_headers


async def forward(exchange: Exchange, runtime: Runtime, upstream: UpstreamClient, observe: Observation) -> None:
    """Forward a call with the gateway's own credentials; the exchange has the head of the answer afterwards.

    Raises:
        UpstreamError: no backend took it, or the one that did does not answer.
        UnavailableError: the credential of a backend cannot be had.
    """
    call, protocol, decision, trace = exchange.call, exchange.protocol, exchange.decision, exchange.trace
    assert call and protocol and decision and trace  # noqa: S101, PT018 - set by the pipeline's steps before
    candidates = runtime.backends.route(call.resource_id, region_required(decision))
    headers = request_headers(exchange.headers, trace.header())
    principal = exchange.peer.id if exchange.peer is not None else ""
    tried: list[Backend] = []
    while True:
        backend = runtime.balancer.acquire(candidates, tried)
        exchange.backend = backend
        exchange.release_backend = runtime.balancer.release
        body = protocol.prepare(
            call,
            max_tokens=exchange.max_tokens,
            continuous_usage=backend.continuous_usage,
            model=runtime.models[call.resource_id].upstream_name,
        )
        passed = [*headers, *own_authorization(exchange.headers)] if backend.forward_authorization else headers
        exchange.sent_ns = perf_counter_ns()
        # Until it is certain that nothing was sent: a caller that leaves during the wait pays for the call.
        exchange.reached_backend = True
        try:
            exchange.answer = await upstream.post(backend, call.upstream_path, passed, body, principal)
        except UpstreamConnectError:
            # Nothing of the call reached this backend, so another may take it.
            exchange.reached_backend = False
            runtime.balancer.failed(backend)
            exchange.release_backend = None
            tried.append(backend)
            if len(tried) == len(candidates):
                raise
            continue
        except UpstreamTimeoutError:
            runtime.balancer.failed(backend)  # one that takes calls and never answers must not stay first choice
            exchange.release_backend = None
            raise
        except UnavailableError:
            exchange.reached_backend = False  # the backend's credential cannot be had
            raise
        break
    runtime.balancer.answered(backend)
    observe.upstream_head(exchange)
