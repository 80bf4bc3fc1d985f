"""The identity of a gateway with an authority of its own: what it issues, serves, and fetches from other domains."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway import app
from gateway.clock import NANOSECONDS, Clock, system_clock
from gateway.config import GatewayConfig
from gateway.gateway_identity import BY, GatewayIdentity, OwnSvid, Step
from gateway.telemetry.listener import ListenerEvents
from gateway.telemetry.operations import Part
from identity.authority import key_pem
from identity.bundle import TrustBundle
from identity.errors import IdentityError
from identity.federation import FederationStatus
from identity.federation_manager import FederationManager
from identity.federation_store import FederationStore
from identity.remote_issuing import RemoteIssuer
from identity.spiffe_id import TrustDomain

if TYPE_CHECKING:
    from gateway.identity_listener import IdentityListener
    from gateway.workload_identities import WorkloadIdentities

_log = structlog.get_logger("govgateway.identity")

WORKLOAD_SECONDS = 0.5
"""How often it is looked whether a workload's identity is due (seconds)."""


class IdentityServices(GatewayIdentity):
    """The identity of a gateway that is its trust domain's authority.

    Attributes:
        authority: signs for the trust domain.
        remote_issuer: issues to workloads on other machines.
    """

    def __init__(self, config: GatewayConfig, audit: AuditLog, clock: Clock = system_clock) -> None:
        """Open authority and inventory.

        Raises:
            ConfigError, IdentityError: one of them cannot be opened.
        """
        super().__init__(config, audit, clock)
        self.authority = app.open_authority(config, clock)
        self._static: Mapping[str, TrustBundle] = app.trust_bundles(config)
        self._federation = self._federate(config)
        self._fetching: asyncio.Task[None] | None = None
        self.bundles = {**self._static, **self._federation.bundles()}
        self.gateway_id = TrustDomain(config.trust_domain).id(app.GATEWAY_PATH)
        self.remote_issuer = RemoteIssuer(
            authority=self.authority,
            registry=self.registry,
            gateway_id=str(self.gateway_id),
            record=self.record,
            clock=clock,
            ttl_seconds=config.identity.svid_ttl_seconds,
        )
        self._own_changed = self._bundles_changed = False
        self._workloads: WorkloadIdentities | None = None
        self._serving: asyncio.Task[None] | None = None
        self._workload_failure = ""
        self._listener: IdentityListener | None = None
        self._issue_own()

    async def start(self, endpoint: socket.socket | None) -> None:
        """See `GatewayIdentity.start`."""
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
            self._serving = asyncio.create_task(self._serve_workloads(self._workloads))

    async def take(self, config: GatewayConfig, bundles: Mapping[str, TrustBundle]) -> None:
        """See `GatewayIdentity.take`."""
        federation = self._federate(config)
        await self._stop_fetching()
        self._config, self._static, self._federation = config, bundles, federation
        self._put_together()
        self._fetching = asyncio.create_task(self._federation.run())

    def steps(self) -> Sequence[Step]:
        """See `GatewayIdentity.steps`."""
        return self._tend_authority, self._renew_own, self._tend_listener

    async def _renew_own(self) -> None:
        if self._own_is_due():
            self._issue_own()
            self._own_changed = self._tls_changed = True
            _log.info("certificate-renewed", not_after=self.svid.not_after)

    async def _tend_listener(self) -> None:
        if self._listener is not None:
            changed, self._own_changed = self._own_changed, False
            self._listener.refresh(own_changed=changed)

    async def _serve_workloads(self, workloads: "WorkloadIdentities") -> None:
        """Keep the workloads' identities fresh, beside the ticks: renewing many must delay nothing else."""
        while True:
            changed, self._bundles_changed = self._bundles_changed, False
            try:
                await workloads.tick(bundles_changed=changed)
                self._workload_failure = ""
            except IdentityError as error:
                if str(error) != self._workload_failure:
                    _log.error("workload-identities-failed", detail=str(error))
                self._workload_failure = str(error)
            await asyncio.sleep(WORKLOAD_SECONDS)

    def parts(self) -> dict[str, Part]:
        """See `GatewayIdentity.parts`."""
        parts = super().parts()
        if self._workload_failure and parts["identity"].ready:
            parts["identity"] = Part(ready=False, detail=self._workload_failure)
        return parts

    async def close(self) -> None:
        """Stop serving and close the inventory."""
        await self._stop_fetching()
        await _ended(self._serving)
        if self._listener is not None:
            await self._listener.close()
        if self._workloads is not None:
            await self._workloads.close()
        await super().close()

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
        await _ended(self._fetching)

    def _identity_listener(self, sock: socket.socket) -> "IdentityListener":
        from gateway.identity_listener import IdentityListener  # noqa: PLC0415 - not loaded where it is off

        return IdentityListener(
            self._config.identity,
            sock,
            trust_domain=self._config.trust_domain,
            registry=self.registry,
            issuer=self.remote_issuer,
            bundle=self.authority.bundle,
            own=lambda: (self.svid.chain_pem, self.svid.key_pem),
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
                why = "the authority was revoked"
                fields = {"kind": "authority", "subject": authority_id, "cause": why}
                await self.record("identity.revoked", fields)
                await asyncio.to_thread(self.registry.revocations.revoke, "authority", authority_id, why, by=BY)

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
                "agent": str(self.gateway_id),
                "svid": "x509-svid",
                "serial": svid.serial,
                "not_after": svid.not_after,
                "authority": svid.authority_id,
            },
        )
        self.svid = OwnSvid(svid.chain_pem, key_pem(key), svid.serial, svid.not_after, svid.authority_id)
        now = self._clock() // NANOSECONDS
        self._renew_at = now + (svid.not_after - now) / 2


async def _ended(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait for its end."""
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
