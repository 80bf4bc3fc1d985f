"""Vault and exchanges of a running gateway: fetches for the workers, with the gateway's own identity."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from gateway.clock import Clock, system_clock
from gateway.config.model import GatewayConfig
from gateway.gateway_identity import GatewayIdentity
from gateway.identity_services import IdentityServices
from gateway.secrets.fetched import Fetched, SecretSourceError
from gateway.secrets.keeper import SecretKeeper
from gateway.secrets.opening import secret_store
from gateway.secrets.store import Secret

if TYPE_CHECKING:
    from gateway.secrets.sources import FetchedSources

SVID_SECONDS = 300
"""Lifetime of the JWT-SVIDs that prove the gateway (seconds)."""

PROOF_SECONDS = 10.0
"""Longest wait of a login for its proof (seconds)."""


class GatewayProof:
    """What the gateway shows of itself (`gateway.secrets.vault.login.Proof`); used in threads."""

    def __init__(
        self, config: GatewayConfig, identity: GatewayIdentity, audit: AuditLog, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._store = secret_store(config)
        self._issuer = config.identity.endpoint.issuer
        self._identity = identity
        self._audit = audit
        self._loop = loop

    async def svid(self, audience: str) -> str:
        """Return a JWT-SVID of the gateway for one audience, on record. Raises SecretSourceError."""
        identity = self._identity
        if not isinstance(identity, IdentityServices):
            raise SecretSourceError(
                "the gateway's identity is SPIRE's, and JWT-SVIDs of it are not fetched",
                "secret_unavailable",
                "Log in to Vault by cert.",
            )
        claims = {"iss": self._issuer} if self._issuer else {}
        issued = identity.authority.issue_jwt_svid(identity.gateway_id, (audience,), SVID_SECONDS, claims)
        gateway = str(identity.gateway_id)
        try:
            self._audit.append(
                "identity.issued",
                {
                    "principal": gateway,
                    "agent": gateway,
                    "svid": "jwt-svid",
                    "serial": issued.jti,
                    "not_after": issued.expires_at,
                    "authority": issued.key_id,
                },
            )
        except AuditUnavailableError as error:
            raise SecretSourceError(f"a JWT-SVID cannot be put on record: {error}", "audit_unavailable") from error
        return issued.token

    def jwt_svid(self, audience: str) -> str:
        """See `Proof.jwt_svid`."""
        return asyncio.run_coroutine_threadsafe(self.svid(audience), self._loop).result(PROOF_SECONDS)

    def x509_svid(self) -> tuple[bytes, bytes]:
        """See `Proof.x509_svid`."""
        svid = self._identity.svid
        return svid.chain_pem, svid.key_pem

    def read(self, reference: str) -> Secret:
        """See `Proof.read`."""
        return self._store.read(reference)


class SecretServices:
    """What is fetched for the workers of one gateway; replaces its sources when the configuration changes.

    Args:
        config: the configuration.
        identity: who the gateway is.
        audit: where fetches are recorded.
        send: sends a message to a worker.
    """

    def __init__(
        self,
        config: GatewayConfig,
        identity: GatewayIdentity,
        audit: AuditLog,
        send: Callable[[int, Mapping[str, Any]], None],
        clock: Clock = system_clock,
    ) -> None:
        self._identity = identity
        self._audit = audit
        self._clock = clock
        self._config = config
        self._sources = self._open(config)
        self.keeper = SecretKeeper(self, send, self._record, self._active)

    def take(self, config: GatewayConfig) -> None:
        """Go on with a new configuration."""
        if config.secrets == self._config.secrets:
            return
        before, self._config, self._sources = self._sources, config, self._open(config)
        if before is not None:
            self.keeper.start(before.close())

    def heard(self, worker: int, message: Mapping[str, Any]) -> None:
        """Take a worker's question."""
        self.keeper.heard(worker, message)

    def used(self, units: Collection[tuple[str, str]]) -> None:
        """Take note of what a worker used."""
        self.keeper.used(units)

    async def close(self) -> None:
        """End the leases, then the login."""
        await self.keeper.close()
        if self._sources is not None:
            with suppress(SecretSourceError):
                await self._sources.close()

    # what the keeper fetches from: the sources of the configuration in force

    @property
    def logins(self) -> int:
        """See `Source.logins`."""
        return self._sources.logins if self._sources is not None else 0

    async def fetch(self, unit: str) -> Fetched:
        """See `Source.fetch`."""
        return await self._configured().fetch(unit)

    async def renew(self, lease_id: str) -> float:
        """See `Source.renew`."""
        return await self._configured().renew(lease_id)

    async def revoke(self, lease_id: str) -> None:
        """See `Source.revoke`."""
        await self._configured().revoke(lease_id)

    async def tend(self) -> None:
        """See `Source.tend`."""
        await self._configured().tend()

    def bounds(self, unit: str) -> tuple[float, float]:
        """See `Source.bounds`."""
        return self._configured().bounds(unit) if self._sources is not None else (1.0, 0.0)

    def _configured(self) -> "FetchedSources":
        if self._sources is None:
            raise SecretSourceError("neither Vault nor an exchange is configured", "secret_missing")
        return self._sources

    def _open(self, config: GatewayConfig) -> "FetchedSources | None":
        if not config.secrets.vault.addresses and not config.secrets.exchanges:
            return None
        from gateway.secrets.sources import FetchedSources  # noqa: PLC0415 - its clients are loaded only where they are used

        proof = GatewayProof(config, self._identity, self._audit, asyncio.get_running_loop())
        return FetchedSources(config, proof, proof.svid, self._clock)

    def _record(self, record_type: str, fields: dict[str, Any]) -> object:
        return self._audit.append(record_type, {"principal": str(self._identity.gateway_id), **fields})

    def _active(self, spiffe_id: str) -> bool:
        agent = self._identity.agents.get(spiffe_id)
        return (
            agent is not None and agent.status == "active" and self._identity.agents.refusal(spiffe_id, "", ()) is None
        )
