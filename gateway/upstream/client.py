"""The upstream seam: send one request to one backend of the registry, read the answer, or cancel."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.secrets.store import Resolved
from gateway.upstream.injection import AS_BEARER, Injection


@dataclass(frozen=True, slots=True)
class Backend:
    """One backend of the static registry, made from the configuration at start and at reload.

    Attributes:
        name: name in the configuration.
        base_url: `http(s)://host:port/prefix`, without a trailing slash.
        region: region the backend runs in, as the policies name it.
        continuous_usage: answers `stream_options.continuous_usage_stats` (vLLM does).
        credential: reference of the credential, empty for none.
        ca_file, client_cert_file, client_key_file: TLS towards the backend; empty for the system's roots
            and no client certificate.
        connect_timeout, first_byte_timeout, idle_timeout: seconds.
        injection: how the credential is shown.
        client_certificate: reference of a certificate and its key, shown in the handshake; empty for none.
        per_agent: each agent has a credential of its own, which ends with the agent's standing.
        forward_authorization: the caller's own `Authorization` is passed on.
    """

    name: str
    base_url: str
    region: str
    continuous_usage: bool
    credential: str
    ca_file: str
    client_cert_file: str
    client_key_file: str
    connect_timeout: float
    first_byte_timeout: float
    idle_timeout: float
    injection: Injection = AS_BEARER
    client_certificate: str = ""
    per_agent: bool = False
    forward_authorization: bool = False


class UpstreamAnswer(Protocol):
    """The answer of a backend while it arrives.

    Attributes:
        status: HTTP status code.
        headers: header fields, names in lower case.
        credential: what the backend was shown; None for nothing.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    credential: Resolved | None

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body's bytes as they arrive.

        Raises:
            UpstreamError: the connection broke before the end of the body.
            UpstreamTimeoutError: nothing arrived for the backend's idle timeout.
        """

    async def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            UpstreamError: larger than `limit` bytes, or broken.
            UpstreamTimeoutError: as for `chunks`.
        """

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else cut it. Idempotent, never raises."""


class UpstreamClient(Protocol):
    """Sends requests to backends over pooled connections. Follows no redirect, keeps no cookie."""

    async def post(
        self, backend: Backend, path: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, principal: str = ""
    ) -> UpstreamAnswer:
        """Send a POST and return once the answer's head has arrived.

        Args:
            backend, path, headers, body: what is sent where.
            principal: on whose behalf.

        Raises:
            UpstreamConnectError: no byte of the request reached a backend; another one may be tried.
            UpstreamError: the connection broke, or the head is not HTTP.
            UpstreamTimeoutError: no head within the backend's first-byte timeout.
        """

    async def close(self) -> None:
        """Close every connection."""
