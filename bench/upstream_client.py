"""Cost of one forwarded call by client: httpx, aiohttp tuned, and the gateway's own on llhttp, against a local server.

Usage: python bench/upstream_client.py [--json FILE]

CPU time of this process only; the server runs in another one. The clients take turns; the median of the rounds counts.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import httpx
import uvloop
from yarl import URL

from gateway.secrets.reference_store import ReferenceStore
from gateway.upstream.client import Backend
from gateway.upstream.http1.client import Http1Client

ANSWER = b'{"id":"x","choices":[{"message":{"role":"assistant","content":"hello"}}],"usage":{"total_tokens":12}}'
BODY = b'{"model":"tiny","messages":[{"role":"user","content":"hello there"}],"max_tokens":64}'
CONCURRENT = 32
ROUNDS = 5

Call = Callable[[], Awaitable[object]]


class FixedAnswer(asyncio.Protocol):
    """Answers each request, which must fit in one read, with the same bytes."""

    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(BODY):
            self.transport.write(self.head + ANSWER)  # type: ignore[attr-defined]


def serve(ready: Connection) -> None:
    """Run the server in a process of its own."""

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(FixedAnswer, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


async def cost(call: Call, calls: int) -> float:
    """Return CPU microseconds a call."""

    async def one() -> None:
        for _ in range(calls // CONCURRENT):
            await call()

    begin = time.process_time()
    await asyncio.gather(*(one() for _ in range(CONCURRENT)))
    return (time.process_time() - begin) / calls * 1e6


async def compare(port: int, calls: int) -> dict[str, float]:
    """Measure the clients in turn."""
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    ours = Http1Client(ReferenceStore())
    backend = Backend("b", f"http://127.0.0.1:{port}/v1", "", False, "", "", "", "", 2, 10, 10)
    parsed = URL(url)
    headers = [(b"content-type", b"application/json")]

    async def by_ours() -> bytes:
        answer = await ours.post(backend, "/chat/completions", headers, BODY)
        body = await answer.read(100_000)
        answer.close()
        return body

    async with (
        httpx.AsyncClient(limits=httpx.Limits(max_connections=64), trust_env=False) as by_httpx,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=64),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=["accept", "accept-encoding", "user-agent"],
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=10),
        ) as session,
    ):

        async def by_aiohttp() -> bytes:
            async with session.post(
                parsed, data=BODY, headers={"content-type": "application/json"}, allow_redirects=False
            ) as answer:
                return await answer.read()

        clients: dict[str, Call] = {
            "httpx": lambda: by_httpx.post(url, content=BODY, headers={"content-type": "application/json"}),
            "aiohttp": by_aiohttp,
            "gateway.upstream.http1": by_ours,
        }
        rounds: dict[str, list[float]] = {name: [] for name in clients}
        for _ in range(ROUNDS):
            for name, call in clients.items():
                rounds[name].append(await cost(call, calls))
    await ours.close()
    return {f"{name}_microseconds": statistics.median(values) for name, values in rounds.items()}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    result = uvloop.run(compare(ours.recv(), 1600))
    server.terminate()
    server.join()
    print("| figure | value |\n| --- | --- |")
    for name, value in result.items():
        print(f"| {name} | {value:.0f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
