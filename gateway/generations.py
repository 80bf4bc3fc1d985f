"""Which generation of configuration and policies is in force, and the one way to another: whole, or not at all.

A generation is checked here, prepared by every worker, put on record, and only then taken by any of them. Whatever
fails before that leaves everything as it was.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import structlog

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway import app
from gateway.admin.app import Reloaded
from gateway.clock import NANOSECONDS, system_clock
from gateway.config import GatewayConfig, config_digest, load_config, show_config
from gateway.errors import ConfigError, UnavailableError
from gateway.gateway_identity import GatewayIdentity
from gateway.people import says_something
from gateway.policy_activation.candidates import Candidate
from gateway.policy_activation.engines import OpaServers
from gateway.policy_activation.policies import ActivePolicies
from gateway.policy_activation.store import Activation
from gateway.reloading import WorkerReload
from gateway.runtime import Runtime
from gateway.telemetry import metrics
from identity.bundle import TrustBundle
from identity.errors import IdentityError

_log = structlog.get_logger("govgateway.generations")

T = TypeVar("T")

_RESTART = ("trust_domain", "state_dir", "listener", "admin", "operations", "audit", "identity", "quota")
"""Parts of the configuration that only a restart changes."""

_RESTART_POLICY = ("source", "engine", "opa")


class Generations:
    """Holds the running generation in the control process.

    Args:
        config_path: the configuration file.
        config: as it was read at the start.

    Attributes:
        policies: which revision is active.
        engines: the OPA servers that this process runs.
        runtime: the running generation, as this process uses it.
        digest: of the bundle that it decides by.
        taken_at: when it was taken (monotonic seconds).
        config_path: the configuration file.

    Raises:
        ConfigError: configuration or policies cannot be used.
    """

    def __init__(self, config_path: Path, config: GatewayConfig) -> None:
        self.config_path = config_path
        self.policies = ActivePolicies(app.policy_store(config), lambda: system_clock() // NANOSECONDS)
        candidate = self.policies.start(config.policy)
        self.engines = OpaServers(config)
        self.digest = candidate.digest
        self.runtime = self._runtime(config, candidate)
        self._lock = asyncio.Lock()
        self.workers: WorkerReload
        self._audit: AuditLog
        self._identity: GatewayIdentity
        self._taken: Callable[[], None] = _nothing
        self.taken_at = time.monotonic()

    def attach(
        self, audit: AuditLog, identity: GatewayIdentity, workers: WorkerReload, taken: Callable[[], None]
    ) -> None:
        """Name what a change involves, before the first.

        Args:
            audit: where changes are recorded.
            identity: takes the federated bundles of a new configuration.
            workers: the workers.
            taken: called after a generation was taken.
        """
        self._audit, self._identity, self.workers, self._taken = audit, identity, workers, taken

    @property
    def config(self) -> GatewayConfig:
        """The running configuration."""
        return self.runtime.config

    def message(self) -> dict[str, Any]:
        """Return what a worker builds the running generation from."""
        return self._message(self.config, self.digest)

    async def start_engines(self) -> None:
        """Run what decides beside this process, where something does.

        Raises:
            ConfigError: it cannot be started.
        """
        await self.engines.start(self.digest, self.policies.store.path(self.digest))

    async def reload(self, by: str) -> Reloaded:
        """Take the configuration and the policies that it names anew; whole, or not at all.

        Args:
            by: SPIFFE ID of who asked, `operator:NAME`, or `signal`.

        Raises:
            ConfigError: the new ones cannot be used; the running ones stay.
            UnavailableError: the audit log takes no record; the running ones stay.
        """
        return await _whole(self._reload(by))

    async def _reload(self, by: str) -> Reloaded:
        async with self._lock, self._refusals("config.refused", {"principal": by}):
            config, bundles = self._load_anew()
            candidate = await asyncio.to_thread(self.policies.configured, config.policy)
            activation = None
            if candidate.digest != self.digest:
                activation = candidate.activation(time=self._now(), by=by)
            workers = await self._switch(config, candidate, activation, bundles)
            digest = config_digest(config)
            self._audit.append("config.loaded", {"principal": by, "config_digest": digest, "workers": workers})
            self.record_unsafe()
            policies = candidate.policies
            _log.info("reloaded", by=by, policy_revision=policies.revision, workers=workers)
            return Reloaded(
                config_digest=digest,
                policy_revision=policies.revision,
                policy_data_digest=policies.data_digest,
                workers=workers,
            )

    async def activate(
        self, content: bytes, source: str, by: str, *, rollback: bool = False, reason: str = ""
    ) -> Activation:
        """Activate the revision in a bundle.

        Args:
            content: the bundle.
            source: where it came from, for the record.
            by: who activates it.
            rollback: whether it may be older than the active one.
            reason: why, for a rollback.

        Raises:
            ConfigError: it cannot be; the active one stays.
            UnavailableError: the audit log takes no record; the active one stays.
        """
        if rollback and not says_something(reason):
            raise ConfigError("A rollback needs a reason.")
        fields = {"principal": by, "source": source, "rollback": rollback}
        return await self._activate(
            lambda: self.policies.candidate(content, source, self.config.policy, rollback=rollback),
            fields, by, rollback=rollback, reason=reason,
        )  # fmt: skip

    async def rollback(self, to: str, by: str, reason: str) -> Activation:
        """Go back to an earlier revision.

        Args:
            to: its name or the beginning of its digest; empty: the one before.
            by: who goes back.
            reason: why.

        Raises:
            ConfigError: there is none, or it cannot be used any more; the active one stays.
            UnavailableError: the audit log takes no record; the active one stays.
        """
        if not says_something(reason):
            raise ConfigError("A rollback needs a reason.")
        fields = {"principal": by, "source": to or "previous", "rollback": True}
        return await self._activate(
            lambda: self.policies.earlier(to, self.config.policy), fields, by, rollback=True, reason=reason
        )

    async def _activate(
        self, check: Callable[[], Candidate], fields: dict[str, Any], by: str, *, rollback: bool, reason: str
    ) -> Activation:
        if self._lock.locked():
            raise ConfigError("Another activation or reload is under way; nothing was changed. Try again.")
        return await _whole(self._activate_whole(check, fields, by, rollback=rollback, reason=reason))

    async def _activate_whole(
        self, check: Callable[[], Candidate], fields: dict[str, Any], by: str, *, rollback: bool, reason: str
    ) -> Activation:
        async with self._lock, self._refusals("policy.refused", fields):
            candidate = await asyncio.to_thread(check)
            activation = candidate.activation(time=self._now(), by=by, rollback=rollback, reason=reason)
            await self._switch(self.config, candidate, activation, None)
            metrics.POLICY_ACTIVATIONS.labels("rolled-back" if rollback else "activated").inc()
            _log.info("policy-activated", by=by, policy_revision=activation.revision, rollback=rollback)
            return activation

    async def _switch(
        self,
        config: GatewayConfig,
        candidate: Candidate,
        activation: Activation | None,
        bundles: Mapping[str, TrustBundle] | None,
    ) -> int:
        """Put a generation in force, everywhere or nowhere; return how many workers took it."""
        runtime = self._runtime(config, candidate)
        with self.policies.store.locked():
            self.policies.store.put(candidate.content)
            async with self.engines.running(candidate.digest, self.policies.store.path(candidate.digest)):
                number = await self.workers.prepare(self._message(config, candidate.digest))
                try:
                    if bundles is not None:
                        await self._identity.take(config, bundles)
                    if activation is not None:
                        await self._record(activation)
                        self._remember(activation)
                except BaseException:
                    self.workers.abort(number)
                    raise
                before, self.runtime = self.runtime, runtime
                self.digest = candidate.digest
                if activation is not None:
                    self.policies.take(candidate, activation)
                workers = await self.workers.commit(number, {"tls": self._identity.tls()})
                self.taken_at = time.monotonic()
        app.retire_runtime(before)
        self._taken()
        return workers

    async def _record(self, activation: Activation) -> None:
        """Put an activation on record, durably, before anything is decided by it."""
        fields = activation.record(self.policies.active.activation)
        try:
            await self._audit.append("policy.activated", fields).durable()
        except AuditUnavailableError as error:
            raise UnavailableError(
                f"The activation cannot be recorded, so it was not made: {error}", code="audit_unavailable"
            ) from error

    def _remember(self, activation: Activation) -> None:
        """Write the history. The log says already that the revision was activated: if it is not, it says that too."""
        try:
            self.policies.store.record(activation)
        except ConfigError as error:
            with contextlib.suppress(AuditUnavailableError):
                fields = {"principal": activation.by, "bundle_digest": activation.digest, "cause": str(error)[:2000]}
                self._audit.append("policy.activation_failed", fields)
            raise

    @contextlib.asynccontextmanager
    async def _refusals(self, record_type: str, fields: dict[str, Any]) -> AsyncIterator[None]:
        """Record what is refused, with its cause."""
        try:
            yield
        except (ConfigError, IdentityError) as error:
            _log.error(record_type.replace(".", "-"), cause=str(error), **fields)
            metrics.POLICY_ACTIVATIONS.labels("refused").inc()
            with contextlib.suppress(AuditUnavailableError):
                self._audit.append(record_type, {**fields, "cause": str(error)[:2000]})
            raise ConfigError(str(error)) from error

    def record_unsafe(self) -> None:
        """Put unsafe options in use on record."""
        for option in self.config.unsafe_options():
            self._audit.append("unsafe.option", {"option": option})
            _log.warning("unsafe-option", option=option)

    def _load_anew(self) -> tuple[GatewayConfig, Mapping[str, TrustBundle]]:
        config = load_config(self.config_path)
        old, new = show_config(self.config), show_config(config)
        # `--workers` of the command line is not in the file.
        new["listener"]["workers"] = old["listener"]["workers"]
        changed = [name for name in _RESTART if old[name] != new[name]]
        if "identity" in changed and all(
            old["identity"][key] == new["identity"][key] for key in old["identity"] if key != "federated"
        ):
            changed.remove("identity")
        changed += [f"policy.{name}" for name in _RESTART_POLICY if old["policy"][name] != new["policy"][name]]
        if changed:
            raise ConfigError(f"{', '.join(changed)} changed, which needs a restart of the gateway; nothing was taken.")
        config = config.model_copy(update={"listener": self.config.listener})
        return config, app.trust_bundles(config)

    def _runtime(self, config: GatewayConfig, candidate: Candidate) -> Runtime:
        return app.build_runtime(config, candidate.policies, opa_address=self.engines.address(candidate.digest))

    def _message(self, config: GatewayConfig, digest: str) -> dict[str, Any]:
        return {"config_digest": config_digest(config), "policy": digest, "opa": self.engines.address(digest)}

    @staticmethod
    def _now() -> int:
        return system_clock() // NANOSECONDS


def _nothing() -> None:
    pass


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Do the work to its end, even if whoever asked for it leaves: half of a change is none that anybody asked for."""
    return await asyncio.shield(asyncio.ensure_future(work))
