"""What leaves a running gateway's log: copies for a SIEM, locked copies in an object store, and their failures."""

import http.server
import json
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import MODELS
from tests.support.object_store import REGION, S3Server, s3_server
from tests.support.running_gateway import RunningGateway, govctl

BODY = {"model": "example-chat", "messages": [{"role": "user", "content": "Who else knows?"}], "max_tokens": 4}


class Receiver:
    """A stand-in for a SIEM: takes JSON lines over HTTP, or refuses while it is `away`."""

    def __init__(self) -> None:
        self.records: list[dict] = []
        self.away = False
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.headers["authorization"] == "Bearer canary-token"
                if not receiver.away:
                    receiver.records += [json.loads(line) for line in body.splitlines()]
                self.send_response(503 if receiver.away else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/audit"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def gateway(example_backend: str, tmp_path: Path, receiver: Receiver) -> Iterator[RunningGateway]:
    running = RunningGateway(tmp_path / "home", example_backend, MODELS)
    token = running.directory / "siem.token"
    token.write_text("canary-token")
    token.chmod(0o600)
    sink = {
        "type": "http", "name": "siem", "url": receiver.url, "token": "file:siem.token",
        "poll_seconds": 0.1, "failed_after_seconds": 0.2, "retry_max_seconds": 0.5,
    }  # fmt: skip
    running.edit_config({"audit": {"sinks": [sink]}})
    running.start()
    yield running
    running.end()


def call(gateway: RunningGateway) -> str:
    agent = gateway.register(f"agent/a{time.monotonic_ns()}")
    with httpx.Client(base_url=f"https://localhost:{gateway.port}", verify=agent.tls(), trust_env=False) as client:
        answer = client.post("/v1/chat/completions", json=BODY)
    assert answer.status_code == 200
    return answer.headers["x-request-id"]


def wait_for(condition) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen")


def ids(receiver: Receiver) -> set[str]:
    return {record["event_id"] for record in receiver.records}


def test_every_record_reaches_the_sink_also_those_of_its_absence(gateway, receiver):
    first = call(gateway)
    wait_for(lambda: first in ids(receiver))
    receiver.away = True
    second = call(gateway)  # a sink that is away stops nobody
    wait_for(lambda: any(entry["type"] == "sink.failed" for entry in gateway.records(40)))
    assert second not in ids(receiver)
    receiver.away = False
    wait_for(lambda: second in ids(receiver))
    wait_for(lambda: any(entry["type"] == "sink.recovered" for entry in gateway.records(40)))
    assert 'govgateway_audit_sink_healthy{sink="siem"}' in gateway.metrics()
    assert gateway.stop() == 0
    gateway.start()  # what was written at the end goes out after the restart
    written = {entry["event_id"] for entry in gateway.records(1000)}
    wait_for(lambda: written <= ids(receiver))
    shown = govctl(gateway.directory, "config", "show").stdout
    assert "canary-token" not in shown + gateway.log_path.read_text()


@pytest.fixture
def copied(gateway: RunningGateway) -> Iterator[tuple[RunningGateway, S3Server, str]]:
    """The gateway, its checkpoints and tiles copied to a bucket with object lock."""
    with s3_server() as server:
        server.make_bucket(bucket := f"log-{secrets.token_hex(4)}")
        for name in ("access", "secret"):
            path = gateway.directory / f"s3.{name}"
            path.write_text("canary-s3")
            path.chmod(0o600)
        copies = {
            "endpoint": server.url, "bucket": bucket, "region": REGION, "prefix": "gw/", "interval_seconds": 1,
            "access_key": "file:s3.access", "secret_key": "file:s3.secret",
        }  # fmt: skip
        gateway.stop()
        gateway.edit_config({"audit": {"copies": copies}})
        gateway.start()
        yield gateway, server, bucket
        gateway.end()


def copies_of(server: S3Server, bucket: str) -> list[str]:
    client = server.client()
    found = client.list_objects_v2(Bucket=bucket, Prefix="gw/").get("Contents", [])
    client.close()
    return sorted(each["Key"] for each in found)


def copied_records(gateway: RunningGateway) -> int:
    shown = json.loads(govctl(gateway.directory, "audit", "anchors", "--json").stdout)
    return shown["anchors"]["locked copies"]["largest"]


def test_checkpoints_and_tiles_lie_in_the_bucket_locked_and_an_older_log_is_refused(copied, tmp_path):
    gateway, server, bucket = copied
    call(gateway)
    wait_for(lambda: "gw/checkpoint" in copies_of(server, bucket))
    gateway.stop()
    shown = json.loads(govctl(gateway.directory, "audit", "anchors", "--json").stdout)
    assert shown["anchors"]["locked copies"]["checkpoints"] >= 1
    assert shown["anchors"]["locked copies"]["passed_over"] == []
    held = len(gateway.records(10_000))
    older = tmp_path / "older"
    shutil.copytree(gateway.directory / "state" / "audit", older)
    gateway.start()
    call(gateway)
    wait_for(lambda: copied_records(gateway) > held)
    client = server.client()
    locked = next(key for key in copies_of(server, bucket) if key.startswith("gw/checkpoints/"))
    assert client.head_object(Bucket=bucket, Key=locked)["ObjectLockMode"] == "COMPLIANCE"
    client.close()
    gateway.stop()
    shutil.rmtree(gateway.directory / "state" / "audit")
    shutil.copytree(older, gateway.directory / "state" / "audit")
    assert govctl(gateway.directory, "audit", "anchors", check=False).returncode == 1
    done = govctl(gateway.directory, "up", check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert f"the bucket {bucket}" in done.stdout + done.stderr
    assert "canary-s3" not in gateway.log_path.read_text() + govctl(gateway.directory, "config", "show").stdout


def test_a_bucket_that_locks_nothing_is_refused_at_the_start(copied):
    gateway, server, bucket = copied
    gateway.stop()
    server.make_bucket(f"{bucket}-open", locks=False)
    gateway.edit_config({"audit": {"copies": {"bucket": f"{bucket}-open"}}})
    done = govctl(gateway.directory, "up", check=False)
    assert done.returncode == 1
    assert "does not lock objects" in done.stdout + done.stderr


def test_an_unusable_sink_is_named_before_anything_starts(gateway):
    gateway.stop()
    gateway.edit_config({"audit": {"sinks": [{"type": "http", "name": "siem", "url": "http://siem.example.org/"}]}})
    done = govctl(gateway.directory, "up", check=False)
    assert done.returncode == 1
    assert "not encrypted" in done.stdout + done.stderr
