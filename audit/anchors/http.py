"""HTTP towards the keepers of anchors: bounded answers, no redirects, no proxy that the environment names."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from audit.anchors.errors import AnchorError


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class BoundedClient:
    """Asks one server. Not for two threads at once."""

    def __init__(self, server: str, *, timeout: float, max_bytes: int, tls: ssl.SSLContext | None = None) -> None:
        """Make a client.

        Args:
            server: what error messages call it.
            timeout: for connecting, and for each read and write (seconds).
            max_bytes: most of an answer's body.
            tls: how the server is verified; default: as this machine verifies any.
        """
        self._server = server
        self._max_bytes = max_bytes
        self._http = httpx.Client(
            verify=tls or ssl.create_default_context(), timeout=timeout, follow_redirects=False, trust_env=False
        )

    def ask(self, method: str, url: str, headers: Mapping[str, str] | None = None, content: bytes = b"") -> HttpAnswer:
        """Send a request.

        Raises:
            AnchorError: the server cannot be reached, or answers too much.
        """
        try:
            with self._http.stream(method, url, headers=dict(headers or {}), content=content) as answer:
                body = bytearray()
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > self._max_bytes:
                        raise AnchorError(f"{self._server} answers more than {self._max_bytes:,} bytes")
                return HttpAnswer(answer.status_code, answer.headers, bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise AnchorError(f"{self._server} cannot be reached: {error or type(error).__name__}") from error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine, by its address or as `localhost`."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
