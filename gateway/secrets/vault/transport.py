"""How Vault is asked: TLS by one context and no other, no redirect, no proxy, and a bound on size and time."""

import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

MAX_ANSWER_BYTES = 1024 * 1024
"""Largest answer taken (bytes)."""

_CHUNK_BYTES = 65_536


class RedirectRefusedError(requests.RequestException):
    """An answer was a redirect. The token would go to whoever it names, so it is never followed."""


class AnswerTooLargeError(requests.RequestException):
    """An answer is larger than `MAX_ANSWER_BYTES`."""


class AnswerTooSlowError(requests.RequestException):
    """An answer had begun and did not end in time."""


class _Bounded(HTTPAdapter):
    """Sends over TLS as one context says, whatever the environment or the caller say of certificates."""

    def __init__(self, context: ssl.SSLContext, seconds: float, clock: Callable[[], float]) -> None:
        self._context = context
        self._seconds = seconds
        self._clock = clock
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)

    def build_connection_pool_key_attributes(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        parts = urlsplit(request.url or "")
        host = {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}
        return host, {"ssl_context": self._context, "cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing to add: the context has the authorities, and the client's certificate."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        end = self._clock() + self._seconds
        options["stream"] = True
        options["timeout"] = self._seconds
        response = super().send(request, *arguments, **options)
        try:
            response._content = self._body(response, end)
        except BaseException:
            response.close()
            raise
        response._content_consumed = True  # type: ignore[attr-defined]
        return response

    def _body(self, response: requests.Response, end: float) -> bytes:
        """Read the whole answer."""
        if 300 <= response.status_code < 400:
            where = urlsplit(response.headers.get("location", "")).netloc[:200] or "somewhere"
            raise RedirectRefusedError(
                f"it redirects to {where}, which is not followed; name it as an address if it is one"
            )
        body = bytearray()
        while chunk := _chunk(response):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise AnswerTooLargeError(f"its answer is larger than {MAX_ANSWER_BYTES} bytes")
            if self._clock() > end:
                raise AnswerTooSlowError(f"its answer did not end within {self._seconds:g} seconds")
        return bytes(body)


def _chunk(response: requests.Response) -> bytes:
    try:
        read: bytes = response.raw.read1(_CHUNK_BYTES, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise requests.ConnectionError(error) from error
    return read


def open_session(
    context: ssl.SSLContext, seconds: float, clock: Callable[[], float] = time.monotonic
) -> requests.Session:
    """Return a session for one address.

    Args:
        context: the TLS settings.
        seconds: longest time for one answer.
        clock: monotonic seconds.
    """
    session = requests.Session()
    session.trust_env = False  # neither proxies nor .netrc nor certificates of the environment
    session.headers["accept-encoding"] = "identity"
    adapter = _Bounded(context, seconds, clock)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
