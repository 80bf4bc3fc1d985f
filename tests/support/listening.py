"""A real listener on a real socket for tests: certificates, a server in a thread, and a raw client."""

import asyncio
import datetime
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.clock import system_clock
from gateway.config.model import ListenerLimits
from gateway.listener.peer import Peer
from gateway.listener.server import ListenerServer
from gateway.listener.tls import TlsMaterial
from identity.bundle import TrustBundle

PATIENCE = 5.0
"""How long a test waits for what must happen (seconds)."""


@dataclass(frozen=True)
class Svid:
    """A certificate chain and its key, PEM."""

    chain: bytes
    key: bytes

    def files(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write both and return their paths."""
        chain, key = directory / f"{name}.pem", directory / f"{name}.key"
        chain.write_bytes(self.chain)
        key.write_bytes(self.key)
        return chain, key


class Authority:
    """A certificate authority that signs whatever a test asks for."""

    def __init__(self, trust_domain: str) -> None:
        self.trust_domain = trust_domain
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA of {trust_domain}")])
        now = datetime.datetime.now(datetime.UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )

    @property
    def bundle(self) -> TrustBundle:
        return TrustBundle(self.trust_domain, (self._certificate.public_bytes(Encoding.DER),), 1, 300)

    def issue(
        self,
        *uris: str,
        valid_from: float = -60,
        valid_for: float = 3600,
        self_signed: bool = False,
    ) -> Svid:
        """Issue a leaf; times in seconds from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        start = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=valid_from)
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self_signed else self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(seconds=valid_for))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]),
                critical=False,
            )
        )
        certificate = builder.sign(key if self_signed else self._key, hashes.SHA256())
        return Svid(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass
class Recorder:
    """An observer that keeps what it is told."""

    failures: list[tuple[str, str]] = field(default_factory=list)
    opened: list[Peer] = field(default_factory=list)
    closed: list[Peer] = field(default_factory=list)
    refusals: list[tuple[str, Peer, str]] = field(default_factory=list)

    def handshake_failed(self, rule: str, detail: str) -> None:
        self.failures.append((rule, detail))

    def connection_opened(self, peer: Peer) -> None:
        self.opened.append(peer)

    def connection_closed(self, peer: Peer) -> None:
        self.closed.append(peer)

    def request_refused(self, rule: str, peer: Peer, detail: str) -> None:
        self.refusals.append((rule, peer, detail))


class RunningListener:
    """Runs a `ListenerServer` in a thread of its own; fails at exit if the loop had an unhandled exception."""

    def __init__(
        self, app: Any, server: Svid, bundles: Sequence[TrustBundle], limits: ListenerLimits | None = None
    ) -> None:
        self.observer = Recorder()
        self._app = app
        self._material = TlsMaterial.from_bundles(server.chain, server.key, {b.trust_domain: b for b in bundles})
        self._bundles = {bundle.trust_domain: bundle for bundle in bundles}
        self._limits = limits or ListenerLimits()
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._sock.getsockname()[1]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()))
        self.unhandled: list[dict[str, Any]] = []

    async def _run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(lambda _, context: self.unhandled.append(context))
        self._end = asyncio.Event()
        self.server = ListenerServer(
            self._app,
            self._sock,
            tls=self._material,
            bundles=lambda: self._bundles,
            limits=self._limits,
            observer=self.observer,
            clock=system_clock,
        )
        await self.server.start()
        self._ready.set()
        await self._end.wait()
        await self.server.drain(0)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert self.unhandled == []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the listener's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)


def client_context(svid: Svid | None, tmp_path: Path) -> ssl.SSLContext:
    """Return a TLS client context that shows `svid`; the server's identity is not what these tests are about."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if svid is not None:
        context.load_cert_chain(*svid.files(tmp_path, f"client-{id(svid)}"))
    return context


@dataclass(frozen=True)
class Answer:
    """One answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """A raw client: sends the bytes it is given."""

    def __init__(self, listener: RunningListener, context: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", listener.port), timeout=PATIENCE)
        self.sock = context.wrap_socket(plain)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, method: str = "GET") -> Answer:
        """Read one answer."""
        response = http.client.HTTPResponse(self.sock, method=method)
        response.begin()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)

    def ask(self, data: bytes) -> Answer:
        """Send bytes and read one answer."""
        self.send(data)
        return self.answer()

    def is_closed(self) -> bool:
        """Whether the server closes, or has closed, without another byte."""
        try:
            return self.sock.recv(1) == b""
        except (ConnectionError, ssl.SSLError):
            return True


def eventually(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds; fail if it does not in time."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
