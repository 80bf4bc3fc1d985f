"""The HTTPS listener for other trust domains, verifiers of JWT-SVIDs and nodes: its routes and its certificate."""

import socket
import ssl
from collections.abc import Callable

from gateway.clock import Clock
from gateway.config.model import Attestation, Identity, K8sAttestation, ListenerLimits, OidcAttestation
from gateway.errors import ConfigError
from gateway.listener.observer import ListenerObserver
from gateway.listener.server import ListenerServer
from gateway.listener.tls import TlsMaterial
from identity.attestation.base import NodeAttestor, SourceLimiter
from identity.attestation.join_token import JoinTokenAttestor
from identity.attestation.k8s_psat import Cluster, K8sPsatAttestor
from identity.attestation.oidc import OidcAttestor
from identity.attestation.oidc_token import OidcIssuer
from identity.attestation.x509pop import X509PopAttestor
from identity.bundle import TrustBundle
from identity.endpoint import IdentityEndpoint, identity_endpoint
from identity.errors import IdentityError
from identity.fetching import FetchError
from identity.registry import Registry
from identity.remote_issuing import RemoteIssuer

BODY_BYTES = 128 * 1024
"""Largest request body: anybody may send one, so it is small."""

CONNECTIONS = 256
"""Open connections of callers without a certificate, all together."""


class IdentityListener:
    """Serves bundle, OIDC discovery and attestation. Its callers need no certificate."""

    def __init__(
        self,
        config: Identity,
        sock: socket.socket,
        *,
        trust_domain: str,
        registry: Registry,
        issuer: RemoteIssuer,
        bundle: Callable[[], TrustBundle],
        own: Callable[[], tuple[bytes, bytes]],
        limits: ListenerLimits,
        observer: ListenerObserver,
        clock: Clock,
    ) -> None:
        """Make one.

        Args:
            config: of the identity services.
            sock: bound.
            trust_domain: the own.
            registry: knows join tokens, and tokens that were shown.
            issuer: issues to what attested.
            bundle: the own bundle as it is now.
            own: chain and key (PEM) of the gateway's own X.509-SVID as they are now.
            limits: of the listener.
            observer: is told of its connections.
            clock: the time.

        Raises:
            ConfigError: a certificate, an authority or an issuer cannot be used.
        """
        self._config = config.endpoint
        self._own = own
        self._stamp: tuple[int, ...] = ()
        try:
            attestors = _attestors(config.attestation, trust_domain, registry, clock)
            self._app: IdentityEndpoint = identity_endpoint(
                bundle=bundle,
                attestors=attestors,
                issue=issuer.issue,
                limiter=SourceLimiter(clock, per_minute=self._config.attempts_per_minute),
                issuer=self._config.issuer,
            )
        except (FetchError, IdentityError, ValueError) as error:
            raise ConfigError(f"identity.endpoint, identity.attestation: {error}") from error
        self._server = ListenerServer(
            self._app,
            sock,
            tls=self._material(),
            bundles=dict,
            limits=limits.model_copy(update={"body_bytes": BODY_BYTES, "connections_per_identity": CONNECTIONS}),
            observer=observer,
            clock=clock,
            anyone=True,
        )

    async def start(self) -> None:
        """Begin to accept connections."""
        await self._server.start()

    def refresh(self, *, own_changed: bool) -> None:
        """Serve with a new certificate where there is one; a file that cannot be used leaves the old one in place.

        Raises:
            ConfigError: the certificate's files cannot be used.
        """
        if self._config.cert_file is None:
            if own_changed:
                self._server.replace_tls(self._material())
        elif self._files() != self._stamp:
            self._server.replace_tls(self._material())

    async def close(self) -> None:
        """Stop."""
        await self._server.drain(2)
        await self._app.close()

    def _files(self) -> tuple[int, ...]:
        paths = (self._config.cert_file, self._config.key_file)
        return tuple(path.stat().st_mtime_ns for path in paths if path is not None and path.exists())

    def _material(self) -> TlsMaterial:
        if self._config.cert_file is None or self._config.key_file is None:
            chain, key = self._own()
        else:
            self._stamp = self._files()
            try:
                chain, key = self._config.cert_file.read_bytes(), self._config.key_file.read_bytes()
            except OSError as error:
                raise ConfigError(f"identity.endpoint: {error.filename} cannot be read: {error.strerror}") from error
        try:
            return TlsMaterial(chain, key, (), certificate_required=False)
        except ssl.SSLError as error:
            raise ConfigError(f"identity.endpoint: cert_file and key_file do not go together: {error}") from error


def _attestors(config: Attestation, trust_domain: str, registry: Registry, clock: Clock) -> list[NodeAttestor]:
    attestors: list[NodeAttestor] = []
    if config.join_tokens:
        attestors.append(JoinTokenAttestor(trust_domain, registry.join_tokens))
    if config.x509pop is not None:
        attestors.append(X509PopAttestor(trust_domain, config.x509pop.ca_files, clock))
    if config.kubernetes:
        attestors.append(K8sPsatAttestor(trust_domain, [_cluster(each) for each in config.kubernetes]))
    if config.oidc:
        once = any(each.once for each in config.oidc)
        issuers = [_issuer(each) for each in config.oidc]
        attestors.append(OidcAttestor(trust_domain, issuers, clock, registry.used_tokens if once else None))
    return attestors


def _cluster(config: K8sAttestation) -> Cluster:
    return Cluster(
        name=config.name,
        api_url=str(config.api_url).rstrip("/"),
        ca_file=config.ca_file,
        token_file=config.token_file,
        audience=config.audience,
        service_accounts=frozenset(config.service_accounts),
    )


def _issuer(config: OidcAttestation) -> OidcIssuer:
    return OidcIssuer(
        name=config.name,
        url=config.url,
        audience=config.audience,
        claims=tuple(config.claims),
        algorithms=frozenset(config.algorithms),
        ca_file=config.ca_file,
        key_hosts=frozenset(config.key_hosts),
        leeway_seconds=config.leeway_seconds,
        max_age_seconds=config.max_age_seconds,
    )
