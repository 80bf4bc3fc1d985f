"""Says of every way in and out of the gateway how it is protected, from the configuration, for the evidence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from audit.sinks.settings import KafkaSettings, SyslogSettings, is_loopback
from audit.witness.policy import parse_policy
from gateway.config.model import GatewayConfig
from gateway.errors import UnavailableError
from gateway.secrets.opening import secret_store

Carries = Literal["calls", "administration", "records", "identities", "policies", "digests", "metrics", "secrets"]

_VERIFYING_SSL_MODES = frozenset({"verify-ca", "verify-full"})


def hops_of(config: GatewayConfig) -> list[dict[str, Any]]:
    """Return the ways that are configured, as `gateway.hops` has them, sorted by name."""
    return sorted(_hops(config), key=lambda hop: str(hop["hop"]))


def _hops(config: GatewayConfig) -> Iterator[dict[str, Any]]:
    listener, admin, operations = config.listener, config.admin, config.operations
    yield _hop("listener", "calls", f"https://{listener.address}", tls="1.3", mutual=True)
    if admin.enabled:
        yield _hop("admin", "administration", f"https://{admin.address}", tls="1.3", mutual=True)
    yield _hop("operations", "metrics", f"http://{operations.address}")
    endpoint = config.identity.endpoint
    if endpoint.enabled:
        yield _hop("identity.endpoint", "identities", f"https://{endpoint.address}")
    if config.identity.workload_api.socket is not None:
        yield _hop("identity.workload_api", "identities", "unix:")
    for backend in config.backends:
        mutual = backend.client_cert_file is not None or bool(backend.client_certificate)
        yield _hop(f"backend:{backend.name}", "calls", _address(str(backend.url)), mutual=mutual)
    if config.policy.bundle.url:
        mutual = bool(config.policy.bundle.server_id)
        yield _hop("policy.bundle", "policies", _address(config.policy.bundle.url), mutual=mutual)
    if config.policy.engine == "opa":
        address = config.policy.opa.address or "unix:"
        mutual = config.policy.opa.client_cert_file is not None
        yield _hop("policy.opa", "calls", _address(address), mutual=mutual)
    for foreign in config.identity.federated:
        if foreign.url is not None:
            yield _hop(f"identity.federated:{foreign.trust_domain}", "identities", _address(str(foreign.url)))
    attestation = config.identity.attestation
    for cluster in attestation.kubernetes:
        yield _hop(f"identity.kubernetes:{cluster.name}", "identities", _address(str(cluster.api_url)))
    for issuer in (*attestation.oidc, *config.identity.delegation.persons):
        yield _hop(f"identity.oidc:{issuer.name}", "identities", _address(issuer.url))
    yield from _secret_hops(config)
    yield from _audit_hops(config)


def _secret_hops(config: GatewayConfig) -> Iterator[dict[str, Any]]:
    vault = config.secrets.vault
    mutual = vault.login is not None and vault.login.method == "cert"
    for address in vault.addresses:
        yield _hop(f"secrets.vault:{address}", "secrets", _address(address), mutual=mutual)
    for exchange in config.secrets.exchanges:
        yield _hop(f"secrets.exchange:{exchange.name}", "secrets", _address(exchange.url or f"https://{exchange.kind}"))


def _audit_hops(config: GatewayConfig) -> Iterator[dict[str, Any]]:
    audit = config.audit
    if audit.database:
        yield _database(config)
    if audit.timestamps.url:
        yield _hop("audit.timestamps", "digests", _address(audit.timestamps.url))
    for name, url in _witnesses(audit.witnesses.policy_file):
        yield _hop(f"audit.witness:{name}", "digests", _address(url))
    if audit.copies.endpoint:
        yield _hop("audit.copies", "records", _address(audit.copies.endpoint))
    for sink in audit.sinks:
        name = f"audit.sink:{sink.name}"
        if isinstance(sink, SyslogSettings):
            mutual = sink.tls.client_cert_file is not None
            yield _hop(name, "records", f"https://{sink.host}", mutual=mutual)
        elif isinstance(sink, KafkaSettings):
            scheme = "http" if sink.tls is None else "https"
            mutual = sink.tls is not None and sink.tls.client_cert_file is not None
            for broker in sink.brokers:
                yield _hop(f"{name}:{broker}", "records", f"{scheme}://{broker}", mutual=mutual)
        else:
            mutual = sink.tls.client_cert_file is not None
            yield _hop(name, "records", _address(sink.url), mutual=mutual)


def _witnesses(policy_file: Path | None) -> list[tuple[str, str]]:
    """Return name and address of each witness; what cannot be read was refused when the gateway started."""
    if policy_file is None:
        return []
    try:
        policy = parse_policy(policy_file.read_text())
    except (OSError, ValueError):
        return []
    return [(name, each.url) for name, each in sorted(policy.witnesses.items()) if each.url]


def _database(config: GatewayConfig) -> dict[str, Any]:
    """The URL of a database is a secret: only its host is told. What cannot be read counts as not encrypted."""
    try:
        parts = urlsplit(secret_store(config).read(config.audit.database).reveal().decode())
        query = parse_qs(parts.query)
        host = parts.hostname or (query.get("host") or ["/"])[0]
    except (UnavailableError, ValueError):
        return _hop("audit.database", "records", "http://unknown.invalid")
    if host.startswith("/"):
        return _hop("audit.database", "records", "unix:")
    verified = bool(_VERIFYING_SSL_MODES & set(query.get("sslmode", [])))
    mutual = verified and "sslcert" in query
    return _hop("audit.database", "records", f"{'https' if verified else 'http'}://{host}", mutual=mutual)


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme in {"http", "https"}:
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return "https://s3" if parts.scheme == "s3" else "unix:"


def _hop(name: str, carries: Carries, address: str, *, tls: str = "1.2", mutual: bool = False) -> dict[str, Any]:
    scheme, _, host = address.partition("://")
    encrypted = scheme == "https"
    bare = host if host.count(":") > 1 and not host.startswith("[") else (urlsplit(f"//{host}").hostname or "")
    reach = "network" if host and not (is_loopback(bare) or bare == "localhost") else "loopback"
    return {
        "hop": name[:512],
        "carries": carries,
        "address": address[:512],
        "reach": "unix" if not host else reach,
        "encrypted": encrypted,
        "mutual": encrypted and mutual,
        "tls_minimum": tls if encrypted else "",
    }
