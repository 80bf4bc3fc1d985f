"""OpenTelemetry logs: against a real OpenTelemetry Collector, over TLS, also one that is killed."""

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from audit.chain import link, record_hash
from audit.event_id import uuid7
from audit.sinks import CursorFile, Follower, Following
from audit.sinks.formats import Origin
from audit.sinks.opening import open_sink
from audit.sinks.settings import OtlpSettings, Tls
from audit.store import SqliteStore
from tests.support.certificates import CertificateAuthority
from tests.support.https_server import loopback_leaf

pytestmark = pytest.mark.interop

PROGRAM = Path(__file__).resolve().parents[2] / ".interop" / "bin" / "collector"
TRACE = "0af7651916cd43dd8448eb211c80319c"
START_NS = 1_800_000_000_000_000_000

_CONFIG = """
receivers:
  otlp:
    protocols:
      http:
        endpoint: 127.0.0.1:{port}
        tls: {{cert_file: {chain}, key_file: {key}}}
exporters:
  debug: {{verbosity: detailed, use_internal_logger: false}}
service:
  telemetry:
    metrics: {{level: none}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [debug]}}
"""


class Collector:
    """One collector; it may be started and killed any number of times."""

    def __init__(self, directory: Path) -> None:
        assert PROGRAM.is_file(), "the collector is missing; deploy/interop.sh builds it"
        self.output = directory / "collector.out"
        self.ca_file = directory / "ca.pem"
        self._config = directory / "collector.yaml"
        root = CertificateAuthority.root("example.org", now=int(time.time()))
        self.ca_file.write_bytes(root.certificate.public_bytes(Encoding.PEM))
        chain, key = loopback_leaf(root, int(time.time())).files(directory)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._config.write_text(_CONFIG.format(port=self.port, chain=chain, key=key))

    def start(self) -> None:
        """Start it and wait until it listens."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [PROGRAM, "--config", f"file:{self._config}"], stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline, self.output.read_text()
                assert self.process.poll() is None, self.output.read_text()
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait(10)

    def values(self, name: str, count: int) -> list[str]:
        """Return what it printed after `name:`, once it printed so much."""
        deadline = time.monotonic() + 20
        while True:
            lines = [line.strip() for line in self.output.read_text().splitlines()]
            found = [line[len(name) + 2 :] for line in lines if line.startswith(f"{name}: ")]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.05)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "audit", "example.org/audit")


@pytest.fixture
def follower(tmp_path: Path, collector: Collector, store: SqliteStore) -> Iterator[Follower]:
    settings = OtlpSettings(
        type="otlp", name="otel", url=f"https://127.0.0.1:{collector.port}", tls=Tls(ca_file=collector.ca_file)
    )
    sink = open_sink(settings, Origin("1.0", "gateway-1"), lambda _: b"")
    cursor = CursorFile(tmp_path / "sinks", "otel")
    made = Follower("otel", store, sink, cursor, lambda event: None, clock=time.time_ns, following=Following(20))
    yield made
    made.stop()


def write(store: SqliteStore, count: int) -> list[str]:
    writer = store.open_writer("worker-0")
    bodies = []
    for _ in range(count):
        fields = {"principal": 'with "quotes", é', "trace_id": TRACE}
        time_ns = START_NS + writer.head.sequence + 1
        record = link(writer.head, store.log, "worker-0", uuid7(), time_ns, "access.denied", fields)
        writer.append([record])
        bodies.append(record.record.decode())
    writer.close()
    return bodies


def drain(follower: Follower) -> None:
    for _ in range(100):
        if follower.attempt() > 0:
            return


def test_the_collector_understands_every_record_as_it_is(
    collector: Collector, store: SqliteStore, follower: Follower
) -> None:
    bodies = write(store, 50)
    drain(follower)
    assert follower.cause == ""
    assert collector.values("Body", 50) == [f"Str({body})" for body in bodies]
    assert collector.values("-> audit.hash", 50) == [f"Str({record_hash(body.encode())})" for body in bodies]
    assert collector.values("-> audit.seq", 50) == [f"Int({number})" for number in range(50)]
    assert set(collector.values("Trace ID", 50)) == {TRACE}
    assert set(collector.values("EventName", 50)) == {"access.denied"}
    assert set(collector.values("SeverityNumber", 50)) == {"Warn(13)"}
    assert collector.values("Timestamp", 50)[7] == "2027-01-15 08:00:00.000000007 +0000 UTC"


def test_nothing_is_lost_by_a_collector_that_is_killed(
    collector: Collector, store: SqliteStore, follower: Follower
) -> None:
    bodies = write(store, 100)
    follower.attempt()
    collector.kill()
    assert follower.attempt() > 0
    assert follower.failed
    collector.start()
    drain(follower)
    assert list(dict.fromkeys(collector.values("Body", 100))) == [f"Str({body})" for body in bodies]
