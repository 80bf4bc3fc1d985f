"""What any gateway is and whom it knows, whoever issues its certificate: its SVID, its bundles, its inventory.

Runs in the control process alone. `tick` does everything that time or another process brings about; the caller acts on
what it returns.
"""

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway import app
from gateway.clock import NANOSECONDS, Clock, system_clock
from gateway.config import GatewayConfig
from gateway.errors import ConfigError
from gateway.listener.tls import TlsMaterial
from gateway.telemetry.operations import Part
from identity.bundle import TrustBundle
from identity.errors import BundleError, IdentityError
from identity.federation import FederationStatus
from identity.registry import Registry, RegistrySnapshot
from identity.spiffe_id import SpiffeId

_log = structlog.get_logger("govgateway.identity")

UPKEEP_SECONDS = 60
"""How often the inventory is tidied (seconds)."""

FORGET_SECONDS = 30 * 86_400
"""How long the inventory remembers a certificate after its end (seconds); the audit log remembers it for ever."""

BY = "gateway"
"""Who the inventory says did what the gateway does by itself."""

Step = Callable[[], Awaitable[None]]


class RecordUnavailableError(IdentityError):
    """The audit log cannot be written, so nothing is issued."""


@dataclass(frozen=True, slots=True)
class OwnSvid:
    """The gateway's own X.509-SVID.

    Attributes:
        chain_pem: leaf, then the signing certificates up to the root, without it.
        key_pem: PKCS #8.
        serial: serial number of the leaf (hex).
        not_after: UNIX seconds.
        authority_id: the authority that signed it; empty if it is not ours.
    """

    chain_pem: bytes
    key_pem: bytes
    serial: str
    not_after: int
    authority_id: str = ""

    def __repr__(self) -> str:
        return f"OwnSvid(serial={self.serial!r}, not_after={self.not_after}, key_pem=<secret>)"


@dataclass(frozen=True, slots=True)
class Changes:
    """What a tick brought.

    Attributes:
        tls: the own certificate or a bundle is another: listeners need new material.
        agents: the inventory is another.
    """

    tls: bool
    agents: bool


class GatewayIdentity(ABC):
    """The identity of one running gateway.

    Attributes:
        gateway_id: its SPIFFE ID.
        svid: its certificate.
        bundles: trust bundles in force, by trust domain.
        registry: the inventory.
        agents: the inventory as of the last tick.
    """

    gateway_id: SpiffeId
    svid: OwnSvid
    bundles: Mapping[str, TrustBundle]

    def __init__(self, config: GatewayConfig, audit: AuditLog, clock: Clock = system_clock) -> None:
        """Open the inventory.

        Raises:
            IdentityError: it cannot be opened.
        """
        self._config = config
        self._audit = audit
        self._clock = clock
        self.registry: Registry = app.open_registry(config, clock)
        self.agents: RegistrySnapshot = self.registry.snapshot(entries=False)
        self._failure = ""
        self._upkept = 0
        self._tls_changed = False

    @abstractmethod
    async def start(self, endpoint: socket.socket | None) -> None:
        """Begin to serve what is configured.

        Args:
            endpoint: bound for the identity endpoint; None if it is off.

        Raises:
            ConfigError, IdentityError: something cannot be served.
        """

    @abstractmethod
    async def take(self, config: GatewayConfig, bundles: Mapping[str, TrustBundle]) -> None:
        """Go on with a new configuration and the bundles that its files have.

        Raises:
            IdentityError: it cannot be taken; nothing is then.
        """

    @abstractmethod
    def steps(self) -> Sequence[Step]:
        """Return what is due at each tick, besides the inventory."""

    def tls(self) -> dict[str, Any]:
        """Return what a worker needs to serve: identity, certificate, key and bundles."""
        return {
            "type": "tls",
            "id": str(self.gateway_id),
            "chain": self.svid.chain_pem.decode(),
            "key": self.svid.key_pem.decode(),
            "not_after": self.svid.not_after,
            "bundles": {name: bundle.to_jwks().decode() for name, bundle in self.bundles.items()},
        }

    def material(self) -> TlsMaterial:
        """Return the TLS material of a listener that requires a certificate."""
        return TlsMaterial.from_bundles(self.svid.chain_pem, self.svid.key_pem, self.bundles)

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
        for step in (self._look_at_inventory, *self.steps(), self._upkeep):
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

    def parts(self) -> dict[str, Part]:
        """Return readiness: the certificate, and everything that lets the gateway issue."""
        now = self._clock() // NANOSECONDS
        return {
            "certificate": Part(now < self.svid.not_after, "the gateway's certificate has expired"),
            "identity": Part(not self._failure, self._failure),
        }

    def status(self) -> dict[str, Any]:
        """Return where the identity comes from, for the control plane."""
        return {"source": "embedded", "id": str(self.gateway_id)}

    def federation(self) -> tuple[FederationStatus, ...]:
        """Return the state of each domain whose bundle is fetched."""
        return ()

    async def refresh(self, trust_domain: str) -> FederationStatus:
        """Fetch a federated domain's bundle now.

        Raises:
            BundleError: it is not fetched at all.
        """
        raise BundleError(f"the bundle of {trust_domain} is not fetched by this gateway")

    async def close(self) -> None:
        """Stop serving and close the inventory."""
        self.registry.close()

    async def _look_at_inventory(self) -> None:
        if self.registry.generation() != self.agents.generation:
            self.agents = self.registry.snapshot(entries=False)

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
