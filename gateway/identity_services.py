"""What the gateway is and whom it knows: its authority, its own SVID, the trust bundles it verifies with.

Runs in the control process alone. `tick` does everything that time or another process brings about; the caller acts on
what it returns.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway import app
from gateway.clock import NANOSECONDS, Clock, system_clock
from gateway.config import GatewayConfig
from gateway.listener.tls import TlsMaterial
from gateway.telemetry.operations import Part
from identity.authority import IssuedSvid, key_pem
from identity.bundle import TrustBundle
from identity.errors import IdentityError
from identity.registry import Registry, RegistrySnapshot
from identity.spiffe_id import TrustDomain

if TYPE_CHECKING:
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
        self.bundles: Mapping[str, TrustBundle] = app.trust_bundles(config)
        self.gateway_id = TrustDomain(config.trust_domain).id(app.GATEWAY_PATH)
        self._failure = ""
        self._upkept = 0
        self._bundles_taken = False
        self._workloads: WorkloadIdentities | None = None
        self._issue_own()

    async def start(self) -> None:
        """Begin to serve what is configured.

        Raises:
            IdentityError: a socket cannot be made.
        """
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

    def take(self, config: GatewayConfig, bundles: Mapping[str, TrustBundle]) -> None:
        """Go on with a new configuration and its bundles."""
        self._config = config
        self._bundles_taken = bundles != self.bundles
        self.bundles = bundles

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
        """Take in what other processes changed, and do what is due."""
        tls = agents = False
        try:
            if self.registry.generation() != self.agents.generation:
                self.agents = self.registry.snapshot(entries=False)
                agents = True
            tls = bundles = await self._tend_authority()
            if self._own_is_due():
                self._issue_own()
                tls = True
                _log.info("certificate-renewed", not_after=self.svid.not_after)
            if self._workloads is not None:
                await self._workloads.tick(bundles_changed=bundles or self._bundles_taken)
                self._bundles_taken = False
            await self._upkeep()
            self._failure = ""
        except (IdentityError, AuditUnavailableError) as error:
            if str(error) != self._failure:
                _log.error("identity-failed", detail=str(error))
            self._failure = str(error)
        return Changes(tls, agents)

    def parts(self) -> dict[str, Part]:
        """Return readiness: the certificate, and everything that lets the gateway issue."""
        now = self._clock() // NANOSECONDS
        return {
            "certificate": Part(now < self.svid.not_after, "the gateway's certificate has expired"),
            "identity": Part(not self._failure, self._failure),
        }

    async def close(self) -> None:
        """Stop serving and close the inventory."""
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

    async def _tend_authority(self) -> bool:
        """Take the authority through its life; True if the bundle changed."""
        authority = self.authority
        authority.refresh()
        for event in authority.tick():
            _log.log(40 if event.action == "failed" else 20, f"authority-{event.action}", detail=event.detail)
            await self.record(
                f"authority.{event.action}",
                {"kind": event.kind, "authority": event.authority_id, "detail": event.detail},
            )
        await self._refuse_revoked()
        bundle = authority.bundle()
        if bundle.sequence == self.bundles[bundle.trust_domain].sequence:
            return False
        self.bundles = {**self.bundles, bundle.trust_domain: bundle}
        _log.info("bundle-changed", trust_domain=bundle.trust_domain, sequence=bundle.sequence)
        return True

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
