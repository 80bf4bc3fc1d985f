"""Asks one configured HTTPS address and takes no more than was meant: no redirect, no proxy, bounded size and time."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from identity.errors import IdentityError

MAX_BYTES = 1024 * 1024
"""Largest answer taken unless told otherwise (bytes)."""

TIMEOUT_SECONDS = 10.0
"""Longest time for a whole answer unless told otherwise."""


@dataclass(frozen=True, slots=True)
class FetchAnswer:
    """An answer: its status, its header fields by lower-case name, and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Inspect = Callable[[ssl.SSLObject], None]
"""Looks at the TLS connection before anything is sent over it; raises to refuse it."""


class FetchError(IdentityError):
    """An address did not answer, or not with what was asked for."""


def https_url(url: str, *, query: bool = False) -> str:
    """Return an address if it may be asked: https, a host, and neither user nor fragment, nor query unless `query`.

    Raises:
        FetchError: the rule that it breaks.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError(f"{url[:200]!r} is not an address: {error}") from error
    if parts.scheme != "https" or not parts.hostname:
        raise FetchError(f"{url[:200]!r} is not an https address; nothing is fetched without TLS")
    if parts.username is not None or parts.fragment or "#" in url or port == 0 or (not query and "?" in url):
        raise FetchError(f"{url[:200]!r} has a user, query or fragment, which an address here must not have")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise FetchError(f"{url[:200]!r} has characters that an address must not have")
    return url


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a client's TLS settings: host names checked against the system's authorities, or those of a PEM file.

    Raises:
        FetchError: the file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise FetchError(f"the authorities {ca_file} cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def fetch(
    url: str,
    tls: ssl.SSLContext,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    statuses: frozenset[int] = frozenset({200}),
    max_bytes: int = MAX_BYTES,
    timeout_seconds: float = TIMEOUT_SECONDS,
    inspect: Inspect | None = None,
    query: bool = False,
) -> bytes:
    """Return the body of the answer (see `fetch_answer`)."""
    answer = await fetch_answer(
        url, tls, method=method, headers=headers, content=content, statuses=statuses, max_bytes=max_bytes,
        timeout_seconds=timeout_seconds, inspect=inspect, query=query,
    )  # fmt: skip
    return answer.body


async def fetch_answer(
    url: str,
    tls: ssl.SSLContext,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    statuses: frozenset[int] = frozenset({200}),
    max_bytes: int = MAX_BYTES,
    timeout_seconds: float = TIMEOUT_SECONDS,
    inspect: Inspect | None = None,
    query: bool = False,
) -> FetchAnswer:
    """Ask, and return the answer.

    Args:
        url: the address, as `https_url` takes it with `query`.
        tls: how the server proves itself.
        method, headers, content: of the request.
        statuses: of an answer that is taken.
        max_bytes, timeout_seconds: bounds of the whole answer.
        inspect: looks at the connection before the request goes out.
        query: whether the address may have a query.

    Raises:
        FetchError: no connection, no trust in the server, another status, a redirect, too large or too slow.
    """
    https_url(url, query=query)
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _fetch(url, tls, method, headers or {}, content, statuses, max_bytes, inspect)
    except TimeoutError:
        raise FetchError(f"{url} did not answer within {timeout_seconds:g} seconds") from None
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
        raise FetchError(f"{url} cannot be fetched: {error or type(error).__name__}") from error


async def _fetch(
    url: str,
    tls: ssl.SSLContext,
    method: str,
    headers: Mapping[str, str],
    content: bytes | None,
    statuses: frozenset[int],
    max_bytes: int,
    inspect: Inspect | None,
) -> FetchAnswer:
    sent = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "govgateway", **headers}
    async with (
        httpx.AsyncClient(verify=tls, trust_env=False, follow_redirects=False, timeout=None) as client,  # noqa: S113 - the whole is timed by the caller
        client.stream(method, url, headers=sent, content=content, extensions=_inspected(inspect, url)) as response,
    ):
        if 300 <= response.status_code < 400 and response.status_code not in statuses:
            raise FetchError(f"{url} redirects ({response.status_code}), which is never followed; configure the target")
        if response.status_code not in statuses:
            raise FetchError(f"{url} answered {response.status_code}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise FetchError(f"{url} sent a compressed answer, which was not asked for")
        body = bytearray()
        async for chunk in response.aiter_raw(65_536):
            body += chunk
            if len(body) > max_bytes:
                raise FetchError(f"{url} sent more than {max_bytes} bytes")
        return FetchAnswer(response.status_code, dict(response.headers), bytes(body))


def _inspected(inspect: Inspect | None, url: str) -> dict[str, Any]:
    """Return the extension of a request that has its connection inspected before the request goes out."""
    if inspect is None:
        return {}
    passed = False

    async def trace(event: str, info: Mapping[str, Any]) -> None:
        nonlocal passed
        if event == "connection.start_tls.complete":
            stream = info["return_value"]
            try:
                inspect(_tls_of(stream, url))
            except BaseException:
                await stream.aclose()
                raise
            passed = True
        elif ".send_request_" in event and not passed:
            raise FetchError(f"{url}: the TLS connection was not examined, so nothing is sent over it")

    return {"trace": trace}


def _tls_of(stream: Any, url: str) -> ssl.SSLObject:
    found = stream.get_extra_info("ssl_object")
    if found is None:
        raise FetchError(f"{url}: the TLS connection cannot be examined, so the server is not trusted")
    return found  # type: ignore[no-any-return]  # untyped in httpcore
