"""Where an OPA server listens: on a Unix socket, on this machine's loopback, or elsewhere behind TLS."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from gateway.errors import ConfigError
from gateway.upstream.http1.tls import BackendTls

MAX_SOCKET_PATH = 107
"""Longest path of a Unix socket that the system takes (bytes, `sockaddr_un`)."""


@dataclass(frozen=True, slots=True)
class _Files:
    """PEM files for TLS; an empty name means the system's authorities, or no client certificate."""

    ca_file: str
    client_cert_file: str
    client_key_file: str


@dataclass(frozen=True, slots=True)
class OpaAddress:
    """One OPA server.

    Attributes:
        text: as configured; errors name it.
        socket: path of the Unix socket, empty for TCP.
        host, port: for TCP.
        authority: value of the host field (RFC 9110, section 7.2).
        tls: TLS settings; None for plain HTTP, which never leaves the machine.
    """

    text: str
    socket: str
    host: str
    port: int
    authority: str
    tls: BackendTls | None


def parse_address(
    text: str,
    *,
    ca_file: Path | None = None,
    client_cert_file: Path | None = None,
    client_key_file: Path | None = None,
) -> OpaAddress:
    """Return the server that an address of the configuration names.

    Raises:
        ConfigError: not one of the three forms, plain HTTP to another machine, or TLS files that cannot be used.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"policy.opa.address {text!r} is not an address: {error}.") from None
    if parts.username is not None or parts.query or parts.fragment or "?" in text:
        raise ConfigError(f"policy.opa.address {text!r} has more than scheme, host and port.")
    files = _Files(*(str(name) if name else "" for name in (ca_file, client_cert_file, client_key_file)))
    if parts.scheme != "https" and any((ca_file, client_cert_file, client_key_file)):
        raise ConfigError(f"policy.opa.address {text!r} is without TLS; certificates go with an https:// address.")
    if parts.scheme == "unix":
        return _unix(text, parts)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"}:
        raise ConfigError(
            f"policy.opa.address {text!r} is none of http://127.0.0.1:8181, https://host:port, unix:///path/opa.sock."
        )
    if parts.scheme == "https":
        tls = BackendTls(files)
        try:
            tls.context()
        except OSError as error:
            raise ConfigError(f"policy.opa: a certificate, key or CA file cannot be used: {error}.") from None
        return OpaAddress(text, "", parts.hostname, port or 443, parts.netloc, tls)
    if not _loopback(parts.hostname):
        raise ConfigError(
            f"policy.opa.address {text!r} is without TLS and not on this machine: whoever is on the way could decide. "
            "Use https://."
        )
    return OpaAddress(text, "", parts.hostname, port or 8181, parts.netloc, None)


def _unix(text: str, parts: SplitResult) -> OpaAddress:
    if parts.netloc or not parts.path.startswith("/"):
        raise ConfigError(f"policy.opa.address {text!r} is not unix:// and an absolute path: unix:///path/opa.sock.")
    check_socket_path(parts.path)
    return OpaAddress(text, parts.path, "", 0, "opa", None)


def check_socket_path(path: str) -> None:
    """Refuse a path that is too long for a Unix socket.

    Raises:
        ConfigError: it is.
    """
    if len(path.encode()) > MAX_SOCKET_PATH:
        raise ConfigError(f"{path}: a Unix socket's path has at most {MAX_SOCKET_PATH} bytes; use a shorter directory.")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
