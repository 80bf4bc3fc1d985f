"""The whole configuration as pydantic models: every key, its default and its unit.

Reading files, environment and the nearest-key hint are in `gateway.config.loader`.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, HttpUrl, model_validator

from audit.sinks.settings import uses_plaintext
from gateway.config.audit import Audit
from gateway.config.compliance import Compliance
from gateway.config.policy import Policy
from gateway.config.secrets import Secrets
from gateway.config.section import BackendSecret, Name, SecretReference, Section
from gateway.secrets.vault.places import parse_place
from identity.spiffe_id import SpiffeIdError, TrustDomain


def _trust_domain(value: str) -> str:
    try:
        return TrustDomain(value).name
    except SpiffeIdError as error:
        raise ValueError(str(error)) from error


TrustDomainName = Annotated[str, AfterValidator(_trust_domain)]
Port = Annotated[int, Field(ge=0, le=65535)]


class ListenerLimits(Section):
    """Bounds of the data-plane listener; a client that passes one is cut."""

    header_bytes: int = Field(32_768, ge=1024, le=1_048_576, description="Largest request head, bytes.")
    body_bytes: int = Field(10_485_760, ge=1024, description="Largest request body, bytes.")
    handshake_timeout_seconds: float = Field(5.0, gt=0, description="Time for the TLS handshake, seconds.")
    header_timeout_seconds: float = Field(
        10.0, gt=0, description="Time from the first byte of a request to the end of its head, seconds."
    )
    body_timeout_seconds: float = Field(
        30.0, gt=0, description="Time from the end of the head to the end of the body, seconds."
    )
    idle_timeout_seconds: float = Field(
        75.0, gt=0, description="Time a kept-alive connection may wait for its next request, seconds."
    )
    write_timeout_seconds: float = Field(
        60.0, gt=0, description="Time a client may leave the answer unread before it is cut, seconds."
    )
    connections: int = Field(10_000, ge=1, description="Open connections per worker.")
    connections_per_identity: int = Field(1024, ge=1, description="Open connections per SPIFFE ID and worker.")


class Listener(Section):
    """The data plane: where agents call, over mutual TLS 1.3."""

    address: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(8443, description="TCP port; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=64, description="Worker processes, each with an audit chain of its own.")
    drain_seconds: float = Field(30.0, ge=0, description="Time for calls under way to end after SIGTERM, seconds.")
    limits: ListenerLimits = ListenerLimits()


class Admin(Section):
    """The control plane: another listener, mutual TLS as well, governed by its own policy actions."""

    enabled: bool = Field(True, description="Whether the control plane listens.")
    address: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(8444, description="TCP port; 0 takes a free one.")


class Operations(Section):
    """Health and metrics: plain HTTP, nothing confidential, keep it on an internal address."""

    address: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(9464, description="TCP port; 0 takes a free one.")


class FederatedBundle(Section):
    """A foreign trust domain whose members may connect; its bundle comes from a file, or is fetched."""

    trust_domain: TrustDomainName = Field(description="Name of the foreign trust domain.")
    file: Path | None = Field(
        None,
        description="Its SPIFFE bundle (JWKS) or its CA certificates (PEM); with a URL, the bundle to begin with.",
    )
    url: HttpUrl | None = Field(None, description="Its bundle endpoint, https.")
    profile: Literal["https_web", "https_spiffe"] = Field(
        "https_web", description="How the endpoint proves itself: by a host name, or by a SPIFFE ID."
    )
    server_id: str = Field("", description="With https_spiffe: SPIFFE ID of the endpoint.")
    ca_file: Path | None = Field(
        None, description="With https_web: CA certificates (PEM) of the endpoint; default: the system's."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.file is None and self.url is None:
            raise ValueError("give a file, a url, or both")
        if self.url is None and (self.server_id or self.ca_file is not None):
            raise ValueError("server_id and ca_file say how the url proves itself, and there is none")
        if self.url is not None and self.profile == "https_spiffe" and (self.file is None or not self.server_id):
            raise ValueError("https_spiffe needs server_id, and a file with the bundle to begin with")
        return self


class OidcIssuerConfig(Section):
    """An issuer of OpenID Connect ID tokens."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Name of the issuer, as in selectors.")
    url: str = Field(description="The issuer, https, exactly as in iss.")
    audience: str = Field(min_length=1, description="Audience that the tokens must be for.")
    algorithms: list[str] = Field(["RS256", "ES256"], min_length=1, description="Algorithms that it signs with.")
    ca_file: Path | None = Field(None, description="CA certificates (PEM) of its servers; default: the system's.")
    key_hosts: list[str] = Field([], description="Further hosts that its keys may lie on, as host or host:port.")
    leeway_seconds: int = Field(0, ge=0, le=60, description="How far clocks may differ, seconds.")
    max_age_seconds: int = Field(3600, ge=1, description="Oldest token taken, seconds.")


class OidcAttestation(OidcIssuerConfig):
    """Holders of ID tokens of an issuer: CI jobs, cloud machines, other platforms' workloads."""

    claims: list[str] = Field(["sub"], min_length=1, description="Claims that become selectors.")
    once: bool = Field(True, description="Take each token once only.")


class PersonIssuer(OidcIssuerConfig):
    """An identity provider of people, for whom agents act."""

    claim: str = Field(
        "sub", description="Claim that tells who it is; the inventory has NAME:VALUE in the person's attribute oidc."
    )


class JwtBearer(Section):
    """JWT-SVIDs as bearer tokens: for callers that cannot present a certificate, and for delegation. Off by default."""

    routes: list[str] = Field(
        [],
        description="Paths on which tokens are accepted, for instance /v1/chat/completions, or /v1/* for all below. "
        "Empty: none anywhere, and every caller needs a certificate.",
    )
    audience: str = Field("", description="Name that tokens for this gateway carry in aud; empty: its SPIFFE ID.")
    max_lifetime_seconds: int = Field(300, ge=10, le=3600, description="Longest life of a token, seconds.")
    leeway_seconds: int = Field(0, ge=0, le=60, description="How far the clocks of issuers may differ, seconds.")
    once: bool = Field(False, description="Accept each token (jti) once only.")


class Delegation(Section):
    """Token exchange (RFC 8693) on the control plane: agents that act for others."""

    enabled: bool = Field(False, description="Whether tokens are exchanged.")
    max_depth: int = Field(3, ge=1, le=8, description="Most delegations in a chain.")
    ttl_seconds: int = Field(
        300, ge=10, le=3600, description="Lifetime of a delegated token, seconds; never longer than the one exchanged."
    )
    persons: list[PersonIssuer] = Field(
        [], description="Identity providers of people: an agent exchanges a person's ID token to act for them."
    )


class WorkloadApi(Section):
    """The SPIFFE Workload API and Envoy's secret discovery, on a Unix socket of this machine."""

    socket: Path | None = Field(
        None, description="Path of the socket, relative to this file; empty: the Workload API is not served."
    )
    mode: str = Field(
        "0777", pattern=r"^0?[0-7]{3}$", description="Permissions of the socket; workloads of any user may connect."
    )


class IdentityEndpoint(Section):
    """HTTPS for others, without a client certificate: trust bundle, OIDC discovery, attestation of nodes."""

    enabled: bool = Field(False, description="Whether it listens.")
    address: str = Field("127.0.0.1", description="Address to listen on.")
    port: Port = Field(8445, description="TCP port; 0 takes a free one.")
    cert_file: Path | None = Field(
        None,
        description="Certificate chain (PEM) for clients that check host names (https_web); "
        "default: the gateway's own X.509-SVID (https_spiffe).",
    )
    key_file: Path | None = Field(None, description="Key (PEM) of that certificate.")
    issuer: str = Field(
        "",
        description="Issuer (iss) of JWT-SVIDs, the https URL under which others reach this endpoint; empty: no OIDC.",
    )
    attempts_per_minute: int = Field(30, ge=1, description="Attestations that one source address may try a minute.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self


class X509PopAttestation(Section):
    """Nodes that hold the key of a certificate of another authority."""

    ca_files: list[Path] = Field(min_length=1, description="Authorities (PEM) whose certificates are taken.")


class K8sAttestation(Section):
    """Pods of a Kubernetes cluster, by their projected service-account tokens."""

    name: Name = Field(description="Name of the cluster, as in selectors.")
    api_url: HttpUrl = Field(description="Its API server, https.")
    ca_file: Path = Field(description="CA certificates (PEM) of the API server.")
    token_file: Path = Field(description="The gateway's own token, which may create TokenReviews.")
    audience: str = Field(min_length=1, description="Audience that the tokens must be for.")
    service_accounts: list[str] = Field(min_length=1, description="Those that may attest, as namespace:name.")


class Attestation(Section):
    """How workloads on other machines prove themselves at the identity endpoint."""

    join_tokens: bool = Field(False, description="By a token of 'govctl token create', once.")
    x509pop: X509PopAttestation | None = Field(None, description="By a certificate of another authority.")
    kubernetes: list[K8sAttestation] = Field([], description="By a service-account token of these clusters.")
    oidc: list[OidcAttestation] = Field([], description="By an ID token of these issuers.")


KeyType = Literal["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"]


class AuthorityConfig(Section):
    """The embedded authority: what it makes from now on. What exists keeps its life and its key."""

    root_lifetime_days: int = Field(3652, ge=1, description="Life of a root, days.")
    signing_lifetime_hours: int = Field(8760, ge=1, description="Life of a signing authority below the root, hours.")
    jwt_key_lifetime_hours: int = Field(168, ge=1, description="Life of a key that signs JWT-SVIDs, hours.")
    root_key_type: KeyType = Field("ec-p256", description="Type of the root's key.")
    signing_key_type: KeyType = Field("ec-p256", description="Type of a signing authority's key.")
    jwt_key_type: KeyType = Field("ec-p256", description="Type of a JWT key; RSA for verifiers that know nothing else.")
    refresh_hint_seconds: int = Field(
        300, ge=1, description="After how long others should fetch the trust bundle again, seconds."
    )
    upstream_cert_file: Path | None = Field(
        None, description="PEM file of an authority that signs ours, with those above it, its root last."
    )
    upstream_key_file: Path | None = Field(None, description="PEM file of that authority's key, mode 0600.")
    upstream_vault: str = Field(
        "",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._/-]*)?$",
        description="Path of Vault's PKI engine that signs ours instead, for instance pki/root/sign-intermediate.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.upstream_cert_file is None) != (self.upstream_key_file is None):
            raise ValueError("upstream_cert_file and upstream_key_file go together")
        if self.upstream_vault and self.upstream_cert_file is not None:
            raise ValueError("there is one upstream authority: files, or upstream_vault")
        return self


class Spire(Section):
    """Where SPIRE, or another Workload API, gives this gateway its identity."""

    socket: Path = Field(
        Path("/tmp/spire-agent/public/api.sock"),  # noqa: S108 - SPIRE's own default
        description="Path of the Workload API's socket.",
    )
    spiffe_id: str = Field("", description="The identity to take, if this process is given several.")


class Identity(Section):
    """The trust domain, its embedded authority and the domains it federates with."""

    source: Literal["embedded", "spire"] = Field(
        "embedded",
        description="Who issues identities: this gateway's own authority, or SPIRE; with SPIRE, what only an authority "
        "can do (workload_api, endpoint, attestation, delegation, federated) is SPIRE's as well.",
    )
    spire: Spire = Spire()
    seal_key: SecretReference = Field(
        "file:seal.key",
        description="Reference of the 32-byte key (base64) that seals the authority's private keys at rest.",
    )
    svid_ttl_seconds: int = Field(
        3600, ge=60, le=86_400, description="Lifetime of an X.509-SVID, seconds; at most 86400."
    )
    svid_dns_names: list[str] = Field(
        ["localhost"], description="DNS names in the gateway's own certificate, for clients that check names."
    )
    svid_ip_addresses: list[str] = Field(
        ["127.0.0.1", "::1"], description="IP addresses in the gateway's own certificate."
    )
    federated: list[FederatedBundle] = Field([], description="Foreign trust domains that may connect.")
    authority: AuthorityConfig = AuthorityConfig()
    workload_api: WorkloadApi = WorkloadApi()
    endpoint: IdentityEndpoint = IdentityEndpoint()
    attestation: Attestation = Attestation()
    jwt_svid_ttl_seconds: int = Field(300, ge=30, le=3600, description="Lifetime of a JWT-SVID, seconds.")
    jwt_bearer: JwtBearer = JwtBearer()
    delegation: Delegation = Delegation()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source == "spire":
            own = {
                "workload_api.socket": self.workload_api.socket is not None,
                "endpoint.enabled": self.endpoint.enabled,
                "delegation.enabled": self.delegation.enabled,
                "federated": bool(self.federated),
            }
            named = ", ".join(name for name, used in own.items() if used)
            if named:
                raise ValueError(f"source is spire, so {named} cannot be used here: configure it in SPIRE")
        return self


class InjectionConfig(Section):
    """How a backend is shown its credential; never in the address."""

    kind: Literal["bearer", "header", "basic", "aws-sigv4"] = Field(
        "bearer",
        description="bearer: Authorization: Bearer; header: the field named in header; basic: Authorization: Basic; "
        "aws-sigv4: the request is signed with access_key, secret_key and session_token of the credential's path.",
    )
    header: str = Field(
        "", pattern=r"^([A-Za-z][A-Za-z0-9-]{0,63})?$", description="Name of the field, for kind header."
    )
    user: str = Field(
        "", pattern=r"^[ -9;-~]*$", description="User, for kind basic; empty: the field username of the path."
    )
    region: str = Field("", description="Region, for kind aws-sigv4.")
    service: str = Field("", description="Service, for kind aws-sigv4: for instance bedrock.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.kind == "header") != bool(self.header):
            raise ValueError("header goes with the kind header")
        if self.header.lower() in {"host", "content-length", "transfer-encoding", "connection", "authorization", "te"}:
            raise ValueError(f"{self.header} cannot be set; for Authorization use the kinds bearer and basic")
        if self.kind == "aws-sigv4" and not (self.region and self.service):
            raise ValueError("aws-sigv4 needs region and service")
        return self


class BackendConfig(Section):
    """A model server behind the gateway."""

    name: Name = Field(description="Name, unique in this file.")
    url: HttpUrl = Field(description="Base URL, for instance http://127.0.0.1:8000/v1.")
    region: str = Field("", description="Region the backend runs in, as the policies name it.")
    credential: BackendSecret = Field(
        "", description="Reference of the credential shown to the backend; empty for none."
    )
    injection: InjectionConfig = InjectionConfig()
    client_certificate: BackendSecret = Field(
        "",
        description="Reference of a client certificate and its key, as a path of Vault with the fields certificate and "
        "private_key; in place of client_cert_file.",
    )
    per_agent: bool = Field(
        False, description="Each agent gets a credential of its own from Vault, ended when the agent is revoked."
    )
    unsafe_forward_authorization: bool = Field(
        False,
        description="Pass the caller's own Authorization on to the backend, which could then act as the caller. "
        "Recorded in the audit log.",
    )
    continuous_usage: bool = Field(
        False,
        description="The server knows stream_options.continuous_usage_stats (vLLM does); "
        "usage then survives a disconnect exactly.",
    )
    ca_file: Path | None = Field(None, description="CA certificates (PEM) of the backend; default: the system's.")
    client_cert_file: Path | None = Field(None, description="Client certificate (PEM) shown to the backend.")
    client_key_file: Path | None = Field(None, description="Key (PEM) of the client certificate.")
    unsafe_plaintext: bool = Field(
        False, description="Allow http:// to an address that is not loopback. Recorded in the audit log."
    )
    connect_timeout_seconds: float = Field(2.0, gt=0, description="Time to connect, seconds.")
    first_byte_timeout_seconds: float = Field(
        120.0, gt=0, description="Time from the request to the head of the answer, seconds."
    )
    idle_timeout_seconds: float = Field(60.0, gt=0, description="Longest silence in the middle of an answer, seconds.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.url.username or self.url.password or self.url.query or self.url.fragment:
            raise ValueError("url takes no user, password, query or fragment; give a credential by reference")
        host = (self.url.host or "").strip("[]")
        loopback = host in {"localhost", "::1"} or host.startswith("127.")
        if self.url.scheme == "http" and not loopback and not self.unsafe_plaintext:
            raise ValueError(f"{self.url} is plain HTTP to another machine: use https, or set unsafe_plaintext: true")
        if (self.client_cert_file is None) != (self.client_key_file is None):
            raise ValueError("client_cert_file and client_key_file go together")
        if self.client_certificate and (self.client_cert_file is not None or self.url.scheme != "https"):
            raise ValueError("client_certificate needs an https url, and stands in place of client_cert_file")
        if self.per_agent and not self.credential.startswith("vault:"):
            raise ValueError("per_agent needs a credential of Vault")
        if self.credential and self.unsafe_forward_authorization and self.injection.kind != "header":
            raise ValueError("unsafe_forward_authorization and a credential would both be Authorization: choose one")
        if self.injection.kind == "aws-sigv4" and not self.credential:
            raise ValueError("injection aws-sigv4 needs a credential")
        return self


class ModelConfig(Section):
    """A model that callers name, and the backends that serve it."""

    name: Name = Field(description="The model's name as callers write it.")
    system: str = Field("", description="AI system of the register (policy data `systems`) this model belongs to.")
    backends: list[Name] = Field(min_length=1, description="Names of the backends that serve it.")
    upstream_name: str = Field("", description="The model's name on the backends; empty: the same.")
    max_output_tokens: int = Field(
        4096, ge=1, description="Output bound reserved and sent when the caller names none, tokens."
    )
    context_tokens: int = Field(
        131_072, ge=1, description="Largest max_tokens a caller may ask for; more is refused, tokens."
    )


class Quota(Section):
    """The quota ledger. The limits themselves are policy data."""

    lease_seconds: int = Field(
        900, ge=10, description="When the hold of a call lapses by itself after a crash, seconds."
    )
    slots: int = Field(65_536, ge=256, description="Counters the ledger has room for.")


class Context(Section):
    """What the policies are told about where this gateway runs."""

    region: str = Field("local", description="Region of this gateway.")
    environment: str = Field("development", description="Environment, for instance production.")


class Telemetry(Section):
    """Logs. Metrics are on the operations listener."""

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level logged.")
    log_format: Literal["json", "console"] = Field("json", description="JSON lines, or text for a person.")


class GatewayConfig(Section):
    """The configuration of one gateway."""

    trust_domain: TrustDomainName = Field(description="SPIFFE trust domain, for instance example.org.")
    state_dir: Path = Field(
        Path("state"), description="Directory of everything the gateway writes, relative to this file."
    )
    listener: Listener = Listener()
    admin: Admin = Admin()
    operations: Operations = Operations()
    identity: Identity = Identity()
    policy: Policy = Policy()
    backends: list[BackendConfig] = Field(min_length=1, description="Model servers.")
    models: list[ModelConfig] = Field(min_length=1, description="Models callers may name.")
    quota: Quota = Quota()
    audit: Audit = Audit()
    secrets: Secrets = Secrets()
    compliance: Compliance = Compliance()
    context: Context = Context()
    telemetry: Telemetry = Telemetry()

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for kind, names in (
            ("backend", [b.name for b in self.backends]),
            ("model", [m.name for m in self.models]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind} {', '.join(twice)} is defined twice")
        known = {backend.name for backend in self.backends}
        for model in self.models:
            missing = sorted(set(model.backends) - known)
            if missing:
                raise ValueError(f"model {model.name} names the unknown backend {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _check_secrets(self) -> Self:
        login = self.secrets.vault.login
        if self.identity.authority.upstream_vault and (login is None or login.method in {"jwt", "cert"}):
            raise ValueError(
                "identity.authority.upstream_vault is asked before the gateway has an identity: secrets.vault needs a "
                "login by approle, kubernetes or token"
            )
        exchanges = {exchange.name for exchange in self.secrets.exchanges}
        for backend in self.backends:
            for reference in (backend.credential, backend.client_certificate):
                if reference.startswith("vault:"):
                    if not self.secrets.vault.addresses:
                        raise ValueError(
                            f"backend {backend.name} refers to Vault, and secrets.vault.addresses is empty"
                        )
                    parse_place(reference, self.secrets.vault.mounts)
                elif reference.startswith("exchange:"):
                    name = reference.removeprefix("exchange://").partition("#")[0]
                    if name not in exchanges:
                        raise ValueError(f"backend {backend.name} names the unknown exchange {name}")
        return self

    @property
    def audit_log(self) -> str:
        """Name of this gateway's audit log."""
        return self.audit.origin or f"{self.trust_domain}/audit"

    @property
    def audit_dir(self) -> Path:
        """Directory of the audit log."""
        return self.audit.directory or self.state_dir / "audit"

    @property
    def audit_tree(self) -> Path:
        """Directory of the audit log's tree: tiles, checkpoint and state."""
        return self.audit_dir / "tree"

    def unsafe_options(self) -> list[str]:
        """Return the unsafe-named options in use, for the audit log and the evidence."""
        used = [f"backends.{b.name}.unsafe_plaintext" for b in self.backends if b.unsafe_plaintext]
        used += [
            f"backends.{b.name}.unsafe_forward_authorization" for b in self.backends if b.unsafe_forward_authorization
        ]
        others = {
            "policy.unsafe_unsigned": self.policy.unsafe_unsigned,
            "secrets.vault.unsafe_plaintext": self.secrets.vault.unsafe_plaintext,
            "audit.retention.unsafe_shorter_than_law": self.audit.retention.unsafe_shorter_than_law,
        }
        used += [f"audit.sinks.{sink.name}.unsafe_plaintext" for sink in self.audit.sinks if uses_plaintext(sink)]
        return [*used, *(name for name, chosen in others.items() if chosen)]
