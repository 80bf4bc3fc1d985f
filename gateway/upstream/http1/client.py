"""The upstream client: pooled HTTP/1.1 connections to the backends of the registry."""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

from gateway import __version__
from gateway.errors import UnavailableError, UpstreamConnectError, UpstreamError
from gateway.secrets.store import SecretStore
from gateway.upstream.client import Backend
from gateway.upstream.http1.connection import BrokenConnectionError, Connection

IDLE_SECONDS = 4.0
"""A pooled connection unused for longer is not used again (seconds): vLLM, like any uvicorn, closes its after 5."""

IDLE_CONNECTIONS = 512
"""Idle connections kept for each backend."""

_AGENT = f"govgateway/{__version__}".encode()


class Http1Answer:
    """The answer of a backend while it arrives (`gateway.upstream.client.UpstreamAnswer`)."""

    __slots__ = ("_connection", "_pool", "headers", "status")

    def __init__(self, connection: Connection, pool: "_Pool") -> None:
        self._connection: Connection | None = connection
        self._pool = pool
        self.status = connection.status
        self.headers: Sequence[tuple[bytes, bytes]] = connection.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body's bytes as they arrive."""
        while chunk := await self._next():
            yield chunk

    async def read(self, limit: int) -> bytes:
        """Return the whole body, at most `limit` bytes."""
        first = await self._next()
        if len(first) > limit:
            raise _too_large(limit)
        parts = [first]
        size = len(first)
        while chunk := await self._next():
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            parts.append(chunk)
        return first if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Give the connection back if the answer was read to its end, else cut it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.complete and connection.usable:
            self._pool.give_back(connection)
        else:
            connection.abort()

    async def _next(self) -> bytes:
        if self._connection is None:
            return b""
        try:
            return await self._connection.next_chunk(self._pool.backend.idle_timeout)
        except BrokenConnectionError as error:
            raise UpstreamError(
                "The model server broke off in the middle of its answer.", remedy="Try again.", code="upstream_broken"
            ) from error


class Http1Client:
    """Sends requests to backends (`gateway.upstream.client.UpstreamClient`)."""

    def __init__(self, secrets: SecretStore) -> None:
        self._secrets = secrets
        self._pools: dict[Backend, _Pool] = {}

    async def post(
        self, backend: Backend, path: str, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> Http1Answer:
        """Send a POST and return once the answer's head has arrived.

        A pooled connection that the server has closed is not used. One that it closes while the request is being
        written fails the call: a model call is not repeatable (RFC 9110, section 9.2.2), so nothing is sent twice.
        """
        pool = self._pools.get(backend)
        if pool is None:
            pool = self._pools[backend] = _Pool(backend)
        head = await self._head(pool, path, headers, len(body))
        connection = pool.take() or await pool.connect()
        try:
            connection.send(head, body)
            await connection.read_head(backend.first_byte_timeout)
        except BrokenConnectionError as error:
            connection.abort()
            raise UpstreamError(
                "The model server closed the connection without an answer.", remedy="Try again.", code="upstream_broken"
            ) from error
        except BaseException:
            connection.abort()
            raise
        return Http1Answer(connection, pool)

    async def close(self) -> None:
        """Close every idle connection."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    async def _head(self, pool: "_Pool", path: str, headers: Sequence[tuple[bytes, bytes]], length: int) -> bytes:
        lines = [
            b"POST %b%b HTTP/1.1\r\nhost: %b\r\nuser-agent: %b\r\n" % (pool.prefix, path.encode(), pool.host, _AGENT)
        ]
        lines += [b"%b: %b\r\n" % header for header in headers]
        if pool.backend.credential:
            secret = await self._secrets.resolve(pool.backend.credential)
            lines.append(b"authorization: Bearer %b\r\n" % _header_value(secret.reveal(), pool.backend))
        lines.append(b"content-length: %d\r\n\r\n" % length)
        return b"".join(lines)


class _Pool:
    """Idle connections to one backend, the latest used first."""

    def __init__(self, backend: Backend) -> None:
        parts = urlsplit(backend.base_url)
        self.backend = backend
        self.prefix = parts.path.rstrip("/").encode()
        self.host = parts.netloc.encode()
        self._address = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = _context(backend) if parts.scheme == "https" else None
        self._idle: deque[Connection] = deque()

    def take(self) -> Connection | None:
        """Return an idle connection that is still open, or None."""
        oldest = time.monotonic() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        if len(self._idle) >= IDLE_CONNECTIONS:
            connection.abort()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    async def connect(self) -> Connection:
        """Open a connection.

        Raises:
            UpstreamConnectError: refused, unreachable, not in time, or its certificate does not verify.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.backend.connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop), self._address, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError) as error:
            # Address and cause are for the operator's log, not for the caller.
            raise UpstreamConnectError(
                "The model server cannot be reached.", remedy="Try again; if it lasts, tell the operator."
            ) from (error if str(error) else TimeoutError(f"no connection within {self.backend.connect_timeout:g} s"))
        return connection

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().abort()


def _context(backend: Backend) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=backend.ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if backend.client_cert_file:
        context.load_cert_chain(backend.client_cert_file, backend.client_key_file)
    return context


def _header_value(value: bytes, backend: Backend) -> bytes:
    if not value or any(byte < 0x21 or byte > 0x7E for byte in value):
        raise UnavailableError(
            f"The credential of the backend {backend.name} is not usable in a header.",
            remedy="The operator has to store it without spaces and line breaks.",
            code="secret_malformed",
        )
    return value


def _too_large(limit: int) -> UpstreamError:
    return UpstreamError(f"The model server's answer is larger than {limit} bytes.", code="upstream_too_large")
