"""The control process: holds the authority, starts and supervises the workers, serves admin API and operations.

It never handles a model call. What the workers need of the authority, a certificate of their own, they get over
their pipe; the signing key stays here.
"""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog
from fastapi import APIRouter
from prometheus_client.multiprocess import mark_process_dead
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway import __version__, app
from gateway.admin.access import AccessControl
from gateway.admin.app import Control, Reloaded, create_admin_app
from gateway.admin.inventory import inventory_routes
from gateway.admin.opa_reports import OpaReports, opa_routes
from gateway.admin.oversight import OversightDesk, oversight_routes
from gateway.admin.persons import Persons
from gateway.admin.policy import policy_routes
from gateway.admin.renewal import renewal_routes
from gateway.admin.token_exchange import TokenExchange
from gateway.audit_services import AuditServices
from gateway.clock import NANOSECONDS, system_clock
from gateway.config import GatewayConfig, config_digest, show_config
from gateway.daily_evaluation import DailyEvaluation
from gateway.errors import ConfigError, UnavailableError
from gateway.gateway_identity import GatewayIdentity
from gateway.generations import Generations
from gateway.identity_services import IdentityServices
from gateway.listener.server import ListenerServer
from gateway.listener.tls import load_key_pair
from gateway.listener.workers import Supervisor, WorkerEvent
from gateway.local_control import LocalControl, Operation
from gateway.operator_requests import operator_requests
from gateway.policy_activation.following import Follower
from gateway.policy_activation.reconciling import correction_of
from gateway.policy_activation.shadowing import Shadowing
from gateway.policy_activation.sources import Tls, source_of
from gateway.process import address_of, bind, leave_no_core, only_gateway, remove_old_metrics
from gateway.reloading import WorkerReload
from gateway.secret_services import SecretServices
from gateway.secrets.opening import secret_store
from gateway.self_observation import open_self_observation
from gateway.telemetry import metrics
from gateway.telemetry.listener import ListenerEvents
from gateway.telemetry.logging import configure_logging
from gateway.telemetry.operations import OperationsApp, Part
from gateway.worker import run_worker
from identity.attestation.base import SourceLimiter
from identity.federation_fetching import spiffe_tls
from identity.fetching import FetchError, Inspect
from identity.registry import Agent, RegistrySnapshot
from identity.spiffe_id import SpiffeId
from identity.verification import PeerIdentity

_log = structlog.get_logger("govgateway.control")

START_SECONDS = 60.0
"""How long the workers may take to become ready (seconds)."""

SILENCE_SECONDS = 5.0
"""After how long without a sign of life a worker counts as not ready (seconds)."""

RECORD_SECONDS = 30.0
"""How long a decision of a person waits for its record to be durable (seconds)."""

RENEWALS_PER_MINUTE = 60
"""How often one identity, which may run on many machines, may renew its certificates."""


def run_control(config_path: Path, config: GatewayConfig) -> int:
    """Run the gateway until SIGTERM or SIGINT. Returns the exit status.

    Raises:
        ConfigError, IdentityError, AuditError: the gateway cannot start; nothing was served.
    """
    configure_logging(config.telemetry.log_level, config.telemetry.log_format)
    leave_no_core()
    with only_gateway(config.state_dir):
        remove_old_metrics(config.state_dir / "metrics")
        generations = Generations(config_path, config)
        app.trust_bundles(config)  # refused before anything listens
        data_plane = bind(config.listener.address, config.listener.port, "listener")
        # Before the other sockets are opened, so that the workers do not inherit them.
        supervisor = Supervisor(
            run_worker,
            data_plane,
            config.listener.workers,
            (str(config_path.resolve()), config.listener.workers),
        )
        operations = bind(config.operations.address, config.operations.port, "operations")
        admin = bind(config.admin.address, config.admin.port, "admin") if config.admin.enabled else None
        served = config.identity.endpoint
        endpoint = bind(served.address, served.port, "identity.endpoint") if served.enabled else None
        control = ControlProcess(generations, admin, operations, endpoint)
        status = asyncio.run(control.main(supervisor, data_plane))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # everything is on disk: a second signal changes nothing
        return status


class ControlProcess:
    """Everything the control process runs (`gateway.admin.access.ControlState` among it)."""

    def __init__(
        self,
        generations: Generations,
        admin_socket: socket.socket | None,
        operations_socket: socket.socket,
        endpoint_socket: socket.socket | None,
    ) -> None:
        self._endpoint_socket = endpoint_socket
        self._generations = generations
        self._admin_socket = admin_socket
        self._operations_socket = operations_socket
        self._supervisor: Supervisor | None = None
        self._admin: ListenerServer | None = None
        self._access: AccessControl | None = None
        self._stop = asyncio.Event()
        self._workers = WorkerReload(lambda: self._supervisor)
        self._forker_lost = False
        self._follower = self._following()

    # what the control plane decides by

    @property
    def config(self) -> GatewayConfig:
        """The running configuration."""
        return self._generations.config

    @property
    def policies(self) -> Any:
        """The active policies."""
        return self._generations.runtime.policies

    @property
    def engine(self) -> Any:
        """Their engine."""
        return self._generations.runtime.engine

    @property
    def agents(self) -> RegistrySnapshot:
        """The inventory."""
        return self._identity.agents

    async def main(self, supervisor: Supervisor, data_plane: socket.socket) -> int:
        """Start everything, wait for a signal, drain."""
        loop = asyncio.get_running_loop()
        self._supervisor = supervisor
        self._log = AuditServices(self.config)
        await self._log.begin()
        self._audit = audit = app.open_audit_log(self.config, "control")
        self._identity = _identity(self.config, audit)
        self._secrets = SecretServices(self.config, self._identity, audit, supervisor.send)
        self._secrets.begin()
        self._generations.attach(audit, self._identity, self._workers, self._taken)
        self._shadowing = Shadowing(self._generations, audit, supervisor.broadcast)
        local = LocalControl(self.config.state_dir, self._operator_requests(loop))
        await self._record_start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_by_signal)
        operations = await self._serve_operations(loop)
        status = 0
        try:
            await self._identity.start(self._endpoint_socket)
            await self._generations.start_engines()
            await supervisor.start(START_SECONDS, on_event=self._worker_event, on_message=self._worker_message)
            if self._admin_socket is not None:
                self._admin = self._admin_server(self._admin_socket)
                await self._admin.start()
            _log.info("ready", address=address_of(data_plane), workers=self.config.listener.workers)
            print(f"Ready: https://{address_of(data_plane)}", flush=True)  # noqa: T201 - for the person who started it
            await local.start()
            tasks = [asyncio.create_task(work) for work in self._background(audit)]
            if self._follower is not None:
                tasks.append(asyncio.create_task(self._follower.run()))
            await self._stop.wait()
            _log.info("draining", seconds=self.config.listener.drain_seconds)
            await local.close()
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            if self._admin is not None:
                await self._admin.drain(2)
            await supervisor.drain(self.config.listener.drain_seconds)
            status = 1 if self._forker_lost else 0
        finally:
            operations.close()
            await self._close(audit, status)
        return status

    async def _close(self, audit: AuditLog, status: int) -> None:
        """Put the end on record and close what was opened."""
        await self._secrets.close()
        with contextlib.suppress(AuditUnavailableError):
            self._observation.end()
            audit.append("gateway.stopped", {"status": status})
        await self._log.stop_sinks()
        await audit.close()
        await self._log.close()
        await self._generations.engines.close()
        await self._identity.close()
        self._desk.store.close()

    # workers

    def _worker_event(self, event: WorkerEvent) -> None:
        level = "warning" if event.kind in {"exited", "killed", "forker-lost"} and not self._stop.is_set() else "info"
        getattr(_log, level)(
            f"worker-{event.kind}", worker=event.index, pid=event.pid, exit_code=event.exit_code, delay=event.delay
        )
        if event.kind == "started" and self._supervisor is not None:
            start = {"generation": self._generations.message(), "shadow": self._shadowing.digest}
            self._supervisor.send(event.index, {**self._identity.tls(), **start})
        elif event.kind == "exited":
            self._record_exit(event)
            mark_process_dead(event.pid)  # type: ignore[no-untyped-call]
        elif event.kind == "forker-lost":
            # No worker can be started any more: end, so that whatever supervises this process starts it anew.
            self._forker_lost = True
            self._stop.set()

    def _record_exit(self, event: WorkerEvent) -> None:
        if self._stop.is_set() and not event.exit_code:
            return
        fields = {"worker": event.index, "pid": event.pid, "exit_code": event.exit_code}
        with contextlib.suppress(AuditUnavailableError):
            self._audit.append("worker.exited", fields, keep=True)

    def _worker_message(self, index: int, message: dict[str, Any]) -> None:
        if message["type"] in {"prepared", "reloaded", "refused"}:
            self._workers.heard(index, message)
        elif message["type"] == "secret":
            self._secrets.heard(index, message)
        elif message["type"] == "status":
            self._secrets.used(message["secrets"])
        elif message["type"] == "shadow":
            self._shadowing.heard(index, message["pid"], message["report"])

    # reload

    def _reload_by_signal(self) -> None:
        async def attempt() -> None:
            with contextlib.suppress(ConfigError, UnavailableError):
                await self.reload("signal")

        self._reload_task = asyncio.create_task(attempt())

    async def reload(self, by: str) -> Reloaded:
        """Take the configuration and the policies anew (see `Generations.reload`)."""
        return await self._generations.reload(by)

    def _background(self, audit: AuditLog) -> Sequence[Coroutine[Any, Any, None]]:
        """Return what runs beside the serving."""
        daily = DailyEvaluation(lambda: self.config, self._generations.config_path, system_clock)
        return self._housekeeping(), daily.run(), self._secrets.keeper.run(), *self._log.start(audit)

    def _following(self) -> Follower | None:
        """Return what follows the source of revisions that the configuration names."""
        policy = self.config.policy
        if policy.source != "bundle" or not policy.bundle.url:
            return None
        source = source_of(policy.bundle, secret_store(self.config), self._gateway_tls)

        async def activate(content: bytes, where: str) -> None:
            await self._generations.activate(content, where, "pulled")

        return Follower(source, policy.bundle.poll_seconds, self._generations.policies.store.history, activate)

    def _gateway_tls(self, server_id: str) -> Tls:
        """Return TLS settings towards another gateway: it is verified by its SPIFFE ID and sees our certificate."""

        def settings() -> tuple[ssl.SSLContext, Inspect]:
            server = SpiffeId.parse(server_id)
            context, inspect = spiffe_tls(server, self._identity.bundles, system_clock() // NANOSECONDS)
            own = self._identity.tls()
            load_key_pair(context, own["chain"].encode(), own["key"].encode())
            return context, inspect

        return settings

    def _taken(self) -> None:
        self._secrets.take(self.config)
        if self._admin is not None:
            self._admin.replace_tls(self._identity.material())

    # audit

    def _identities(self) -> Collection[Agent]:
        return self.agents.agents.values()

    async def _record_start(self) -> None:
        config, policies = self.config, self.policies
        self._observation = open_self_observation(self._audit, lambda: self.config, self._identities, self._secrets)
        entry = self._audit.append(
            "gateway.started",
            {
                "version": __version__,
                "trust_domain": config.trust_domain,
                "workers": config.listener.workers,
                "config_digest": config_digest(config),
                "policy": {"revision": policies.revision, "data_digest": policies.data_digest},
            },
        )
        self._log.record_start(self._audit)
        self._generations.record_unsafe()
        correction = correction_of(app.open_audit_store(config), self._generations.policies.found)
        if correction is not None:
            _log.warning("policy-log-corrected", type=correction.type, cause=correction.fields.get("cause", ""))
            entry = self._audit.append(correction.type, correction.fields)
        activated = self._generations.policies.unrecorded
        if activated is not None:
            entry = self._audit.append("policy.activated", activated)
        await entry.durable()

    # listeners

    def _admin_server(self, sock: socket.socket) -> ListenerServer:
        access = self._access = AccessControl(lambda: self, self._audit, lambda: system_clock() // NANOSECONDS)
        control = Control(
            status=self.status,
            show_config=lambda: show_config(self.config),
            inventory=self._inventory_routes,
            policy=self._policy_routes,
            oversight=lambda access: oversight_routes(access, self._desk),
            reload=self.reload,
            federation=self._identity.federation,
            refresh=self._identity.refresh,
            exchange=self._exchange(),
        )
        return ListenerServer(
            create_admin_app(access, control),
            sock,
            tls=self._identity.material(),
            bundles=lambda: self._identity.bundles,
            limits=self.config.listener.limits,
            observer=ListenerEvents(self._audit),
            clock=system_clock,
        )

    def _inventory_routes(self, access: AccessControl) -> APIRouter:
        """Return the routes of the inventory, and that by which its identities renew themselves."""
        identity = self._identity
        router = inventory_routes(access, identity.registry, identity.record, str(identity.gateway_id))
        if isinstance(identity, IdentityServices):
            limiter = SourceLimiter(system_clock, per_minute=RENEWALS_PER_MINUTE, burst=RENEWALS_PER_MINUTE)
            router.include_router(renewal_routes(access, identity.remote_issuer, identity.authority.bundle, limiter))
        return router

    def _policy_routes(self, access: AccessControl) -> APIRouter:
        router = policy_routes(access, self._generations, self._shadowing)
        router.include_router(opa_routes(access, OpaReports(self._audit)))
        return router

    def _operator_requests(self, loop: asyncio.AbstractEventLoop) -> dict[str, Operation]:
        self._desk = self._oversight_desk(loop)
        return operator_requests(self._generations, self._shadowing, self.status, self._desk, self._listed_secrets)

    def _listed_secrets(self) -> list[dict[str, Any]]:
        return self._observation.secrets()

    def _oversight_desk(self, loop: asyncio.AbstractEventLoop) -> OversightDesk:
        def record(record_type: str, fields: dict[str, Any]) -> None:
            asyncio.run_coroutine_threadsafe(self._identity.record(record_type, fields), loop).result(RECORD_SECONDS)

        return OversightDesk(
            app.open_oversight(self.config),
            app.open_audit_store(self.config),
            record,
            self._stopped_by_worker,
            lambda: [model.system for model in self.config.models],
            system_clock,
        )

    def _stopped_by_worker(self) -> list[frozenset[str]]:
        assert self._supervisor is not None  # noqa: S101 - running
        ready = [worker for worker in self._supervisor.workers if worker.state == "ready"]
        return [frozenset(worker.status.get("stopped", ())) for worker in ready]

    def _exchange(self) -> Callable[[bytes, PeerIdentity], Awaitable[dict[str, Any]]] | None:
        delegation = self.config.identity.delegation
        if not delegation.enabled:
            return None
        identity = self._identity
        if not isinstance(identity, IdentityServices):
            return None
        exchange = TokenExchange(
            delegation,
            authority=identity.authority,
            gateway_id=str(identity.gateway_id),
            bundles=lambda: identity.bundles,
            used=identity.registry.used_tokens,
            record=identity.record,
            clock=system_clock,
            persons=self._persons(identity),
            audience=self.config.identity.jwt_bearer.audience,
        )
        return lambda body, peer: exchange.exchange(body, peer, identity.agents)

    def _persons(self, identity: GatewayIdentity) -> Persons | None:
        issuers = self.config.identity.delegation.persons
        if not issuers:
            return None
        try:
            return Persons(issuers, identity.registry.used_tokens, system_clock)
        except (FetchError, ValueError) as error:
            raise ConfigError(f"identity.delegation.persons: {error}") from error

    async def _serve_operations(self, loop: asyncio.AbstractEventLoop) -> asyncio.Server:
        config = Config(
            OperationsApp(self.parts, os.environ["PROMETHEUS_MULTIPROC_DIR"]),
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
        )
        config.load()
        state = ServerState()
        return await loop.create_server(lambda: HttpToolsProtocol(config, state, {}), sock=self._operations_socket)

    # state

    def parts(self) -> dict[str, Part]:
        """Return readiness part by part."""
        assert self._supervisor is not None  # noqa: S101 - running
        parts = {
            **self._identity.parts(),
            "audit.control": Part(self._audit.healthy, self._audit.reason),
            **{name: Part(not problem, problem) for name, problem in self._log.problems().items()},
        }
        engine_problem = self._generations.engines.problem(self._generations.digest)
        if engine_problem:
            parts["policy.engine"] = Part(ready=False, detail=engine_problem)
        secret_problem = self._secrets.keeper.problem()
        if secret_problem:
            parts["secrets"] = Part(ready=False, detail=secret_problem)
        now = time.monotonic()
        for worker in self._supervisor.workers:
            name = f"worker.{worker.index}"
            if worker.state != "ready":
                parts[name] = Part(ready=False, detail=f"the worker is {worker.state}; it is restarted by itself")
            elif now - worker.heard > SILENCE_SECONDS:
                parts[name] = Part(ready=False, detail=f"no sign of life for {now - worker.heard:.0f} seconds")
            else:
                parts[name] = self._generation_part(worker.status)
                for part in ("audit", "registry", "oversight"):
                    said = worker.status.get(part, {"ready": True, "detail": ""})
                    parts[f"{name}.{part}"] = Part(bool(said["ready"]), str(said["detail"]))
        return {name: Part(part.ready, "" if part.ready else part.detail) for name, part in parts.items()}

    def _generation_part(self, status: Mapping[str, Any]) -> Part:
        """Whether a worker decides by the active revision; just after a change its report may be older."""
        wanted, found = self.policies.revision, status.get("policy_revision")
        settled = time.monotonic() - self._generations.taken_at > SILENCE_SECONDS
        if found in {wanted, None} or not settled:
            return Part(ready=True)
        return Part(ready=False, detail=f"it decides by revision {found}, not {wanted}; restart the gateway")

    def status(self) -> dict[str, Any]:
        """Return the state of every part, for the control plane."""
        assert self._supervisor is not None  # noqa: S101 - running
        svid = self._identity.svid
        return {
            "version": __version__,
            "trust_domain": self.config.trust_domain,
            "policy": self._policy_status(),
            "federation": [asdict(each) for each in self._identity.federation()],
            "identity": self._identity.status(),
            "secrets": self._secrets.keeper.inventory(),
            "certificate": {"serial": svid.serial, "not_after": svid.not_after},
            "parts": {name: {"ready": part.ready, "detail": part.detail} for name, part in self.parts().items()},
            "workers": [
                {
                    "index": worker.index,
                    "pid": worker.pid,
                    "state": worker.state,
                    "restarts": worker.restarts,
                    "status": dict(worker.status),
                }
                for worker in self._supervisor.workers
            ],
        }

    def _policy_status(self) -> dict[str, Any]:
        activation = self._generations.policies.active.activation
        return {
            "revision": self.policies.revision,
            "data_digest": self.policies.data_digest,
            "bundle_digest": activation.digest,
            "activated_at": activation.time,
            "activated_by": activation.by,
            "source_problem": self._follower.problem if self._follower is not None else "",
            "shadow": self._shadowing.digest,
        }

    async def _housekeeping(self) -> None:
        """Look for what other processes changed, and tend the gateway's identity."""
        while True:
            metrics.AUDIT_HEALTHY.labels("control").set(1 if self._audit.healthy else 0)
            self._log.tend(self._audit)
            self._observation.tend()
            metrics.AUDIT_TREE_SIZE.set(self._log.tree.size)
            changes = await self._identity.tick()
            if changes.tls:
                assert self._supervisor is not None  # noqa: S101 - running
                self._supervisor.broadcast(self._identity.tls())
                if self._admin is not None:
                    self._admin.replace_tls(self._identity.material())
            if self._access is not None:
                for spiffe_id, count in self._access.refusals.suppressed().items():
                    with contextlib.suppress(AuditUnavailableError):
                        self._audit.append("admin.denials_suppressed", {"principal": spiffe_id, "count": count})
            await asyncio.sleep(0.5)


def _identity(config: GatewayConfig, audit: AuditLog) -> GatewayIdentity:
    if config.identity.source == "spire":
        from gateway.spire_identity import SpireIdentity  # noqa: PLC0415 - gRPC is loaded only where it is used

        return SpireIdentity(config, audit)
    return IdentityServices(config, audit)
