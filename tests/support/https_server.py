"""A real HTTPS server on the loopback interface that answers as a test says: also slowly, too much, or elsewhere."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.support.certificates import CertificateAuthority, Leaf, new_key


@dataclass(frozen=True)
class Request:
    """What a client sent; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What it gets. `pause` (seconds) lies between the head and the body."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0.0


Handler = Callable[[Request], Awaitable[Answer] | Answer]


@dataclass
class HttpsServer:
    """A server that is up."""

    port: int
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


def loopback_leaf(root: CertificateAuthority, now: int, *dns: str) -> Leaf:
    """Issue a web server's certificate for 127.0.0.1 and the names `dns`, in date at `now` (UNIX seconds)."""
    key = new_key()
    name = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1")), *map(x509.DNSName, dns)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(now - 60, UTC))
        .not_valid_after(datetime.fromtimestamp(now + 3600, UTC))
        .add_extension(name, critical=True)
    )
    return Leaf(builder.sign(root.key, hashes.SHA256()), key)


@asynccontextmanager
async def serving(leaf: Leaf, directory: Path, handler: Handler) -> AsyncIterator[HttpsServer]:
    """Serve with the certificate `leaf`."""
    chain, key = leaf.files(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server_state = HttpsServer(0)
    open_tasks: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_tasks.add(task)
        # Whoever cancels it has what it wants: asyncio would report a cancelled connection as an error.
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await _serve(reader, writer, handler, server_state.requests)
        with suppress(ConnectionError, ssl.SSLError, TimeoutError, asyncio.CancelledError):
            writer.close()
            await writer.wait_closed()
        open_tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    server_state.port = server.sockets[0].getsockname()[1]
    try:
        yield server_state
    finally:
        server.close()
        for task in open_tasks:
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler, seen: list[Request]
) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in head[1:] if line}
    request = Request(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
    seen.append(request)
    answer = handler(request)
    if not isinstance(answer, Answer):
        answer = await answer
    lines = [f"HTTP/1.1 {answer.status} Answer", "connection: close"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    await writer.drain()
    await asyncio.sleep(answer.pause)
    writer.write(answer.body)
    await writer.drain()
