"""Asks an OPA server over pooled connections: bounded in number, in time and in the size of an answer."""

import asyncio
from collections import deque

from gateway.authorization.opa.address import OpaAddress
from gateway.errors import UpstreamError
from gateway.upstream.http1.connection import BrokenConnectionError, Connection

MAX_ANSWER_BYTES = 1_048_576
"""Largest answer read (bytes)."""


class OpaAwayError(Exception):
    """The server gave no whole answer in time; the message says why."""


class OpaClient:
    """Connections to one OPA server. It belongs to the event loop that first asks.

    Args:
        address: the server.
        connections: most connections open at a time.
    """

    def __init__(self, address: OpaAddress, connections: int) -> None:
        self.address = address
        self._size = connections
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    async def ask(self, head: bytes, body: bytes, deadline: float) -> tuple[int, bytes]:
        """Send a request and return the answer's status and body.

        A question changes nothing on the server. It is asked once more, within the same deadline, where a kept
        connection ended before a byte of the answer came: the server had closed it, or was started anew.

        Args:
            head: the request's head, up to and with the empty line.
            body: its body.
            deadline: time of the event loop by which the whole answer must be there (seconds).

        Raises:
            OpaAwayError: no connection, no answer, none in time, one that is not HTTP, or one that is too large.
        """
        connection = self._take()
        if connection is not None:
            try:
                return await self._exchange(connection, head, body, deadline)
            except BrokenConnectionError as error:
                if connection.begun:
                    raise OpaAwayError(f"{self.address.text} broke off in the middle of its answer") from error
                # What else was kept leads to where this one led.
                self._drop_idle()
        connection = await self._fresh(deadline)
        try:
            return await self._exchange(connection, head, body, deadline)
        except BrokenConnectionError as error:
            raise OpaAwayError(f"{self.address.text} closed the connection without an answer") from error

    def close(self) -> None:
        """Close every connection; questions under way fail."""
        self._closed = True
        self._idle.clear()
        for connection in tuple(self._open):
            connection.abort()
        while self._waiting:
            self._wake()

    def counts(self) -> tuple[int, int]:
        """Return how many connections are open and how many of them are idle."""
        return len(self._open), len(self._idle)

    async def _exchange(self, connection: Connection, head: bytes, body: bytes, deadline: float) -> tuple[int, bytes]:
        whole = False
        try:
            connection.send(head, body)
            await connection.read_head(self._left(deadline))
            status = connection.status
            answer = await connection.next_chunk(self._left(deadline))
            if not connection.complete:
                answer = await self._rest(connection, answer, deadline)
            whole = True
        except UpstreamError as error:
            raise OpaAwayError(f"{self.address.text} gave no usable answer in time: {error.code}") from error
        finally:
            if whole and connection.usable and not self._closed:
                self._idle.append(connection)
                self._wake()
            else:
                connection.abort()
        if len(answer) > MAX_ANSWER_BYTES:
            raise _too_large(self.address)
        return status, answer

    async def _rest(self, connection: Connection, first: bytes, deadline: float) -> bytes:
        parts, size = [first], len(first)
        while chunk := await connection.next_chunk(self._left(deadline)):
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise _too_large(self.address)
            parts.append(chunk)
        return b"".join(parts)

    def _take(self) -> Connection | None:
        """Return a kept connection that the server has not closed, or None."""
        while self._idle:
            connection = self._idle.pop()
            # The event loop may not have seen the end of the connection yet; the socket has.
            if connection.usable and connection.silent:
                return connection
            connection.abort()
        return None

    async def _fresh(self, deadline: float) -> Connection:
        """Return a new connection, or one that another question gave back while this one waited for room."""
        try:
            async with asyncio.timeout_at(deadline):
                while not self._closed:
                    if len(self._open) < self._size:
                        return await self._connect()
                    await self._room()
                    kept = self._take()
                    if kept is not None:
                        return kept
        except TimeoutError as error:
            waited = len(self._open) >= self._size
            what = f"all {self._size} connections are in use" if waited else "no connection was made"
            raise OpaAwayError(f"{self.address.text}: {what} within the deadline") from error
        except OSError as error:
            raise OpaAwayError(f"{self.address.text} cannot be reached: {error}") from error
        raise OpaAwayError(f"{self.address.text} is no longer asked")

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self._lost)
        self._open.add(connection)
        address = self.address
        try:
            if address.socket:
                await loop.create_unix_connection(lambda: connection, address.socket)
            else:
                context = address.tls.context() if address.tls else None
                await loop.create_connection(lambda: connection, address.host, address.port, ssl=context)
        except BaseException:
            connection.abort()
            self._lost(connection)
            raise
        return connection

    async def _room(self) -> None:
        """Wait until a connection is given back or lost."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self._wake()  # it was this one's turn, and it is gone
            raise

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().abort()

    @staticmethod
    def _left(deadline: float) -> float:
        return max(deadline - asyncio.get_running_loop().time(), 0.0)


def _too_large(address: OpaAddress) -> OpaAwayError:
    return OpaAwayError(f"{address.text} answered with more than {MAX_ANSWER_BYTES} bytes")
