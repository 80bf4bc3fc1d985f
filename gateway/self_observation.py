"""Puts on record, at least hourly, what the gateway counts and sees of itself: evidence beside the single calls.

The counters are those of the metrics, kept by listener, engine and observer for themselves; the records of calls come
from the pipeline. That the two agree is what an auditor reconciles.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway.clock import NANOSECONDS, system_clock
from gateway.config.model import GatewayConfig
from gateway.hops import hops_of
from gateway.secret_ages import DAY, SecretAges
from gateway.secret_services import SecretServices
from gateway.secrets.opening import secret_store
from gateway.secrets.store import Secret
from gateway.secrets.worker_store import FETCHED
from identity.registry import Agent

_log = structlog.get_logger("govgateway.observation")

HOUR = 3600

MAX_LISTED = 20
"""Most hops, credentials or identities in one record; further ones are in another, so that each has room."""

MAX_BACKENDS = 100
"""Most backends that a record counts one by one; those beyond are counted together, as `others`."""


@dataclass(slots=True)
class Counted:
    """Counters as they stand, cumulative since the start of the gateway."""

    accepted: int = 0
    refused: int = 0
    requests: int = 0
    in_flight: int = 0
    allow: int = 0
    deny: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    backends: dict[str, int] = field(default_factory=dict)


def read_counters(metrics_dir: str) -> Counted:
    """Add up the counters of all processes, past ones among them.

    Raises:
        OSError, ValueError, KeyError: a file of them cannot be read, or is damaged.
    """
    registry = CollectorRegistry()
    MultiProcessCollector(registry, metrics_dir)  # type: ignore[no-untyped-call]
    counted = Counted()
    for family in registry.collect():
        for sample in family.samples:
            _add(counted, sample.name.removeprefix("govgateway_"), sample.labels, int(sample.value))
    return counted


def _add(counted: Counted, name: str, labels: dict[str, str], value: int) -> None:
    match name:
        case "connections_accepted_total":
            counted.accepted += value
        case "handshake_failures_total":
            counted.refused += value
        case "requests_total":
            counted.requests += value
        case "requests_in_flight":
            counted.in_flight += value
        case "decisions_total":
            if labels["outcome"] == "allow":
                counted.allow += value
            else:
                counted.deny += value
        case "tokens_total":
            if labels["direction"] == "input":
                counted.input_tokens += value
            else:
                counted.output_tokens += value
        case "upstream_head_seconds_count":
            backend = labels["backend"]
            counted.backends[backend] = counted.backends.get(backend, 0) + value


class SelfObservation:
    """Writes `gateway.counts`, `gateway.hops`, `secret.inventory` and `identity.inventory`.

    Args:
        config: returns the running configuration.
        counters: returns the counters as they stand.
        ages: knows the ages of credentials.
        agents: returns the identities of the inventory.
        clock: UNIX nanoseconds.
        versions: returns the versions of the secrets that are fetched; another one is described at once.
    """

    def __init__(
        self,
        audit: AuditLog,
        config: Callable[[], GatewayConfig],
        counters: Callable[[], Counted],
        ages: SecretAges,
        agents: Callable[[], Iterable[Agent]],
        clock: Callable[[], int],
        versions: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._versions = versions
        self._known_versions: Mapping[str, int] = {}
        self._audit = audit
        self._config = config
        self._counters = counters
        self._ages = ages
        self._agents = agents
        self._clock = clock
        self._described: GatewayConfig | None = None
        self._day = -1
        self._since = clock()
        self._hour = self._since // NANOSECONDS // HOUR
        self._before = Counted()

    def tend(self) -> None:
        """Write what is due: call now and then. What the log does not take is due again the next time."""
        now = self._clock()
        config = self._config()
        try:
            day = now // NANOSECONDS // DAY
            versions = self._versions()
            if config is not self._described or day != self._day or versions != self._known_versions:
                self._describe(config)
                self._known_versions = versions
                if day != self._day:
                    self._list_identities()
                self._described, self._day = config, day
            if now // NANOSECONDS // HOUR != self._hour:
                self._count(now)
                self._hour = now // NANOSECONDS // HOUR
        except AuditUnavailableError:
            return

    def secrets(self) -> list[dict[str, Any]]:
        """Return the state of every credential, as `secret.inventory` has it."""
        config = self._config()
        return self._ages.inventory(config, config.compliance.secret_max_age_days)

    def end(self) -> None:
        """Write the last counts. Call when no worker runs any more.

        Raises:
            AuditUnavailableError: the log takes no record.
        """
        self._count(self._clock())

    def _describe(self, config: GatewayConfig) -> None:
        secrets = self._ages.inventory(config, config.compliance.secret_max_age_days)
        for some in _parted(hops_of(config)):
            self._audit.append("gateway.hops", {"hops": some})
        for some in _parted(secrets):
            self._audit.append("secret.inventory", {"secrets": some})

    def _list_identities(self) -> None:
        standing = sorted((each for each in self._agents() if each.status != "retired"), key=lambda each: each.id)
        for some in _parted([_state(each) for each in standing]):
            self._audit.append("identity.inventory", {"identities": some})

    def _count(self, now: int) -> None:
        """Write what was counted; counters that cannot be read are counted into the next window."""
        try:
            counted = self._counters()
        except (OSError, ValueError, KeyError) as error:
            _log.warning("counters-unreadable", detail=str(error))
            return
        self._audit.append("gateway.counts", _fields(counted, self._before, self._since, max(now, self._since)))
        self._since, self._before = now, counted


def open_self_observation(
    audit: AuditLog,
    config: Callable[[], GatewayConfig],
    agents: Callable[[], Iterable[Agent]],
    fetched: SecretServices,
) -> SelfObservation:
    """Return what observes a running gateway, `fetched` the secrets that it fetches.

    Raises:
        UnavailableError: the sealing key, from which the key of the digests is derived, cannot be had.
    """
    running = config()
    store = secret_store(running)

    def read(reference: str) -> Secret:
        return fetched.read(reference) if reference.startswith(FETCHED) else store.read(reference)

    def state(reference: str) -> Mapping[str, Any]:
        return fetched.state(reference) if reference.startswith(FETCHED) else store.state(reference)

    ages = SecretAges(running.state_dir, read(running.identity.seal_key).reveal(), read, system_clock, state)
    metrics_dir = os.environ["PROMETHEUS_MULTIPROC_DIR"]
    versions = fetched.keeper.versions
    return SelfObservation(audit, config, lambda: read_counters(metrics_dir), ages, agents, system_clock, versions)


def _state(agent: Agent) -> dict[str, Any]:
    state = {
        "agent": agent.id,
        "kind": agent.kind,
        "status": agent.status,
        "team": agent.team,
        "owner": agent.owner,
        "risk_tier": agent.risk_tier,
        "system": agent.system,
        "registered_at": agent.created_at,
    }
    return {**state, "reviewed_at": agent.last_reviewed} if agent.last_reviewed else state


def _parted(items: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the items in parts that a record has room for; one empty part where there is none."""
    return [items[start : start + MAX_LISTED] for start in range(0, max(1, len(items)), MAX_LISTED)]


def _more(now: int, before: int) -> int:
    """Return how far a counter went on. One that is lower than before began anew."""
    return now - before if now >= before else now


def _fields(counted: Counted, before: Counted, since: int, until: int) -> dict[str, Any]:
    backends = {name: _more(count, before.backends.get(name, 0)) for name, count in sorted(counted.backends.items())}
    named = [{"backend": name, "answers": count} for name, count in list(backends.items())[:MAX_BACKENDS]]
    if len(backends) > MAX_BACKENDS:
        named.append({"backend": "others", "answers": sum(list(backends.values())[MAX_BACKENDS:])})
    return {
        "since": str(since),
        "until": str(until),
        "connections": {
            "accepted": _more(counted.accepted, before.accepted),
            "refused": _more(counted.refused, before.refused),
        },
        "requests": _more(counted.requests, before.requests),
        "in_flight": counted.in_flight,
        "decisions": {"allow": _more(counted.allow, before.allow), "deny": _more(counted.deny, before.deny)},
        "backends": named,
        "input_tokens": _more(counted.input_tokens, before.input_tokens),
        "output_tokens": _more(counted.output_tokens, before.output_tokens),
    }
