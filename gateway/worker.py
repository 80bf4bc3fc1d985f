"""A worker process: one pipeline, one audit chain, one connection pool, told what to do over a pipe.

From the control process: `tls` (a certificate to serve with), `prepare` and then `commit` or `abort` (a generation of
configuration and policies), `drain`. To it: `ready`; `status` a few times a second, which is also the sign of life;
`prepared`, `reloaded` or `refused`.
"""

import asyncio
import gc
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
import uvloop

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway import app
from gateway.approvals.gate import OversightGate
from gateway.authentication import BearerAuthentication
from gateway.authorization.cache import DecisionCache
from gateway.authorization.shadow import Shadow
from gateway.clock import system_clock
from gateway.config import GatewayConfig, config_digest, load_config
from gateway.errors import ConfigError, UnavailableError
from gateway.listener.channel import Channel
from gateway.listener.server import ListenerServer
from gateway.listener.tls import TlsMaterial
from gateway.observation import Observation
from gateway.pipeline import Pipeline
from gateway.runtime import Runtime
from gateway.secrets.opening import secret_store
from gateway.secrets.worker_store import WorkerSecrets
from gateway.telemetry import metrics
from gateway.telemetry.listener import ListenerEvents
from gateway.telemetry.logging import configure_logging
from identity.bundle import TrustBundle, parse_jwks
from identity.errors import IdentityError
from identity.registry import Registry

_log = structlog.get_logger("govgateway.worker")

HEARTBEAT_SECONDS = 0.25
"""How often a worker looks for changes of the inventory, flushes metrics and reports (seconds)."""

USAGE_SECONDS = 5.0
"""How often a worker tells the inventory who called what (seconds)."""

SHADOW_SECONDS = 1.0
"""How often a worker tells what a candidate revision would have decided otherwise (seconds)."""

SWITCH_SECONDS = 0.0005
"""How long the event loop may hold the interpreter while the audit writer waits for it (seconds)."""


def run_worker(index: int, sock: socket.socket, channel: Channel, config_path: str, workers: int) -> None:
    """Serve until told to drain. The entry point of a worker process."""
    sys.setswitchinterval(SWITCH_SECONDS)
    config = _with_workers(load_config(Path(config_path)), workers)
    configure_logging(config.telemetry.log_level, config.telemetry.log_format)
    uvloop.run(Worker(index, sock, channel, Path(config_path), config).main())


class Worker:
    """Everything one worker process runs."""

    def __init__(
        self, index: int, sock: socket.socket, channel: Channel, config_path: Path, config: GatewayConfig
    ) -> None:
        self._index = index
        self._sock = sock
        self._channel = channel
        self._config_path = config_path
        self._config = config
        self._observation = Observation()
        self._registry_error = ""
        self._oversight_error = ""
        self._bundles: dict[str, TrustBundle] = {}
        self._prepared: tuple[int, Runtime] | None = None
        self._shadow_told = 0.0
        self._shadow_seen = 0

    async def main(self) -> None:
        """Build, serve, drain."""
        await self._channel.open()
        config = self._config
        registry = app.open_registry(config)
        oversight_store = app.open_oversight(config)
        self._cache = DecisionCache(config.policy.cache_entries)
        self._audit = audit = app.open_audit_log(config, f"worker-{self._index}")
        ledger = app.open_ledger(config)
        self._secrets = WorkerSecrets(secret_store(config), self._channel.send)
        upstream = app.build_upstream(self._secrets)
        first = await self._channel.receive()
        if first is None or first["type"] != "tls":
            return
        self._pipeline = pipeline = Pipeline(
            runtime=await self._build(config, first["generation"]),
            agents=registry.snapshot(entries=False),
            audit=audit,
            ledger=ledger,
            upstream=upstream,
            observation=self._observation,
            clock=system_clock,
            used_tokens=registry.used_tokens,
            receipts=app.receipts(config),
            sealing=(sealing := app.content_sealing(config, audit)),
            oversight=(gate := OversightGate(audit, oversight_store, system_clock)),
        )
        self._gate = gate
        self._look_at_oversight()
        try:
            server = self._server(pipeline, audit, first)
            await server.start()
            gc.collect()
            gc.freeze()
            self._channel.send({"type": "ready", "pid": os.getpid()})
            await self._take_shadow(first["shadow"])
            beat = asyncio.create_task(self._beat(registry, server))
            counting = asyncio.create_task(self._count_usage(registry))
            seconds = await self._obey(server)
            await server.drain(seconds)
            for task in (beat, counting):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await self._store_usage(registry)
            await self._take_shadow("")
        finally:
            await upstream.close()
            await sealing.close()
            await audit.close()
            ledger.close()
            registry.close()
            oversight_store.close()
            self._observation.flush()
            self._channel.close()

    def _server(self, pipeline: Pipeline, audit: AuditLog, message: dict[str, Any]) -> ListenerServer:
        return ListenerServer(
            pipeline,
            self._sock,
            tls=self._material(message),
            bundles=lambda: self._bundles,
            limits=self._config.listener.limits,
            observer=ListenerEvents(audit),
            clock=system_clock,
            shared_socket=self._config.listener.workers > 1,
            authenticate=self._authentication(message["id"]),
        )

    def _authentication(self, gateway_id: str) -> BearerAuthentication | None:
        bearer = self._config.identity.jwt_bearer
        if not bearer.routes:
            return None
        return BearerAuthentication(bearer, gateway_id, lambda: self._bundles, system_clock)

    def _material(self, message: dict[str, Any]) -> TlsMaterial:
        """Take certificate, key and bundles as the control process sent them."""
        bundles = {name: parse_jwks(name, text.encode()) for name, text in message["bundles"].items()}
        if bundles != self._bundles:
            self._bundles = bundles
        metrics.CERTIFICATE_EXPIRY.labels("gateway").set(message["not_after"])
        return TlsMaterial.from_bundles(
            message["chain"].encode(),
            message["key"].encode(),
            self._bundles,
            certificate_required=not self._config.identity.jwt_bearer.routes,
        )

    async def _obey(self, server: ListenerServer) -> float:
        """Do as told until told to drain; return the seconds that the calls under way have."""
        while (message := await self._channel.receive()) is not None:
            match message["type"]:
                case "tls":
                    self._take_tls(server, message)
                case "prepare":
                    await self._prepare(message)
                case "commit":
                    await self._commit(server, message)
                case "abort":
                    self._prepared = None
                case "secret":
                    self._secrets.heard(message)
                case "shadow":
                    await self._take_shadow(message["digest"])
                case "drain":
                    return float(message["seconds"])
        _log.warning("control-process-gone", detail="draining")
        return self._config.listener.drain_seconds

    async def _take_shadow(self, digest: str) -> None:
        """Let a candidate revision decide beside the active one, or none."""
        before, self._pipeline.shadow = self._pipeline.shadow, None
        if before is not None:
            await asyncio.to_thread(before.stop)
        if digest:
            try:
                policies = await asyncio.to_thread(app.stored_policies, self._config, digest, "embedded")
            except ConfigError as error:
                _log.error("shadow-refused", detail=str(error))
                return
            self._pipeline.shadow = Shadow(policies, digest, system_clock, _count_shadowed)

    async def _build(self, config: GatewayConfig, generation: dict[str, Any]) -> Runtime:
        """Build what the control process checked: the same file, the same policies."""
        if config_digest(config) != generation["config_digest"]:
            raise ConfigError("The configuration file was changed at this moment; reload again.")
        policies = await asyncio.to_thread(app.stored_policies, config, generation["policy"])
        return app.build_runtime(config, policies, self._cache, opa_address=generation["opa"])

    async def _prepare(self, message: dict[str, Any]) -> bool:
        """Build a generation beside the running one."""
        self._prepared = None
        try:
            config = _with_workers(load_config(self._config_path), self._config.listener.workers)
            self._prepared = (message["id"], await self._build(config, message))
        except (ConfigError, IdentityError) as error:
            _log.error("reload-refused", detail=str(error))
            self._channel.send({"type": "refused", "id": message["id"], "detail": str(error)})
            return False
        if message["type"] == "prepare":
            self._channel.send({"type": "prepared", "id": message["id"]})
        return True

    async def _commit(self, server: ListenerServer, message: dict[str, Any]) -> None:
        """Take a prepared generation whole; one that was started meanwhile prepares it now."""
        prepared = self._prepared
        if (prepared is None or prepared[0] != message["id"]) and not await self._prepare(message):
            return
        assert self._prepared is not None  # noqa: S101 - prepared above
        (_, runtime), self._prepared = self._prepared, None
        before, self._pipeline.runtime = self._pipeline.runtime, runtime
        self._secrets.local = secret_store(runtime.config)
        self._take_tls(server, message["tls"])
        self._channel.send({"type": "reloaded", "id": message["id"]})
        app.retire_runtime(before)

    def _take_tls(self, server: ListenerServer, message: dict[str, Any]) -> None:
        before = self._bundles
        server.replace_tls(self._material(message))
        fewer = {
            name
            for name, bundle in before.items()
            if name not in self._bundles or not set(bundle.authorities) <= set(self._bundles[name].authorities)
        }
        if fewer:
            # Whoever an authority vouched for that is gone now has to prove itself again.
            server.close_connections(lambda peer: peer.identity is None or peer.identity.trust_domain in fewer)

    async def _beat(self, registry: Registry, server: ListenerServer) -> None:
        while True:
            self._look_at_registry(registry)
            self._look_at_oversight()
            await self._pipeline.settle_late()
            self._observation.flush()
            self._flush_audit_metrics()
            self._report_shadow()
            self._channel.send(
                {
                    "type": "status",
                    "pid": os.getpid(),
                    "connections": server.connections,
                    "requests": server.requests_under_way,
                    "audit": {"ready": self._audit.healthy, "detail": self._audit.reason},
                    "registry": {"ready": not self._registry_error, "detail": self._registry_error},
                    "oversight": {"ready": not self._oversight_error, "detail": self._oversight_error},
                    "stopped": sorted(self._pipeline.stops),
                    "secrets": self._secrets.take_used(),
                    "backends": self._pipeline.runtime.balancer.snapshot(),
                    "policy_revision": self._pipeline.runtime.policies.revision,
                }
            )
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _report_shadow(self) -> None:
        """Tell what the candidate revision would have decided otherwise, once a second at most, and only news."""
        shadow = self._pipeline.shadow
        now = time.monotonic()
        if shadow is None or now - self._shadow_told < SHADOW_SECONDS or shadow.seen == self._shadow_seen:
            return
        self._shadow_told, self._shadow_seen = now, shadow.seen
        self._channel.send({"type": "shadow", "pid": os.getpid(), "report": shadow.report()})

    async def _count_usage(self, registry: Registry) -> None:
        while True:
            await asyncio.sleep(USAGE_SECONDS)
            await self._store_usage(registry)
            for spiffe_id, count in self._pipeline.refusals.suppressed().items():
                with suppress(AuditUnavailableError):
                    self._audit.append("access.denials_suppressed", {"principal": spiffe_id, "count": count})

    async def _store_usage(self, registry: Registry) -> None:
        rows = self._observation.usage.take()
        try:
            await asyncio.to_thread(registry.usage.record, rows)
        except IdentityError as error:
            self._observation.usage.give_back(rows)
            _log.warning("usage-not-stored", detail=str(error))

    def _look_at_registry(self, registry: Registry) -> None:
        try:
            if registry.generation() != self._pipeline.agents.generation:
                self._pipeline.replace_agents(registry.snapshot(entries=False))
            self._registry_error = ""
        except IdentityError as error:
            # What is known goes on working; readiness says that changes do not arrive.
            if not self._registry_error:
                _log.error("registry-unreadable", detail=str(error))
            self._registry_error = str(error)

    def _look_at_oversight(self) -> None:
        try:
            if self._gate.look():
                self._pipeline.replace_stops(self._gate.stops)
            self._oversight_error = ""
        except UnavailableError as error:
            # What is stopped stays so; readiness says that changes do not arrive.
            if not self._oversight_error:
                _log.error("oversight-unreadable", detail=error.detail)
            self._oversight_error = error.detail

    def _flush_audit_metrics(self) -> None:
        metrics.AUDIT_BACKLOG.set(self._audit.backlog)
        metrics.AUDIT_LAG.set(self._audit.last_commit_seconds)
        metrics.AUDIT_HEALTHY.labels(f"worker-{self._index}").set(1 if self._audit.healthy else 0)
        hits, misses = self._cache.hits, self._cache.misses
        self._cache.hits = self._cache.misses = 0
        metrics.CACHE.labels("hit").inc(hits)
        metrics.CACHE.labels("miss").inc(misses)


def _count_shadowed(change: str) -> None:
    metrics.POLICY_SHADOW.labels(change).inc()


def _with_workers(config: GatewayConfig, workers: int) -> GatewayConfig:
    """Put in the number of workers that run: the command line may have named another than the file."""
    return config.model_copy(update={"listener": config.listener.model_copy(update={"workers": workers})})
