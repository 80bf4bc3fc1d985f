"""The life of a request: eight steps, in order, each one call to one room.

1. identify    the listener verified the peer's chain; here expiry, revocation and standing are compared
2. understand  the route's protocol parses the body once
3. authorise   one decision of the policy, and a person's approval where it asks for one
4. reserve     every quota limit that applies, all or none, for the worst case
5. record      the intent goes to the audit log; nothing is answered before it is durable
6. forward     to a backend of the static registry, with the gateway's own credentials
7. relay       bytes pass through, usage is read from them
8. settle      actual usage replaces the reservation, the outcome closes the intent

Anything unclear refuses the call. A refusal is recorded where an identity was proven.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from audit.errors import AuditUnavailableError
from audit.event_id import uuid7
from audit.log import AuditLog
from gateway import records
from gateway.approvals.gate import OversightGate, check_not_stopped, stopped
from gateway.approvals.model import Stop, demanded
from gateway.authorization.engine import Decision
from gateway.authorization.shadow import Shadow
from gateway.charging import Charging
from gateway.clock import NANOSECONDS, Clock
from gateway.content_sealing import ContentSealing, case_to_seal
from gateway.deciding import decide
from gateway.errors import (
    GatewayError,
    IdentityRefusedError,
    NotFoundError,
    PolicyDeniedError,
    TooManyRefusalsError,
    UnavailableError,
)
from gateway.exchange import ClientDisconnectedError, Exchange, Receive, Scope, Send
from gateway.forwarding import forward
from gateway.observation import Observation
from gateway.protocols.base import Call
from gateway.quota.headers import quota_headers, refusal_headers
from gateway.quota.ledger import LimitReached, QuotaLedger
from gateway.quota.worst_case import worst_case_tokens
from gateway.receipts import Receipts, receipt_header
from gateway.refusal_budget import RefusalBudget
from gateway.runtime import Runtime
from gateway.settlement import backend_error, charged_tokens, output_bound
from gateway.standing import check_standing, use_once
from gateway.telemetry.trace import child_of
from gateway.upstream.client import UpstreamAnswer, UpstreamClient
from gateway.upstream.headers import response_headers
from gateway.upstream.refusal import caller_error
from identity.jwt_svid import JwtIdentity
from identity.registry import Agent, RegistrySnapshot, UsedTokens

_log = structlog.get_logger("govgateway.pipeline")

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Largest answer that is not streamed (bytes)."""

NOTICE = (b"x-ai-generated", b"true")
"""Marks an answer as made by AI where the policies ask for `watermark_notice` (AI Act, Article 50)."""

MAX_ERROR_BYTES = 65_536
"""Largest error answer of a backend that is passed on (bytes)."""


_PASSED_ON = frozenset({400, 413, 422})
"""Answers of a backend that speak of the caller's request and are passed on as they are."""


class Pipeline:
    """An ASGI application that governs every call. One per worker process.

    Attributes:
        runtime: everything a reload replaces; swapped as a whole, calls under way keep theirs.
        agents: the inventory as of the last change; swapped by `replace_agents`.
        refusals: how many refusals of each identity are put on record.
        shadow: a candidate revision that decides beside the active one, and that nobody obeys.
        stops: the AI systems that a person stopped; swapped by `replace_stops`.

    Args:
        used_tokens: remembers tokens that may be shown once.
        receipts: makes receipts; None where there is no tree.
        sealing: keeps the content of calls where the policy asks for it; None: such calls are refused.
        oversight: lets calls through that a person approved, where the policy asks for that; None: they are refused.
    """

    def __init__(
        self,
        *,
        runtime: Runtime,
        agents: RegistrySnapshot,
        audit: AuditLog,
        ledger: QuotaLedger,
        upstream: UpstreamClient,
        observation: Observation,
        clock: Clock,
        used_tokens: UsedTokens | None = None,
        receipts: Receipts | None = None,
        sealing: ContentSealing | None = None,
        oversight: OversightGate | None = None,
    ) -> None:
        self._sealing = sealing
        self._oversight = oversight
        self.stops: Mapping[str, Stop] = {}
        self._used_tokens = used_tokens
        self._receipts = receipts
        self.runtime = runtime
        self.agents = agents
        self._audit = audit
        self._ledger = ledger
        self._upstream = upstream
        self._observe = observation
        self._clock = clock
        self._under_way: set[Exchange] = set()
        self.refusals = RefusalBudget(clock)
        self.shadow: Shadow | None = None
        self._charging = Charging(ledger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call (ASGI 3)."""
        if scope["type"] != "http":
            raise RuntimeError(f"the data plane serves HTTP, not {scope['type']}")
        exchange = Exchange(scope, receive, send)
        runtime = self.runtime
        self._observe.begin()
        try:
            await self._serve(exchange, runtime, scope)
        except GatewayError as error:
            await self._refuse(exchange, runtime, error)
        except ClientDisconnectedError:
            await self._settle(exchange, "client-disconnected")
        except asyncio.CancelledError:
            if exchange.cut_by is None:
                await self._settle(exchange, "client-disconnected")
                raise
            if exchange.task is not None:
                exchange.task.uncancel()
            await self._refuse(exchange, runtime, exchange.cut_by)
        except Exception:
            # A defect of ours: what the call holds is given back, the caller learns that it failed, the log why.
            _log.exception("pipeline-failed", request_id=exchange.request_id)
            await self._refuse(exchange, runtime, GatewayError("The gateway failed.", remedy="Tell the operator."))
        finally:
            self._observe.end(exchange)

    async def _serve(self, exchange: Exchange, runtime: Runtime, scope: Scope) -> None:
        self._identify(exchange, scope)
        if exchange.token is not None and runtime.config.identity.jwt_bearer.once:
            await self._use_once(exchange.token)
        if self._receipts is not None and self._receipts.take(exchange):
            await self._receipts.answer(exchange)
            return
        exchange.mark()
        await self._understand(exchange, runtime)
        exchange.mark()
        if exchange.call is not None and exchange.call.local:
            await self._list_models(exchange, runtime)
            return
        await self._authorise(exchange, runtime)
        exchange.mark()
        await self._reserve(exchange, runtime)
        exchange.mark()
        self._record(exchange, runtime)
        assert exchange.decision is not None  # noqa: S101 - set by the third step
        if (case := case_to_seal(exchange.decision)) is not None:
            await self._seal_request(exchange, case)
        exchange.mark()
        await forward(exchange, runtime, self._upstream, self._observe)
        exchange.mark()
        await self._relay(exchange)
        exchange.mark()
        await self._settle(exchange)
        exchange.mark()

    def _identify(self, exchange: Exchange, scope: Scope) -> None:
        connection = scope["extensions"]["govgateway"]
        exchange.task = asyncio.current_task()
        exchange.trace = child_of(exchange.headers)
        peer = connection.identity
        if peer is None:
            refusal = connection.refusal
            raise IdentityRefusedError(str(refusal), code=refusal.rule)
        exchange.peer = peer
        exchange.token = connection.token
        exchange.delegation = connection.delegation
        exchange.agent = self.agents.get(peer.id)
        exchange.delegators = self._check_standing(exchange, self.agents)

    def _check_standing(self, exchange: Exchange, agents: RegistrySnapshot) -> tuple[Agent, ...]:
        assert exchange.peer is not None  # noqa: S101 - set by the caller
        return check_standing(exchange.peer, exchange.token, exchange.delegation, agents, self._clock())

    async def _use_once(self, token: JwtIdentity) -> None:
        if self._used_tokens is None:
            raise UnavailableError("Tokens that were shown before cannot be told apart.", code="replay_unavailable")
        await use_once(token, self._used_tokens)

    async def _understand(self, exchange: Exchange, runtime: Runtime) -> None:
        exchange.protocol = protocol = runtime.protocol(exchange.method, exchange.path)
        if protocol is None:
            raise NotFoundError(f"{exchange.method} {exchange.path} is not a route of this gateway.")
        exchange.body = await exchange.read_body()
        exchange.call = protocol.parse(exchange.method, exchange.path, exchange.headers, exchange.body)

    async def _authorise(self, exchange: Exchange, runtime: Runtime) -> None:
        assert exchange.call is not None  # noqa: S101 - set by the step before
        if not exchange.call.local:  # one that is answered here is over at once
            self._under_way.add(exchange)  # from here on it is cut by whoever takes its right to go on away
        decision = await self._decide(exchange, runtime, exchange.call)
        _check_allowed(decision, runtime)
        if self.stops:
            check_not_stopped(self.stops, exchange)
        if decision.needs_approval:
            await self._approve(exchange, runtime, decision)

    async def _approve(self, exchange: Exchange, runtime: Runtime, decision: Decision) -> None:
        """Let the call go on only if a person approved it."""
        terms = demanded(decision)
        if self._oversight is None or terms is None:
            raise UnavailableError("Nobody can approve calls at this gateway.", code="oversight_unavailable")
        exchange.terms = terms
        await self._oversight.obtain(exchange, terms, runtime, lambda: self.agents)
        # It may have waited for long: whoever lost their standing meanwhile goes no further.
        exchange.delegators = self._check_standing(exchange, self.agents)
        if terms.wait_seconds and exchange.call is not None:
            _check_allowed((await self._decision(exchange, runtime, exchange.call))[0], runtime)

    async def _decide(self, exchange: Exchange, runtime: Runtime, call: Call) -> Decision:
        """Decide the call itself; the record of the exchange names this decision and its inputs."""
        decision, inputs = await self._decision(exchange, runtime, call)
        exchange.decision, exchange.policy_input, exchange.delegated_inputs = decision, inputs[0], inputs[1:]
        self._observe.decided(decision)
        return decision

    async def _decision(
        self, exchange: Exchange, runtime: Runtime, call: Call
    ) -> tuple[Decision, list[dict[str, Any]]]:
        return await decide(exchange, runtime, call, self._clock() // NANOSECONDS, self.shadow)

    async def _reserve(self, exchange: Exchange, runtime: Runtime) -> None:
        agent, call = exchange.agent, exchange.call
        assert agent and call  # noqa: S101, PT018 - set by the steps before
        tokens = 0
        if not call.local:
            model = runtime.models.get(call.resource_id)
            if model is None:
                # The policy allowed a model that the configuration does not have: same answer as a deny.
                reason = runtime.policies.reason("model_not_granted")
                raise PolicyDeniedError(reason.message, remedy=reason.remedy, code=reason.code)
            assert exchange.decision is not None  # noqa: S101 - set by the step before
            exchange.max_tokens = output_bound(call, model, exchange.decision)
            tokens = worst_case_tokens(call, exchange.max_tokens)
        limits = runtime.limits.for_principal(agent.id, agent.team, agent.kind)
        for each in exchange.delegators:
            # Whoever is acted for pays too: a chain of agents is no way around a limit.
            further = runtime.limits.for_principal(each.id, each.team, each.kind)
            limits = tuple({limit.key: limit for limit in (*limits, *further)}.values())
        exchange.reservation = await self._ledger.reserve(
            limits,
            tokens=tokens,
            stream=call.stream,
            lease_seconds=runtime.config.quota.lease_seconds,
        )
        if exchange.terms is not None and self._oversight is not None:
            await self._oversight.use(exchange, exchange.terms, runtime)

    def _record(self, exchange: Exchange, runtime: Runtime) -> None:
        try:
            entry = self._audit.append("access.intent", records.intent(exchange, runtime, self._audit))
        except AuditUnavailableError as error:
            raise UnavailableError(str(error), code="audit_unavailable") from error
        exchange.intent = entry
        exchange.digest = self._audit.digester()
        exchange.request_id = entry.event_id
        if exchange.terms is not None and self._oversight is not None:
            self._oversight.record_use(exchange)

    async def _seal_request(self, exchange: Exchange, case: str) -> None:
        """Keep the content of the call, as the policy asks."""
        if self._sealing is None:
            raise UnavailableError("This gateway cannot seal content.", code="sealing_unavailable")
        exchange.content = await self._sealing.begin(exchange, case)

    async def _durable(self, exchange: Exchange) -> tuple[bytes, bytes]:
        """Wait until the intent is on disk; return the header that names it. Called before the first byte."""
        assert exchange.intent is not None  # noqa: S101 - recorded by the step before
        try:
            linked = await exchange.intent.durable()
        except AuditUnavailableError as error:
            raise UnavailableError(str(error), code="audit_unavailable") from error
        return receipt_header(self._audit.log, self._audit.chain, linked)

    async def _relay(self, exchange: Exchange) -> None:
        call, protocol, answer = exchange.call, exchange.protocol, exchange.answer
        assert call and protocol and answer and exchange.reservation  # noqa: S101, PT018 - set by the steps before
        if answer.status != 200:
            await self._relay_error(exchange, answer)
            return
        exchange.meter = meter = protocol.meter(call, answer.status, answer.headers)
        headers = response_headers(answer.headers)
        headers += quota_headers(exchange.reservation.standings)
        headers.append((b"x-request-id", exchange.request_id.encode()))
        if exchange.decision is not None and exchange.decision.needs_notice:
            headers.append(NOTICE)
        if not call.stream:
            body = meter.feed(await answer.read(MAX_ANSWER_BYTES)) + meter.finish()
            await self._seal_answer(exchange, body)
            headers.append(await self._durable(exchange))
            headers.append((b"content-length", b"%d" % len(body)))
            await exchange.start(200, headers)
            await exchange.write(body, more=False)
            return
        headers.append(await self._durable(exchange))
        await exchange.start(200, headers)
        async for chunk in answer.chunks():
            data = meter.feed(chunk)
            if data:
                if not exchange.relayed:
                    self._observe.first_token(exchange)
                if exchange.content is not None and self._sealing is not None:
                    self._sealing.feed(exchange.content, data)
                await exchange.write(data, more=True)
        last = meter.finish()
        await self._seal_answer(exchange, last)
        await exchange.write(last, more=False)

    async def _seal_answer(self, exchange: Exchange, last: bytes) -> None:
        """Seal the answer, whose end is `last`, where the policy asks for it; its end is released afterwards."""
        content = exchange.content
        if content is not None and self._sealing is not None:
            self._sealing.feed(content, last)
            await self._sealing.end(exchange, content)
            exchange.content = None

    async def _relay_error(self, exchange: Exchange, answer: UpstreamAnswer) -> None:
        """Pass on what speaks of the caller's request; everything else is a failure of the backend."""
        if answer.status not in _PASSED_ON:
            raise backend_error(answer)
        body = caller_error(await answer.read(MAX_ERROR_BYTES))
        headers = [(b"content-type", b"application/json"), await self._durable(exchange)]
        headers.append((b"x-request-id", exchange.request_id.encode()))
        headers.append((b"content-length", b"%d" % len(body)))
        await exchange.start(answer.status, headers)
        await exchange.write(body, more=False)

    async def _settle(self, exchange: Exchange, outcome: str = "completed", cause: str = "") -> None:
        """End the call on every path: connection, backend, quota, outcome record. Idempotent."""
        if exchange.settled:
            return
        exchange.settled = True
        self._under_way.discard(exchange)
        if exchange.answer is not None:
            exchange.answer.close()
        if exchange.content is not None and self._sealing is not None:
            await self._sealing.give_up(exchange, exchange.content)
        if exchange.release_backend is not None and exchange.backend is not None:
            exchange.release_backend(exchange.backend)
        charged = 0
        if exchange.reservation is not None:
            charged = charged_tokens(exchange, outcome)
            used = exchange.reached_backend or (exchange.call is not None and exchange.call.local)
            await self._charging.charge(exchange.reservation, charged if used else None)
        if exchange.intent is not None:
            fields = records.outcome(exchange, outcome, cause, charged)
            self._audit.append("access.outcome", fields, keep=True, closes=exchange.intent)
        if exchange.meter is not None and exchange.call is not None:
            usage = exchange.meter.usage
            self._observe.used(exchange.call.resource_id, usage.input_tokens, usage.output_tokens)

    async def settle_late(self) -> None:
        """Try again what the ledger did not take. Call now and then."""
        await self._charging.settle_late()

    async def _refuse(self, exchange: Exchange, runtime: Runtime, error: GatewayError) -> None:
        """Answer a refusal or failure: recorded first where an identity was proven, then sent."""
        if not exchange.started:
            exchange.status = error.status  # what is about to be answered; the outcome says it
        await self._settle(exchange, "cut" if exchange.cut_by else "failed", error.code)
        receipt: list[tuple[bytes, bytes]] = []
        if exchange.intent is None:
            if exchange.peer is not None:
                error = await self._record_denied(exchange, runtime, error, receipt)
            else:
                exchange.request_id = uuid7()
        elif not exchange.started and not isinstance(error, UnavailableError):
            try:
                receipt.append(await self._durable(exchange))
            except UnavailableError as unavailable:
                error = unavailable
        self._observe.refused(exchange, error)
        protocol = exchange.protocol or runtime.default_protocol
        if exchange.started:
            if exchange.call is not None and exchange.call.stream:
                await exchange.write(protocol.stream_error(error, exchange.request_id), more=False)
            return
        headers, body = protocol.error(error, exchange.request_id)
        headers += [*error.headers, *receipt]
        if isinstance(error, LimitReached):
            headers += refusal_headers(error)
        if isinstance(error, IdentityRefusedError):
            headers.append((b"connection", b"close"))
        await exchange.start(error.status, headers)
        await exchange.write(body, more=False)

    async def _record_denied(
        self, exchange: Exchange, runtime: Runtime, error: GatewayError, receipt: list[tuple[bytes, bytes]]
    ) -> GatewayError:
        assert exchange.peer is not None  # noqa: S101 - checked by the caller
        if not self.refusals.take(exchange.peer.id):
            exchange.request_id = uuid7()
            return TooManyRefusalsError(
                f"Too many calls of {exchange.peer.id} were refused.",
                remedy="Correct the calls instead of repeating them.",
                code="too_many_refusals",
                headers=((b"retry-after", b"1"),),
            )
        try:
            fields = records.denied(exchange, runtime, error, self._audit)
            entry = self._audit.append("quota.exceeded" if isinstance(error, LimitReached) else "access.denied", fields)
            exchange.request_id = entry.event_id
            receipt.append(receipt_header(self._audit.log, self._audit.chain, await entry.durable()))
        except AuditUnavailableError as unavailable:
            exchange.request_id = exchange.request_id or uuid7()
            return UnavailableError(str(unavailable), code="audit_unavailable")
        return error

    async def _list_models(self, exchange: Exchange, runtime: Runtime) -> None:
        """Answer the model listing: only what this caller may use, decided model by model."""
        call, protocol = exchange.call, exchange.protocol
        assert call and protocol  # noqa: S101, PT018 - set by the steps before
        await self._authorise(exchange, runtime)
        await self._reserve(exchange, runtime)
        wanted = [call.resource_id] if call.resource_id else list(runtime.models)
        granted = [name for name in wanted if name in runtime.models and await self._may_use(exchange, runtime, name)]
        if call.resource_id and not granted:
            reason = runtime.policies.reason("model_not_granted")
            raise PolicyDeniedError(reason.message, remedy=reason.remedy, code=reason.code)
        self._record(exchange, runtime)
        body = protocol.list_models(
            [{"id": name, "created": 0, "owned_by": runtime.models[name].system or "govgateway"} for name in granted],
            single=bool(call.resource_id),
        )
        receipt = await self._durable(exchange)
        await exchange.start(
            200,
            [
                receipt,
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"x-request-id", exchange.request_id.encode()),
            ],
        )
        await exchange.write(body, more=False)
        await self._settle(exchange)

    async def _may_use(self, exchange: Exchange, runtime: Runtime, model: str) -> bool:
        assert exchange.call is not None  # noqa: S101 - set by the steps before
        for action in ("model.infer", "model.embed"):
            call = replace(exchange.call, action=action, resource_id=model)
            if (await self._decision(exchange, runtime, call))[0].allow:
                return True
        return False

    def replace_agents(self, agents: RegistrySnapshot) -> None:
        """Take a new state of the inventory; answers under way to who lost its standing are cut."""
        self.agents = agents
        for exchange in tuple(self._under_way):
            exchange.agent = agents.get(exchange.peer.id) if exchange.peer else None
            try:
                self._check_standing(exchange, agents)
            except IdentityRefusedError as error:
                exchange.cut(error)

    def replace_stops(self, stops: Mapping[str, Stop]) -> None:
        """Take what people stopped; calls and answers under way of a stopped system are cut."""
        self.stops = stops
        for exchange in tuple(self._under_way) if stops else ():
            resource = exchange.policy_input.get("resource")
            if resource and resource["system"] in stops:
                exchange.cut(stopped(resource["system"]))


def _check_allowed(decision: Decision, runtime: Runtime) -> None:
    if not decision.allow:
        reason = runtime.policies.reason(decision.reasons[0])
        raise PolicyDeniedError(
            reason.message,
            remedy=reason.remedy,
            code=reason.code,
            extensions={"reasons": list(decision.reasons)},
        )
