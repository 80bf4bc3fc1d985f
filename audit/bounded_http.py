"""HTTP to those who vouch for the log: bounded in time and bytes, no redirects, no proxy from the environment."""

import asyncio
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from audit.errors import AuditError


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class BoundedClient:
    """Asks one server, from code that has no event loop. Not for two threads at once.

    It runs a loop of its own for each request: only so does a limit hold for the whole of an answer that comes byte by
    byte.
    """

    def __init__(
        self,
        server: str,
        *,
        timeout: float,
        max_bytes: int,
        error: type[AuditError],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Make a client.

        Args:
            server: what error messages call it.
            timeout: for a request and all of its answer (seconds).
            max_bytes: most of an answer's body.
            error: what is raised.
            tls: how the server is verified; default: as this machine verifies any.
        """
        self._server = server
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._error = error
        self._runner = asyncio.Runner()
        self._http = httpx.AsyncClient(
            verify=tls or ssl.create_default_context(), timeout=timeout, follow_redirects=False, trust_env=False
        )

    def ask(self, method: str, url: str, headers: Mapping[str, str] | None = None, content: bytes = b"") -> HttpAnswer:
        """Send a request.

        Raises:
            AuditError: of the type given: the server cannot be reached, or answers too much or too slowly.
        """
        return self._runner.run(self._ask(method, url, headers or {}, content))

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], content: bytes) -> HttpAnswer:
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream(method, url, headers=dict(headers), content=content) as answer,
            ):
                body = bytearray()
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > self._max_bytes:
                        raise self._error(f"{self._server} answers more than {self._max_bytes:,} bytes")
                return HttpAnswer(answer.status_code, answer.headers, bytes(body))
        except TimeoutError:
            raise self._error(f"{self._server} did not answer within {self._timeout:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._error(f"{self._server} cannot be reached: {error or type(error).__name__}") from error

    def close(self) -> None:
        """Close the connections; code that has an event loop may call this too."""
        with ThreadPoolExecutor(max_workers=1) as thread:  # a thread that has a loop cannot run another one
            thread.submit(self._close).result()

    def _close(self) -> None:
        with self._runner:
            self._runner.run(self._http.aclose())


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine, by its address or as `localhost`."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
