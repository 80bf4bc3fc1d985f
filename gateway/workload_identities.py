"""The Workload API as the gateway runs it: its issuer, its socket, its log events and metrics.

Imported only where the Workload API is configured: gRPC and its messages cost memory that others do not need.
"""

from collections.abc import Callable, Mapping, Sequence

import structlog

from gateway.clock import Clock
from gateway.config.model import Identity
from gateway.telemetry import metrics
from identity.authority import Authority
from identity.bundle import TrustBundle
from identity.issuance import Record
from identity.issuer import Issuer
from identity.registry import Registry
from identity.workload_api.server import WorkloadServer

_log = structlog.get_logger("govgateway.workload_api")


class WorkloadIdentities:
    """Serves the workloads of this machine."""

    def __init__(
        self,
        config: Identity,
        *,
        authority: Authority,
        registry: Registry,
        gateway_id: str,
        bundles: Callable[[], Mapping[str, TrustBundle]],
        record: Record,
        clock: Clock,
    ) -> None:
        """Args: bundles: of every trust domain, as they are now."""
        if config.workload_api.socket is None:
            raise ValueError("no socket is configured")
        own = authority.bundle().trust_domain
        self._issuer = Issuer(
            authority=authority,
            registry=registry,
            parent_id=gateway_id,
            federated=lambda: {name: bundle for name, bundle in bundles().items() if name != own},
            record=record,
            clock=clock,
            x509_ttl_seconds=config.svid_ttl_seconds,
            jwt_ttl_seconds=config.jwt_svid_ttl_seconds,
            jwt_issuer=config.endpoint.issuer,
        )
        self._server = WorkloadServer(
            config.workload_api.socket, self._issuer, _Events(), mode=int(config.workload_api.mode, 8)
        )
        self.path = config.workload_api.socket

    async def start(self) -> None:
        """Read the inventory and listen.

        Raises:
            IdentityError: the inventory cannot be read, or the socket cannot be made.
        """
        await self._issuer.tick()
        await self._server.start()
        _log.info("workload-api-ready", socket=str(self.path))

    async def tick(self, *, bundles_changed: bool) -> None:
        """Take in what changed and renew what is due.

        Raises:
            IdentityError: something cannot be read or issued; what is held stays served.
        """
        if bundles_changed:
            self._issuer.bundles_changed()
        metrics.WORKLOAD_CONNECTIONS.set(self._server.connections)
        await self._issuer.tick()

    async def close(self) -> None:
        """Stop listening and end every stream."""
        await self._server.close()


class _Events:
    """Log events and metrics of the Workload API."""

    def attested(self, uid: int, pid: int, selectors: frozenset[str]) -> None:
        _log.debug("workload-attested", uid=uid, pid=pid, selectors=sorted(selectors))

    def refused(self, rule: str, detail: str) -> None:
        metrics.WORKLOAD_REFUSALS.labels(rule).inc()
        _log.info("workload-refused", rule=rule, detail=detail)

    def served(self, method: str, spiffe_ids: Sequence[str]) -> None:
        metrics.WORKLOAD_ANSWERS.labels(method).inc()
        _log.debug("workload-served", method=method, ids=list(spiffe_ids))
