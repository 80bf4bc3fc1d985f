"""nginx: the fixed-answer backend, and a bare mutual-TLS proxy as a limit to compare with."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from harness.machine import HARNESS_NICE
from harness.processes import BenchError, Cores, Program, free_ports, listening

from peers.base import CALLS_MODEL, Lane, Running, World

ANSWER = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": CALLS_MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The quick brown fox jumps over the lazy dog."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42},
    }
)

MAIN = """\
daemon off;
{user}
worker_processes {workers};
pid {directory}/nginx.pid;
error_log {directory}/error.log error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  tcp_nodelay on;
  client_body_buffer_size 64k;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
{http}
}}
"""

BACKEND = """\
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{answer}'; }}
  }}
"""

PROXY = """\
  upstream calls {{ server 127.0.0.1:{calls_port}; keepalive 256; keepalive_requests 1000000000; }}
  upstream streams {{ server 127.0.0.1:{streams_port}; keepalive 1024; keepalive_requests 1000000000; }}
  ssl_certificate {server.certificate};
  ssl_certificate_key {server.key};
  ssl_client_certificate {server.authorities};
  ssl_verify_client on;
  ssl_protocols TLSv1.3;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096;
    location / {{ proxy_pass http://calls; }}
  }}
  server {{
    listen 127.0.0.1:{streams_listen} ssl backlog=4096;
    location / {{ proxy_pass http://streams; proxy_buffering off; }}
  }}
"""


# Debian keeps nginx outside a plain user's PATH; run.sh unpacks one where there is none.
PLACES = f"/usr/sbin:/usr/local/sbin:{Path(__file__).resolve().parent.parent / '.work/nginx/usr/sbin'}"


def _binary() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path=PLACES)
    if found is None:
        raise BenchError("nginx is not installed. Run bench/run.sh, which unpacks it under bench/.work.")
    return found


def _launch(name: str, directory: Path, workers: int, cores: Cores, http: str, *, nice: int = 0) -> Program:
    config = directory / "nginx.conf"
    # Stay the user that started it: in a user namespace there is no other to change to.
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(MAIN.format(user=user, workers=workers, directory=directory, http=http))
    command: list[str | Path] = [_binary(), "-p", directory, "-e", directory / "error.log", "-c", config]
    return Program(name, command, cores=cores, log=directory / "error.log", nice=nice)


def version() -> str:
    """Return nginx's version."""
    output = subprocess.run([_binary(), "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/(\S+)", output)
    return found.group(1) if found else output.strip()


def start_backend(work: Path, port: int, workers: int, cores: Cores) -> Program:
    """Start the backend that gives every request the same chat completion."""
    directory = work / "backend"
    directory.mkdir(parents=True, exist_ok=True)
    http = BACKEND.format(port=port, answer=ANSWER)
    program = _launch("the backend", directory, workers, cores, http, nice=HARNESS_NICE)
    program.wait_until(lambda: listening(port), 10)
    return program


class NginxProxy:
    """nginx as a bare mutual-TLS proxy."""

    name = "nginx"
    title = "nginx, bare mutual-TLS proxy"
    setup = "TLS 1.3, client certificate verified, kept-alive upstream connections, no access log."

    def version(self, world: World) -> str:
        """Return nginx's version."""
        del world
        return version()

    def start(self, world: World, workers: int, cores: Cores) -> Running:
        """Start the proxy."""
        port, streams_listen = free_ports(2)
        http = PROXY.format(
            port=port,
            streams_listen=streams_listen,
            calls_port=world.calls_port,
            streams_port=world.streams_port,
            server=world.server,
        )
        program = _launch(self.name, world.directory(f"nginx-{workers}"), workers, cores, http)
        running = Running([program], Lane([port]), Lane([streams_listen]), tls=world.client)
        program.wait_until(lambda: listening(port), 10)
        return running
