"""A real rsyslogd, in the foreground on the loopback interface, that takes syslog over TLS into a file."""

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

_CONFIG = """
global(
    workDirectory="{directory}" maxMessageSize="128k" defaultNetstreamDriver="{driver}"
    parser.escapeControlCharactersOnReceive="off"
    defaultNetstreamDriverCAFile="{directory}/ca.pem"
    defaultNetstreamDriverCertFile="{chain}" defaultNetstreamDriverKeyFile="{key}"
)
module(load="imtcp" streamDriver.name="{driver}" streamDriver.mode="1" streamDriver.authMode="{mode}")
template(name="whole" type="list") {{
    property(name="pri") constant(value=" ") property(name="timereported" dateFormat="rfc3339") constant(value=" ")
    property(name="hostname") constant(value=" ") property(name="app-name") constant(value=" ")
    property(name="procid") constant(value=" ") property(name="msgid") constant(value=" ")
    property(name="structured-data") constant(value=" ") property(name="msg") constant(value="\\n")
}}
input(type="imtcp" port="{port}" address="127.0.0.1" ruleset="audit")
ruleset(name="audit" queue.type="direct") {{
    action(type="omfile" file="{directory}/received.log" template="whole" asyncWriting="off" flushOnTXEnd="on")
}}
"""


@dataclass
class SyslogDaemon:
    """One receiver; it may be started and killed any number of times.

    Attributes:
        directory: where its configuration and what it received are.
        root: who issued its certificate, and, if it asks for one, may issue the client's.
    """

    directory: Path
    root: CertificateAuthority
    driver: str = "ossl"
    ask_for_certificate: bool = False
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def ca_file(self) -> Path:
        """The certificate to trust."""
        return self.directory / "ca.pem"

    def start(self) -> None:
        """Start it and wait until it listens."""
        program = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")
        assert program is not None, "rsyslogd is missing: apt-get install rsyslog rsyslog-openssl rsyslog-gnutls"
        if not self.port:
            self.ca_file.write_bytes(self.root.certificate.public_bytes(Encoding.PEM))
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
            chain, key = loopback_leaf(self.root, int(time.time())).files(self.directory)
            (self.directory / "rsyslog.conf").write_text(
                _CONFIG.format(
                    directory=self.directory,
                    port=self.port,
                    chain=chain,
                    key=key,
                    driver=self.driver,
                    mode="x509/certvalid" if self.ask_for_certificate else "anon",
                )
            )
        with (self.directory / "rsyslog.out").open("ab") as output:
            self._process = subprocess.Popen(
                [program, "-n", "-i", "NONE", "-f", str(self.directory / "rsyslog.conf")],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline, (self.directory / "rsyslog.out").read_text()
                assert self._process.poll() is None, (self.directory / "rsyslog.out").read_text()
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def lines(self) -> list[str]:
        """Return what it received."""
        path = self.directory / "received.log"
        return path.read_bytes().decode().split("\n")[:-1] if path.exists() else []

    def wait_for(self, count: int) -> list[str]:
        """Return what it received, once it is so many lines."""
        deadline = time.monotonic() + 30
        while len(self.lines()) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.lines()


@contextmanager
def syslog_daemon(
    directory: Path, *, driver: str = "ossl", ask_for_certificate: bool = False
) -> Iterator[SyslogDaemon]:
    """Yield a running one."""
    root = CertificateAuthority.root("example.org", now=int(time.time()))
    daemon = SyslogDaemon(directory, root, driver, ask_for_certificate)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.kill()
