"""What a call leaves behind besides the audit log: metrics, and a log event for each refusal and failure."""

from collections import Counter as Tally
from time import perf_counter_ns
from typing import TypeVar

import structlog
from prometheus_client import Histogram

from gateway.authorization.engine import Decision
from gateway.clock import NANOSECONDS, Clock, system_clock
from gateway.errors import GatewayError, UnavailableError, UpstreamError
from gateway.exchange import Exchange
from gateway.quota.ledger import LimitReached
from gateway.telemetry import metrics
from gateway.telemetry.metrics import STAGES, StageTimes
from gateway.usage import UsageTally

_log = structlog.get_logger("govgateway.pipeline")

_FULL = len(STAGES) + 1

K = TypeVar("K")


class Observation:
    """Metrics of one worker. Counts are added up here and moved into the shared metrics by `flush`."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self.stages = StageTimes()
        self.usage = UsageTally()
        self._clock = clock
        self._in_flight = 0
        self._requests: Tally[tuple[str, int]] = Tally()
        self._decisions: Tally[bool] = Tally()
        self._input_tokens: Tally[str] = Tally()
        self._output_tokens: Tally[str] = Tally()
        self._upstream: dict[str, Histogram] = {}
        self._first_token: dict[str, Histogram] = {}

    def begin(self) -> None:
        """A call begins."""
        self._in_flight += 1

    def end(self, exchange: Exchange) -> None:
        """A call ended, whatever became of it."""
        self._in_flight -= 1
        self._count(exchange)
        operation = exchange.call.operation if exchange.call is not None else "unknown"
        self._requests[operation, exchange.status] += 1
        marks = exchange.marks
        metrics.REQUEST_SECONDS.observe((perf_counter_ns() - marks[0]) / 1e9)
        if len(marks) == _FULL:
            self.stages.add(marks)

    def _count(self, exchange: Exchange) -> None:
        if exchange.peer is None:
            return
        now = self._clock() // NANOSECONDS
        if exchange.intent is not None and exchange.call is not None:
            self.usage.call(exchange.peer.id, exchange.call.resource_id, exchange.call.action, now)
        elif exchange.agent is None:
            self.usage.unknown(exchange.peer.id, now)

    def decided(self, decision: Decision) -> None:
        """The policy decided."""
        self._decisions[decision.allow] += 1

    def upstream_head(self, exchange: Exchange) -> None:
        """The head of a backend's answer arrived."""
        assert exchange.backend is not None  # noqa: S101 - the answer is the backend's
        name = exchange.backend.name
        child = self._upstream.get(name)
        if child is None:
            child = self._upstream[name] = metrics.UPSTREAM_SECONDS.labels(name)
        child.observe((perf_counter_ns() - exchange.sent_ns) / 1e9)

    def first_token(self, exchange: Exchange) -> None:
        """The first bytes of a streamed answer went out."""
        assert exchange.call is not None  # noqa: S101 - a stream is the answer to a call
        model = exchange.call.resource_id
        child = self._first_token.get(model)
        if child is None:
            child = self._first_token[model] = metrics.FIRST_TOKEN_SECONDS.labels(model)
        child.observe((perf_counter_ns() - exchange.marks[0]) / 1e9)

    def used(self, model: str, input_tokens: int, output_tokens: int) -> None:
        """Tokens were used."""
        self._input_tokens[model] += input_tokens
        self._output_tokens[model] += output_tokens

    def refused(self, exchange: Exchange, error: GatewayError) -> None:
        """A call was refused or failed."""
        metrics.DENIALS.labels(error.slug, error.code).inc()
        if isinstance(error, LimitReached):
            metrics.QUOTA_REFUSALS.labels(error.standing.limit.name).inc()
        if exchange.cut_by is not None:
            metrics.STREAMS_CUT.labels(error.code).inc()
        broken = isinstance(error, UpstreamError | UnavailableError) or error.status >= 500
        _log.log(
            _WARNING if broken else _INFO,
            error.slug,
            code=error.code,
            detail=error.detail,
            status=error.status,
            request_id=exchange.request_id,
            principal=exchange.peer.id if exchange.peer else "",
            backend=exchange.backend.name if exchange.backend else "",
            trace_id=exchange.trace.trace_id if exchange.trace else "",
            cause=repr(error.__cause__) if broken and error.__cause__ else "",
        )

    def flush(self) -> None:
        """Move what is added up locally into the metrics."""
        self.stages.flush()
        metrics.IN_FLIGHT.set(self._in_flight)
        for (operation, status), count in _taken(self._requests):
            metrics.REQUESTS.labels(operation, str(status)).inc(count)
        for allowed, count in _taken(self._decisions):
            metrics.DECISIONS.labels("allow" if allowed else "deny").inc(count)
        for direction, tokens in (("input", self._input_tokens), ("output", self._output_tokens)):
            for model, count in _taken(tokens):
                metrics.TOKENS.labels(model, direction).inc(count)


def _taken(tally: "Tally[K]") -> list[tuple[K, int]]:
    items = list(tally.items())
    tally.clear()
    return items


_INFO, _WARNING = 20, 30
