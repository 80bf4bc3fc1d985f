"""A real Apache Kafka broker, one node in KRaft mode on the loopback interface, with TLS where asked."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import CertificateAuthority
from tests.support.https_server import loopback_leaf

LIBRARIES = Path(__file__).resolve().parents[2] / ".interop" / "kafka" / "lib"

_CONFIG = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
listener.security.protocol.map=CLIENT:{protocol},CONTROLLER:PLAINTEXT
log.dirs={directory}/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
num.partitions=3
num.network.threads=2
num.io.threads=2
log.retention.hours=-1
message.max.bytes={message_bytes}
"""
_TLS = """
ssl.keystore.type=PEM
ssl.keystore.location={pair}
ssl.truststore.type=PEM
ssl.truststore.location={directory}/ca.pem
"""


@dataclass
class KafkaBroker:
    """One broker; it may be started and killed any number of times, and keeps what it has.

    Attributes:
        directory: where its files are.
        tls: whether clients have to use TLS.
        message_bytes: longest batch of messages that it takes.
    """

    directory: Path
    tls: bool = False
    message_bytes: int = 1_048_588
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate to trust."""
        return self.directory / "ca.pem"

    def start(self) -> None:
        """Start it and wait until it serves."""
        assert LIBRARIES.is_dir(), "Apache Kafka is missing: run deploy/interop.sh"
        if not self.port:
            self._configure()
        log = self.directory / "broker.log"
        log.write_bytes(b"")
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(self.directory / "server.properties")),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 90
        while b"Kafka Server started" not in log.read_bytes():
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            assert self._process.poll() is None, log.read_text()[-4000:]
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)

    def _configure(self) -> None:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            second.bind(("127.0.0.1", 0))
            self.port, controller = first.getsockname()[1], second.getsockname()[1]
        config = _CONFIG.format(
            directory=self.directory,
            port=self.port,
            controller=controller,
            protocol="SSL" if self.tls else "PLAINTEXT",
            message_bytes=self.message_bytes,
        )
        if self.tls:
            root = CertificateAuthority.root("example.org", now=int(time.time()))
            self.ca_file.write_bytes(root.certificate.public_bytes(Encoding.PEM))
            leaf = loopback_leaf(root, int(time.time()))
            pair = self.directory / "pair.pem"
            pair.write_bytes(leaf.key_pem + leaf.chain_pem)
            config += _TLS.format(directory=self.directory, pair=pair)
        path = self.directory / "server.properties"
        path.write_text(config)
        arguments = ["format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", str(path)]
        subprocess.run(self._java("kafka.tools.StorageTool", *arguments), check=True, capture_output=True, timeout=90)

    def _java(self, *arguments: str) -> list[str]:
        java = shutil.which("java")
        assert java is not None, "java is missing: run deploy/interop.sh"
        # One compiler tier and the serial collector: it starts faster and leaves the other core alone.
        options = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [java, *options, "-cp", f"{LIBRARIES}/*", *arguments]


@contextmanager
def kafka_broker(directory: Path, *, tls: bool = False, message_bytes: int = 1_048_588) -> Iterator[KafkaBroker]:
    """Yield a running one."""
    directory.mkdir()
    broker = KafkaBroker(directory, tls, message_bytes)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
