"""Prometheus metrics of the data plane, shared by all workers through files.

Workers write, the control process reads (prometheus_client's multiprocess mode), so
`PROMETHEUS_MULTIPROC_DIR` is set before this module is imported wherever metrics shall leave the process.
"""

from prometheus_client import Counter, Gauge, Histogram

STAGES = ("identify", "parse", "decide", "reserve", "record", "forward", "relay", "settle")
"""Steps of the life of a request, in order."""

_LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)

REQUESTS = Counter("govgateway_requests_total", "Calls answered.", ["operation", "status"])
REQUEST_SECONDS = Histogram(
    "govgateway_request_duration_seconds", "From the head of a call to the end of its answer.", buckets=_LATENCY
)
DECISIONS = Counter("govgateway_decisions_total", "Policy decisions.", ["outcome"])
DENIALS = Counter("govgateway_denials_total", "Calls refused, by problem type and reason code.", ["problem", "reason"])
CACHE = Counter("govgateway_decision_cache_total", "Look-ups in the decision cache.", ["result"])
POLICY_ACTIVATIONS = Counter("govgateway_policy_activations_total", "Revisions and what became of them.", ["outcome"])
POLICY_SHADOW = Counter(
    "govgateway_policy_shadow_decisions_total", "Calls a watched candidate decided, by what differed.", ["change"]
)
UPSTREAM_SECONDS = Histogram(
    "govgateway_upstream_head_seconds", "From sending a call to the head of the answer.", ["backend"], buckets=_LATENCY
)
FIRST_TOKEN_SECONDS = Histogram(
    "govgateway_time_to_first_token_seconds",
    "From the head of a streamed call to the first byte of its answer's body.",
    ["model"],
    buckets=_LATENCY,
)
TOKENS = Counter("govgateway_tokens_total", "Tokens used.", ["model", "direction"])
QUOTA_REFUSALS = Counter("govgateway_quota_refusals_total", "Calls refused by a limit.", ["limit"])
STREAMS_CUT = Counter("govgateway_streams_cut_total", "Answers cut while under way.", ["cause"])
HANDSHAKE_FAILURES = Counter("govgateway_handshake_failures_total", "TLS handshakes refused.", ["rule"])
CONNECTIONS_ACCEPTED = Counter(
    "govgateway_connections_accepted_total", "TLS handshakes that ended with a proven identity."
)
HTTP_REFUSALS = Counter("govgateway_http_refusals_total", "Requests refused before routing.", ["rule"])
CONNECTIONS = Gauge("govgateway_connections", "Open connections.", multiprocess_mode="livesum")
IN_FLIGHT = Gauge("govgateway_requests_in_flight", "Calls under way.", multiprocess_mode="livesum")
AUDIT_BACKLOG = Gauge(
    "govgateway_audit_backlog_records", "Audit records waiting for the disk.", multiprocess_mode="livesum"
)
AUDIT_LAG = Gauge("govgateway_audit_commit_seconds", "Duration of the last group commit.", multiprocess_mode="livemax")
# With a label, so that a process that only imports this module reports nothing.
AUDIT_HEALTHY = Gauge(
    "govgateway_audit_healthy", "1 while the log can be written.", ["log"], multiprocess_mode="livemin"
)
AUDIT_SINK_LAG = Gauge(
    "govgateway_audit_sink_waiting_records", "Records that wait for a sink.", ["sink"], multiprocess_mode="livemax"
)
AUDIT_SINK_HEALTHY = Gauge(
    "govgateway_audit_sink_healthy", "1 while a sink takes records.", ["sink"], multiprocess_mode="livemin"
)
AUDIT_TREE_SIZE = Gauge(
    "govgateway_audit_tree_records", "Records in the signed tree of the audit log.", multiprocess_mode="livemax"
)
DAILY_EVALUATION = Gauge(
    "govgateway_compliance_evaluated_timestamp_seconds",
    "When a day was last evaluated against the controls (UNIX time).",
    multiprocess_mode="max",
)
DAILY_EVALUATION_FAILURES = Counter(
    "govgateway_compliance_evaluation_failures_total", "Attempts to evaluate a day that failed."
)
CERTIFICATE_EXPIRY = Gauge(
    "govgateway_certificate_expiry_timestamp_seconds",
    "When a certificate expires (UNIX time).",
    ["certificate"],
    multiprocess_mode="livemin",
)
WORKLOAD_ANSWERS = Counter("govgateway_workload_api_answers_total", "Answers of the Workload API.", ["method"])
WORKLOAD_REFUSALS = Counter("govgateway_workload_api_refusals_total", "Workloads refused.", ["rule"])
WORKLOAD_CONNECTIONS = Gauge(
    "govgateway_workload_api_connections", "Open connections of the Workload API.", multiprocess_mode="livesum"
)
SPIRE_AWAY = Gauge(
    "govgateway_spire_away", "1 while the Workload API that this gateway lives by is away.", multiprocess_mode="livemax"
)
STAGE_SECONDS = Counter(
    "govgateway_stage_seconds_total", "Time spent in each step of the life of a request, waiting included.", ["stage"]
)
STAGE_REQUESTS = Counter("govgateway_stage_requests_total", "Calls that went through all the steps.")


class StageTimes:
    """Adds up the time of each step in plain integers; `flush` moves the sums into the metrics.

    The steps are timed on every call: eight clock readings cost less than one metric update.
    """

    def __init__(self) -> None:
        self._nanoseconds = [0] * len(STAGES)
        self._requests = 0
        self._children = [STAGE_SECONDS.labels(stage) for stage in STAGES]

    def add(self, marks: list[int]) -> None:
        """Add one call: `marks` are readings of a nanosecond clock, one before each step and one at the end."""
        sums = self._nanoseconds
        for index in range(len(STAGES)):
            sums[index] += marks[index + 1] - marks[index]
        self._requests += 1

    def flush(self) -> None:
        """Move the sums into the metrics."""
        for index, child in enumerate(self._children):
            child.inc(self._nanoseconds[index] / 1e9)
            self._nanoseconds[index] = 0
        STAGE_REQUESTS.inc(self._requests)
        self._requests = 0
