"""One POST at a time, within a time that holds for the whole of it, and with an answer that is not too long."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from audit.sinks.errors import SinkRefusedError, SinkUnavailableError
from audit.sinks.settings import Tls

MAX_ANSWER_BYTES = 4 << 20
"""Longest answer that is read: a bulk answer has some lines for each document."""

REFUSED = frozenset({400, 413, 422})
"""Status codes that say that what was sent is wrong. Everything else may be put right at the receiver."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer.

    Attributes:
        host: who gave it.
        status: HTTP status code.
        retry_after: what it says of when to try again, as it stands in the header.
        content_type: what it says that its body is.
        body: its body.
    """

    host: str
    status: int
    retry_after: str
    content_type: str
    body: bytes

    def check(self) -> None:
        """Return if it says that all is well.

        Raises:
            SinkRefusedError: what was sent is wrong.
            SinkUnavailableError: anything else.
        """
        if 200 <= self.status <= 299:
            return
        if self.status in REFUSED:
            raise SinkRefusedError(self.shown())
        raise SinkUnavailableError(self.shown(), retry_after=_seconds(self.retry_after))

    def json(self) -> dict[str, Any]:
        """Return the body.

        Raises:
            SinkUnavailableError: it is not a JSON object.
        """
        try:
            document = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise SinkUnavailableError(f"{self.shown()}, which is not what such a receiver says")
        return document

    def shown(self) -> str:
        """Return status and beginning of the answer as one printable line."""
        text = " ".join(self.body[:1000].decode("utf-8", "replace").split())
        shown = "".join(c if c.isprintable() else "?" for c in text)[:300]
        return f"{self.host} answered {self.status}: {shown or 'nothing more'}"


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return what verifies a receiver.

    Raises:
        SinkUnavailableError: a file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.client_cert_file is not None:
            context.load_cert_chain(tls.client_cert_file, tls.client_key_file)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(path) for path in (tls.ca_file, tls.client_cert_file, tls.client_key_file) if path)
        raise SinkUnavailableError(f"the TLS files cannot be used ({files}): {error}") from error
    return context


class HttpTransport:
    """Posts to one receiver, over a connection that is kept as long as all goes well.

    Args:
        url: base address.
        tls: how it is verified.
        timeout_seconds: longest time of one request, from connecting to the last byte.
    """

    def __init__(self, url: str, tls: Tls, timeout_seconds: float) -> None:
        self._url = url.rstrip("/")
        self._shown = urlsplit(url).netloc
        self._tls = tls
        self._timeout = timeout_seconds
        self._runner: asyncio.Runner | None = None
        self._client: httpx.AsyncClient | None = None

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post, and return the answer, whatever it is.

        Raises:
            SinkUnavailableError: there was none within the time.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            return self._runner.run(self._post(path, body, headers))
        except SinkUnavailableError:
            self._drop()
            raise
        except TimeoutError as error:
            self._drop()
            raise SinkUnavailableError(f"{self._shown} did not answer within {self._timeout:g} seconds") from error
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, ValueError) as error:
            self._drop()
            raise SinkUnavailableError(f"{self._shown} cannot be reached: {str(error) or repr(error)}") from error

    def close(self) -> None:
        """Give back the connections."""
        self._drop()
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _drop(self) -> None:
        """Close the connections, so that the next one is made with the TLS files as they are then."""
        client, self._client = self._client, None
        if client is not None and self._runner is not None:
            self._runner.run(client.aclose())

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if self._client is None:
            verify = tls_context(self._tls) if self._url.startswith("https:") else ssl.create_default_context()
            self._client = httpx.AsyncClient(verify=verify, trust_env=False, follow_redirects=False, timeout=None)  # noqa: S113 - the whole is timed below
        async with asyncio.timeout(self._timeout):
            request = self._client.build_request(
                "POST", self._url + path, content=body, headers={**headers, "accept-encoding": "identity"}
            )
            response = await self._client.send(request, stream=True)
            try:
                content = bytearray()
                async for chunk in response.aiter_raw():
                    content += chunk
                    if len(content) > MAX_ANSWER_BYTES:
                        raise SinkUnavailableError(f"{self._shown} sends an answer that does not end")
            finally:
                await response.aclose()
        retry_after, kind = response.headers.get("retry-after", ""), response.headers.get("content-type", "")
        return Answer(self._shown, response.status_code, retry_after, kind, bytes(content))


def _seconds(value: str) -> float | None:
    """Return what a `Retry-After` asks for (RFC 9110, section 10.2.3), in seconds."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return None
