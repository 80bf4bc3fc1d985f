"""What the gateway is and whom it knows: its authority, its own SVID, the trust bundles it verifies with.

Runs in the control process alone. `tick` does everything that time or another process brings about; the caller acts on
what it returns.
"""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway import app
from gateway.clock import NANOSECONDS, Clock, system_clock
from gateway.config import GatewayConfig
from gateway.errors import ConfigError
from gateway.listener.tls import TlsMaterial
from gateway.telemetry.listener import ListenerEvents
from gateway.telemetry.operations import Part
from identity.authority import IssuedSvid, key_pem
from identity.bundle import TrustBundle
from identity.errors import IdentityError
from identity.federation import FederationStatus
from identity.federation_manager import FederationManager
from identity.federation_store import FederationStore
from identity.registry import Registry, RegistrySnapshot
from identity.remote_issuing import RemoteIssuer
from identity.spiffe_id import TrustDomain

if TYPE_CHECKING:
    from gateway.identity_listener import IdentityListener
    from gateway.workload_identities import WorkloadIdentities

_log = structlog.get_logger("govgateway.identity")

UPKEEP_SECONDS = 60
"""How often the inventory is tidied (seconds)."""

FORGET_SECONDS = 30 * 86_400
"""How long the inventory remembers a certificate after its end (seconds); the audit log remembers it for ever."""

BY = "gateway"
"""Who the inventory says did what the gateway does by itself."""


class RecordUnavailableError(IdentityError):
    """The audit log cannot be written, so nothing is issued."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a tick brought.

    Attributes:
        tls: the own certificate or a bundle is another: listeners need new material.
        agents: the inventory is another.
    """

    tls: bool
    agents: bool


class IdentityServices:
    """The identity of one running gateway.

    Attributes:
        authority: signs for the trust domain.
        registry: the inventory.
        agents: the inventory as of the last tick.
        svid: the gateway's own certificate.
        bundles: trust bundles in force, by trust domain.
    """

    svid: IssuedSvid

    def __init__(self, config: GatewayConfig, audit: AuditLog, clock: Clock = system_clock) -> None:
        """Open authority and inventory.

        Raises:
            ConfigError, IdentityError: one of them cannot be opened.
        """
        self._config = config
        self._audit = audit
        self._clock = clock
        self.authority = app.open_authority(config, clock)
        self.registry: Registry = app.open_registry(config, clock)
        self.agents: RegistrySnapshot = self.registry.snapshot(entries=False)
        self._static: Mapping[str, TrustBundle] = app.trust_bundles(config)
        self._federation = self._federate(config)
        self._fetching: asyncio.Task[None] | None = None
        self.bundles: Mapping[str, TrustBundle] = {**self._static, **self._federation.bundles()}
        self.gateway_id = TrustDomain(config.trust_domain).id(app.GATEWAY_PATH)
        self._failure = ""
        self._upkept = 0
        self._tls_changed = self._own_changed = self._bundles_changed = False
        self._workloads: WorkloadIdentities | None = None
        self._listener: IdentityListener | None = None
        self._issue_own()

    async def start(self, endpoint: socket.socket | None) -> None:
        """Begin to serve what is configured.

        Args:
            endpoint: bound for the identity endpoint; None if it is off.

        Raises:
            ConfigError, IdentityError: something cannot be served.
        """
        self._fetching = asyncio.create_task(self._federation.run())
        if endpoint is not None:
            self._listener = self._identity_listener(endpoint)
            await self._listener.start()
        if self._config.identity.workload_api.socket is not None:
            from gateway.workload_identities import WorkloadIdentities  # noqa: PLC0415 - see there

            self._workloads = WorkloadIdentities(
                self._config.identity,
                authority=self.authority,
                registry=self.registry,
                gateway_id=str(self.gateway_id),
                bundles=lambda: self.bundles,
                record=self.record,
                clock=self._clock,
            )
            await self._workloads.start()

    async def take(self, config: GatewayConfig, bundles: Mapping[str, TrustBundle]) -> None:
        """Go on with a new configuration and the bundles that its files have.

        Raises:
            IdentityError: a federated domain cannot be fetched as configured; nothing is taken then.
        """
        federation = self._federate(config)
        await self._stop_fetching()
        self._config, self._static, self._federation = config, bundles, federation
        self._put_together()
        self._fetching = asyncio.create_task(self._federation.run())

    def tls(self) -> dict[str, Any]:
        """Return what a worker needs to serve: certificate, key and bundles."""
        return {
            "type": "tls",
            "chain": self.svid.chain_pem.decode(),
            "key": self._key.decode(),
            "not_after": self.svid.not_after,
            "bundles": {name: bundle.to_jwks().decode() for name, bundle in self.bundles.items()},
        }

    def material(self) -> TlsMaterial:
        """Return the TLS material of a listener that requires a certificate."""
        return TlsMaterial.from_bundles(self.svid.chain_pem, self._key, self.bundles)

    async def record(self, record_type: str, fields: dict[str, Any]) -> None:
        """Write an audit record and wait until it is durable.

        Raises:
            RecordUnavailableError: it cannot be written.
        """
        try:
            await self._audit.append(record_type, {"principal": str(self.gateway_id), **fields}).durable()
        except AuditUnavailableError as error:
            raise RecordUnavailableError(str(error)) from error

    async def tick(self) -> Changes:
        """Take in what other processes changed, and do what is due. What fails keeps nothing else from being done."""
        before, failures = self.agents, []
        for step in (
            self._look_at_inventory,
            self._tend_authority,
            self._renew_own,
            self._tend_listener,
            self._tend_workloads,
            self._upkeep,
        ):
            try:
                await step()
            except (IdentityError, AuditUnavailableError, ConfigError) as error:
                failures.append(str(error))
        failure = "; ".join(dict.fromkeys(failures))
        if failure and failure != self._failure:
            _log.error("identity-failed", detail=failure)
        self._failure = failure
        tls, self._tls_changed = self._tls_changed, False
        return Changes(tls, self.agents is not before)

    async def _look_at_inventory(self) -> None:
        if self.registry.generation() != self.agents.generation:
            self.agents = self.registry.snapshot(entries=False)

    async def _renew_own(self) -> None:
        if self._own_is_due():
            self._issue_own()
            self._own_changed = self._tls_changed = True
            _log.info("certificate-renewed", not_after=self.svid.not_after)

    async def _tend_listener(self) -> None:
        if self._listener is not None:
            changed, self._own_changed = self._own_changed, False
            self._listener.refresh(own_changed=changed)

    async def _tend_workloads(self) -> None:
        if self._workloads is not None:
            changed, self._bundles_changed = self._bundles_changed, False
            await self._workloads.tick(bundles_changed=changed)

    def parts(self) -> dict[str, Part]:
        """Return readiness: the certificate, and everything that lets the gateway issue."""
        now = self._clock() // NANOSECONDS
        return {
            "certificate": Part(now < self.svid.not_after, "the gateway's certificate has expired"),
            "identity": Part(not self._failure, self._failure),
        }

    async def close(self) -> None:
        """Stop serving and close the inventory."""
        await self._stop_fetching()
        if self._listener is not None:
            await self._listener.close()
        if self._workloads is not None:
            await self._workloads.close()
        self.registry.close()

    async def _upkeep(self) -> None:
        """Once a minute: suspend what has expired, forget what has passed."""
        now = self._clock() // NANOSECONDS
        if now < self._upkept + UPKEEP_SECONDS:
            return
        self._upkept = now
        for agent in await asyncio.to_thread(lambda: self.registry.suspend_expired(by=BY)):
            await self.record("agent.status_changed", {"agent": agent.id, "status": agent.status, "cause": "expired"})
        await asyncio.to_thread(self.registry.revocations.purge)
        await asyncio.to_thread(self.registry.forget_svids, now - FORGET_SECONDS)

    def federation(self) -> tuple[FederationStatus, ...]:
        """Return the state of each domain whose bundle is fetched."""
        return self._federation.status()

    async def refresh(self, trust_domain: str) -> FederationStatus:
        """Fetch a federated domain's bundle now.

        Raises:
            BundleError: it is not fetched at all.
        """
        return await self._federation.refresh(trust_domain)

    def _federate(self, config: GatewayConfig) -> FederationManager:
        store = FederationStore(config.state_dir / "federation")
        return FederationManager(app.federation_endpoints(config), store, self._federated, self._clock)

    def _federated(self, trust_domain: str, bundle: TrustBundle | None) -> None:
        """Take in another domain's bundle as it is now."""
        self._put_together()
        sequence = bundle.sequence if bundle is not None else -1
        _log.warning("federation-changed", trust_domain=trust_domain, withdrawn=bundle is None, sequence=sequence)
        with suppress(AuditUnavailableError):
            fields = {"trust_domain": trust_domain, "withdrawn": bundle is None, "sequence": sequence}
            self._audit.append("federation.changed", {"principal": str(self.gateway_id), **fields})

    def _put_together(self) -> None:
        own = self.authority.bundle()
        bundles = {**self._static, **self._federation.bundles(), own.trust_domain: own}
        if bundles != self.bundles:
            self.bundles = bundles
            self._tls_changed = self._bundles_changed = True

    async def _stop_fetching(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            with suppress(asyncio.CancelledError):
                await self._fetching

    def _identity_listener(self, sock: socket.socket) -> "IdentityListener":
        from gateway.identity_listener import IdentityListener  # noqa: PLC0415 - not loaded where it is off

        issuer = RemoteIssuer(
            authority=self.authority,
            registry=self.registry,
            gateway_id=str(self.gateway_id),
            record=self.record,
            clock=self._clock,
            ttl_seconds=self._config.identity.svid_ttl_seconds,
        )
        return IdentityListener(
            self._config.identity,
            sock,
            trust_domain=self._config.trust_domain,
            registry=self.registry,
            issuer=issuer,
            bundle=self.authority.bundle,
            own=lambda: (self.svid.chain_pem, self._key),
            limits=self._config.listener.limits,
            observer=ListenerEvents(self._audit),
            clock=self._clock,
        )

    async def _tend_authority(self) -> None:
        """Take the authority through its life."""
        authority = self.authority
        authority.refresh()
        for event in authority.tick():
            _log.log(40 if event.action == "failed" else 20, f"authority-{event.action}", detail=event.detail)
            await self.record(
                f"authority.{event.action}",
                {"kind": event.kind, "authority": event.authority_id, "detail": event.detail},
            )
        await self._refuse_revoked()
        self._put_together()

    async def _refuse_revoked(self) -> None:
        """Put revoked authorities into the inventory, where every worker sees them within a second."""
        for authority_id in self.authority.revoked_authorities():
            if authority_id not in self.agents.refusals.authorities:
                await asyncio.to_thread(
                    self.registry.revocations.revoke, "authority", authority_id, "the authority was revoked", by=BY
                )

    def _own_is_due(self) -> bool:
        return self._clock() // NANOSECONDS >= self._renew_at or self.svid.authority_id in self.authority.tainted()

    def _issue_own(self) -> None:
        identity = self._config.identity
        key = ec.generate_private_key(ec.SECP256R1())
        svid = self.authority.issue_x509_svid(
            self.gateway_id,
            key.public_key(),
            identity.svid_ttl_seconds,
            tuple(identity.svid_dns_names),
            tuple(identity.svid_ip_addresses),
        )
        self._audit.append(
            "identity.issued",
            {
                "principal": str(self.gateway_id),
                "serial": svid.serial,
                "not_after": svid.not_after,
                "authority": svid.authority_id,
                "for": "gateway",
            },
        )
        self.svid = svid
        self._key = key_pem(key)
        now = self._clock() // NANOSECONDS
        self._renew_at = now + (svid.not_after - now) / 2
