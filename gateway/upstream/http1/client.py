"""The upstream client: writes a call to a pooled connection, with the credential, and hands on the answer."""

from collections.abc import AsyncIterator, Sequence

import structlog

from gateway import __version__
from gateway.errors import UnavailableError, UpstreamError
from gateway.secrets.store import Resolved, SecretStore
from gateway.upstream.client import Backend
from gateway.upstream.http1.connection import BrokenConnectionError, Connection
from gateway.upstream.http1.pool import Pool, unreachable
from gateway.upstream.injection import Outgoing, credential_fields

_AGENT = f"user-agent: govgateway/{__version__}\r\n".encode()

_log = structlog.get_logger("govgateway.upstream")


class Http1Answer:
    """The answer of a backend while it arrives (`gateway.upstream.client.UpstreamAnswer`)."""

    __slots__ = ("_connection", "_pool", "credential", "headers", "status")

    def __init__(self, connection: Connection, pool: Pool, credential: Resolved | None = None) -> None:
        self.credential = credential
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
        if connection.complete:
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
        self._pools: dict[Backend, Pool] = {}

    async def post(
        self, backend: Backend, path: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, principal: str = ""
    ) -> Http1Answer:
        """Send a POST and return once the answer's head has arrived.

        A pooled connection that the server has closed is not used. A call is never sent twice, since once a byte of it
        was written the server may have begun to work on it (RFC 9110, section 9.2.2), but for one case: the server says
        401, which means that it did not, and the credential is another one by now.

        Raises:
            UpstreamConnectError, UpstreamError, UpstreamTimeoutError: as the seam says.
            UnavailableError: the backend's credential cannot be had, or too many connections are open.
        """
        pool = self._pools.get(backend)
        if pool is None:
            pool = self._pools[backend] = Pool(backend)
        on_behalf = principal if backend.per_agent else ""
        if backend.client_certificate:
            pool.show(await self._resolved(backend.client_certificate, ""))
        if not backend.credential:
            return await self._send(pool, self._head(pool, path, headers, body, None), body, None)
        credential = await self._resolved(backend.credential, on_behalf)
        answer = await self._send(pool, self._head(pool, path, headers, body, credential), body, credential)
        if answer.status == 401:
            renewed = await self._renewed(credential, on_behalf)
            if renewed is not None:
                answer.close()
                return await self._send(pool, self._head(pool, path, headers, body, renewed), body, renewed)
        return answer

    async def _send(self, pool: Pool, head: bytes, body: bytes, credential: Resolved | None) -> Http1Answer:
        connection = pool.take() or await pool.connect()
        try:
            connection.send(head, body)
        except BrokenConnectionError as error:
            raise unreachable() from error
        try:
            await connection.read_head(pool.backend.first_byte_timeout)
        except BrokenConnectionError as error:
            connection.abort()
            raise UpstreamError(
                "The model server closed the connection without an answer.", remedy="Try again.", code="upstream_broken"
            ) from error
        except BaseException:
            connection.abort()
            raise
        return Http1Answer(connection, pool, credential)

    async def close(self) -> None:
        """Close every connection; answers under way break."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def _head(
        self,
        pool: Pool,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        credential: Resolved | None,
    ) -> bytes:
        lines = [b"POST %b%b HTTP/1.1\r\nhost: %b\r\n" % (pool.prefix, path.encode(), pool.host), _AGENT]
        lines += [b"%b: %b\r\n" % header for header in headers]
        if credential is not None:
            request = Outgoing(pool.backend.base_url + path, headers, body)
            try:
                shown = credential_fields(pool.backend.injection, credential, request)
            except UnavailableError as error:
                raise _unusable(error) from error
            lines += [b"%b: %b\r\n" % header for header in shown]
        lines.append(b"content-length: %d\r\n\r\n" % len(body))
        head = b"".join(lines)
        expected = len(lines) + 2
        if head.count(b"\n") != expected or head.count(b"\r") != expected:
            raise ValueError("a header field or the path contains a line break")
        return head

    async def _resolved(self, reference: str, principal: str) -> Resolved:
        """Return a credential, or refuse the call without telling the caller where it is kept."""
        try:
            return await self._secrets.resolve(reference, principal)
        except UnavailableError as error:
            raise _unusable(error) from error

    async def _renewed(self, used: Resolved, principal: str) -> Resolved | None:
        """Return what a refused credential is by now, None if it is the same or cannot be had."""
        try:
            return await self._secrets.refused(used, principal)
        except UnavailableError as error:
            _log.warning("credential-not-renewed", code=error.code, detail=error.detail)
            return None


def _unusable(cause: UnavailableError) -> UnavailableError:
    error = UnavailableError(
        "The credential of the model server cannot be used.",
        remedy="The operator finds the cause in the gateway's log.",
        code=cause.code,
    )
    error.__cause__ = cause
    return error


def _too_large(limit: int) -> UpstreamError:
    return UpstreamError(f"The model server's answer is larger than {limit} bytes.", code="upstream_too_large")
