"""Vault and exchanges of a running gateway: fetches for the workers, with the gateway's own identity."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import CancelledError
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
from gateway.secrets.reference_store import unusable_reference
from gateway.secrets.store import Secret
from gateway.secrets.vault.places import parse_place
from identity.errors import IdentityError

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
        try:
            issued = identity.authority.issue_jwt_svid(identity.gateway_id, (audience,), SVID_SECONDS, claims)
        except IdentityError as error:
            raise SecretSourceError(f"no JWT-SVID can be issued: {error}", "secret_unavailable") from error
        gateway = str(identity.gateway_id)
        try:
            self._audit.append(
                "identity.issued",
                {
                    "principal": gateway,
                    "agent": gateway,
                    "svid": "jwt-svid",
                    "audience": [audience],
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
        try:
            return asyncio.run_coroutine_threadsafe(self.svid(audience), self._loop).result(PROOF_SECONDS)
        except (TimeoutError, RuntimeError, CancelledError) as error:  # the loop is busy, or ends
            raise SecretSourceError("no JWT-SVID was issued in time", "secret_unavailable") from error

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

    def begin(self) -> None:
        """Fetch what the configuration names, but for what is made anew with each request."""
        kv = {mount.path for mount in self._config.secrets.vault.mounts if mount.engine.startswith("kv")}
        mounts = self._config.secrets.vault.mounts
        fetched = [
            (reference, backend.per_agent)
            for backend in self._config.backends
            for reference in (backend.credential, backend.client_certificate)
            if reference.startswith(("vault:", "exchange:"))
        ]
        lasting = {
            reference.partition("#")[0]
            for reference, per_agent in fetched
            if reference.startswith("vault:") and not per_agent and parse_place(reference, mounts).mount in kv
        }
        self.keeper.expect(lasting, {reference.partition("#")[0] for reference, _ in fetched})

    def take(self, config: GatewayConfig) -> None:
        """Go on with a new configuration."""
        before, self._config = self._config, config
        if config.secrets != before.secrets:
            sources, self._sources = self._sources, self._open(config)
            if sources is not None:
                self.keeper.start(sources.close())
        self.begin()

    def read(self, reference: str) -> Secret:
        """Return the value of a fetched reference, to tell its age.

        Raises:
            UnavailableError: it is not at hand; the code `secret_unknown`: nobody asked for it yet.
        """
        fetched, error = self.keeper.look(reference)
        if fetched is None:
            raise unusable_reference(
                reference, str(error or "not fetched yet"), error.code if error else "secret_unknown"
            )
        field = reference.partition("#")[2]
        value = fetched.fields.get(field) if field else next(iter(fetched.fields.values()), None)
        if value is None:
            raise unusable_reference(reference, f"there is no field {field}")
        return value

    def state(self, reference: str) -> dict[str, Any]:
        """Return what is known of a fetched reference beside its value: kind, version, last use, and since when."""
        fetched, _ = self.keeper.look(reference)
        found: dict[str, Any] = {"last_use": self.keeper.last_use(reference)}
        if fetched is not None:
            found["kind"] = "dynamic" if fetched.lifetime_seconds is not None else "static"
            found["version"], found["since"] = fetched.version, fetched.since
        return found

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
