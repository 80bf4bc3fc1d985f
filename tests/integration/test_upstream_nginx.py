"""The upstream client with nginx: kept-alive connections that end, a restart, TLS, errors and redirects."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from gateway.errors import UpstreamConnectError
from gateway.secrets.reference_store import ReferenceStore
from gateway.upstream.client import Backend
from gateway.upstream.http1.client import Http1Client
from tests.support.scripted_backend import make_backend

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
pytestmark = [pytest.mark.interop, pytest.mark.skipif(NGINX is None, reason="nginx is not installed")]

CONFIG = """
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; default_type application/json;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port}; keepalive_requests 7; keepalive_timeout 1s;
    location /v1/ {{ return 200 '{{"id":"x"}}'; }}
    location /v1/redirect {{ return 307 http://127.0.0.1:{port}/v1/; }}
    location /v1/none {{ return 204; }}
    location /v1/relayed/ {{ proxy_pass http://127.0.0.1:{port}/v1/; proxy_http_version 1.1; gzip on; gzip_min_length 1; }}
  }}
}}
"""


class Nginx:
    """nginx on a port of its own."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._file = directory / "nginx.conf"
        user = "user root;" if Path("/proc/self").owner() == "root" else ""
        self._file.write_text(CONFIG.format(directory=directory, port=self.port, user=user))

    @property
    def backend(self) -> Backend:
        return make_backend(f"http://127.0.0.1:{self.port}/v1")

    def start(self) -> None:
        assert NGINX is not None
        self._process = subprocess.Popen([NGINX, "-c", str(self._file), "-p", str(self._file.parent)])
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError("nginx did not start")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    server = Nginx(tmp_path)
    server.start()
    yield server
    server.stop()


async def call(client: Http1Client, backend: Backend, path: str = "/chat/completions") -> tuple[int, bytes]:
    answer = await client.post(backend, path, [(b"content-type", b"application/json")], b'{"model":"m"}')
    try:
        return answer.status, await answer.read(100_000)
    finally:
        answer.close()


def run(scenario) -> None:
    async def main() -> None:
        client = Http1Client(ReferenceStore())
        try:
            await scenario(client)
        finally:
            await client.close()

    uvloop.run(main())


def test_no_call_is_lost_when_connections_end_after_a_few_requests(nginx: Nginx) -> None:
    async def scenario(client: Http1Client) -> None:
        async def many() -> None:
            for _ in range(100):
                assert await call(client, nginx.backend) == (200, b'{"id":"x"}')

        await asyncio.gather(*(many() for _ in range(8)))

    run(scenario)


def test_no_call_is_lost_when_idle_connections_time_out(nginx: Nginx) -> None:
    async def scenario(client: Http1Client) -> None:
        for pause in (0.9, 1.0, 1.05, 1.5):
            assert await call(client, nginx.backend) == (200, b'{"id":"x"}')
            await asyncio.sleep(pause)
        assert await call(client, nginx.backend) == (200, b'{"id":"x"}')

    run(scenario)


def test_a_restart_of_the_backend_costs_only_the_calls_in_between(nginx: Nginx) -> None:
    async def scenario(client: Http1Client) -> None:
        assert (await call(client, nginx.backend))[0] == 200
        nginx.stop()
        with pytest.raises(UpstreamConnectError):
            await call(client, nginx.backend)
        nginx.start()
        assert (await call(client, nginx.backend))[0] == 200

    run(scenario)


def test_redirects_errors_and_empty_answers_are_handed_on(nginx: Nginx) -> None:
    async def scenario(client: Http1Client) -> None:
        assert (await call(client, nginx.backend, "/redirect"))[0] == 307
        assert await call(client, nginx.backend, "/none") == (204, b"")
        assert (await call(client, nginx.backend, "/../missing"))[0] == 404
        assert await call(client, nginx.backend, "/relayed/x") == (200, b'{"id":"x"}')

    run(scenario)
