"""What a call leaves behind besides the audit log: metrics, and a log event for each refusal and failure."""

from time import perf_counter_ns

import structlog
from prometheus_client import Counter, Histogram

from gateway.authorization.engine import Decision
from gateway.errors import GatewayError, UnavailableError, UpstreamError
from gateway.exchange import Exchange
from gateway.quota.ledger import LimitReached
from gateway.telemetry import metrics
from gateway.telemetry.metrics import STAGES, StageTimes

_log = structlog.get_logger("govgateway.pipeline")

_FULL = len(STAGES) + 1


class Observation:
    """Metrics of one worker. Label children are looked up once and kept."""

    def __init__(self) -> None:
        self.stages = StageTimes()
        self._in_flight = 0
        self._requests: dict[tuple[str, int], Counter] = {}
        self._upstream: dict[str, Histogram] = {}
        self._first_token: dict[str, Histogram] = {}
        self._tokens: dict[str, tuple[Counter, Counter]] = {}
        self._allow = metrics.DECISIONS.labels("allow")
        self._deny = metrics.DECISIONS.labels("deny")

    def begin(self) -> None:
        """A call begins."""
        self._in_flight += 1

    def end(self, exchange: Exchange) -> None:
        """A call ended, whatever became of it."""
        self._in_flight -= 1
        operation = exchange.call.operation if exchange.call is not None else "unknown"
        key = (operation, exchange.status)
        counter = self._requests.get(key)
        if counter is None:
            counter = self._requests[key] = metrics.REQUESTS.labels(operation, str(exchange.status))
        counter.inc()
        marks = exchange.marks
        metrics.REQUEST_SECONDS.observe((perf_counter_ns() - marks[0]) / 1e9)
        if len(marks) == _FULL:
            self.stages.add(marks)

    def decided(self, decision: Decision) -> None:
        """The policy decided."""
        (self._allow if decision.allow else self._deny).inc()

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
        pair = self._tokens.get(model)
        if pair is None:
            pair = (metrics.TOKENS.labels(model, "input"), metrics.TOKENS.labels(model, "output"))
            self._tokens[model] = pair
        pair[0].inc(input_tokens)
        pair[1].inc(output_tokens)

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


_INFO, _WARNING = 20, 30
