"""A backend whose every byte a test chooses, on a real socket of the test's own event loop."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from gateway.upstream.client import Backend


def make_backend(url: str, **changes: object) -> Backend:
    """Return a backend of the registry with short timeouts."""
    fields: dict[str, object] = {
        "name": "internal-backend",
        "base_url": url,
        "region": "",
        "continuous_usage": False,
        "credential": "",
        "ca_file": "",
        "client_cert_file": "",
        "client_key_file": "",
        "connect_timeout": 5.0,
        "first_byte_timeout": 5.0,
        "idle_timeout": 5.0,
    }
    return Backend(**{**fields, **changes})  # type: ignore[arg-type]


class Peer:
    """The backend's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> tuple[bytes, bytes]:
        """Read one request; return head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head[:-4].split(b"\r\n")[1:])
        return head, await self.reader.readexactly(int(fields[b"content-length"]))

    async def send(self, data: bytes) -> None:
        """Write and wait until the other side takes it."""
        self.writer.write(data)
        await self.writer.drain()

    async def left(self) -> None:
        """Wait until the other side is gone."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass


Script = Callable[[Peer], Awaitable[None]]


class ScriptedBackend:
    """Runs `script` for each connection and closes it afterwards.

    Attributes:
        connections: connections accepted so far.
        open: connections open now.
        requests: heads and bodies that `answering` read.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.open = 0
        self.port = 0

    @classmethod
    def answering(cls, *answers: bytes, tls: ssl.SSLContext | None = None) -> "ScriptedBackend":
        """Return a backend that answers the requests of a connection with `answers` in turn, then closes it."""

        async def script(peer: Peer) -> None:
            for answer in answers:
                server.requests.append(await peer.request())
                await peer.send(answer)

        server = cls(script, tls)
        server.requests = []
        return server

    requests: list[tuple[bytes, bytes]]

    def backend(self, *, prefix: str = "/v1", host: str = "127.0.0.1", **changes: object) -> Backend:
        """Return this backend as the registry would hold it."""
        scheme = "https" if self._tls else "http"
        return make_backend(f"{scheme}://{host}:{self.port}{prefix}", **changes)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            await self._script(Peer(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()


async def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
