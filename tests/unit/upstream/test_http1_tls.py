"""TLS towards a backend: who is refused, and that a renewed certificate is used."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.errors import UpstreamConnectError, UpstreamError
from gateway.upstream.http1.client import Http1Client
from gateway.upstream.http1.tls import BackendTls
from tests.support.scripted_backend import Peer, ScriptedBackend, eventually, make_backend

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Authority:
    """Issues certificates into files of a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str, *names: x509.GeneralName, days: int = 1) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, days)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate, private = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        certificate.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, private

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int = 1) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=3))
            .not_valid_after(now + datetime.timedelta(days=days))
        )


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
LOCALHOST = x509.DNSName("localhost")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "backends")


def server_context(files: tuple[Path, Path], clients: Authority | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.file)
    return context


async def call(client: Http1Client, server: ScriptedBackend, **changes: object) -> bytes:
    answer = await client.post(server.backend(**changes), "/x", [], b"{}")
    try:
        return await answer.read(100)
    finally:
        answer.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_backend_of_the_configured_authority_is_used_and_its_connection_kept(
    client: Http1Client, authority: Authority, host: str
) -> None:
    context = server_context(authority.issue("good", LOOPBACK, LOCALHOST))
    async with ScriptedBackend.answering(WHOLE, WHOLE, WHOLE, tls=context) as server:
        for _ in range(3):
            assert await call(client, server, host=host, ca_file=str(authority.file)) == b"{}"
        assert server.connections == 1
        assert b"\r\nhost: %b:%d\r\n" % (host.encode(), server.port) in server.requests[0][0]


async def refusal(client: Http1Client, server: ScriptedBackend, **changes: object) -> BaseException:
    with pytest.raises(UpstreamConnectError) as caught:
        await call(client, server, **changes)
    assert str(server.port) not in str(caught.value.problem())
    assert server.requests == []
    assert caught.value.__cause__ is not None
    return caught.value.__cause__


async def test_another_authority_is_refused(client: Http1Client, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "others")
    async with ScriptedBackend.answering(WHOLE, tls=server_context(other.issue("bad", LOOPBACK))) as server:
        cause = await refusal(client, server, ca_file=str(authority.file))
    assert isinstance(cause, ssl.SSLCertVerificationError)


async def test_without_a_ca_file_only_the_systems_authorities_count(client: Http1Client, authority: Authority) -> None:
    async with ScriptedBackend.answering(WHOLE, tls=server_context(authority.issue("good", LOOPBACK))) as server:
        cause = await refusal(client, server)
    assert isinstance(cause, ssl.SSLCertVerificationError)


@pytest.mark.parametrize("names", [(x509.DNSName("other.example"),), (LOCALHOST,), ()])
async def test_a_certificate_of_another_name_is_refused(
    client: Http1Client, authority: Authority, names: tuple[x509.GeneralName, ...]
) -> None:
    async with ScriptedBackend.answering(WHOLE, tls=server_context(authority.issue("127.0.0.1", *names))) as server:
        cause = await refusal(client, server, ca_file=str(authority.file))
    assert isinstance(cause, ssl.SSLCertVerificationError)


async def test_an_expired_certificate_is_refused(client: Http1Client, authority: Authority) -> None:
    files = authority.issue("old", LOOPBACK, days=-1)
    async with ScriptedBackend.answering(WHOLE, tls=server_context(files)) as server:
        cause = await refusal(client, server, ca_file=str(authority.file))
    assert "expired" in str(cause)


def test_verification_is_on_and_old_versions_are_off_by_every_way_of_configuring(authority: Authority) -> None:
    certificate, key = authority.issue("gateway")
    for files in (
        {},
        {"ca_file": str(authority.file)},
        {"client_cert_file": str(certificate), "client_key_file": str(key)},
    ):
        context = BackendTls(make_backend("https://127.0.0.1:1", **files)).context()
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_backend_without_tls_is_refused(client: Http1Client, authority: Authority) -> None:
    async with ScriptedBackend.answering(WHOLE) as server:
        backend = make_backend(f"https://127.0.0.1:{server.port}", ca_file=str(authority.file), connect_timeout=1.0)
        with pytest.raises(UpstreamConnectError):
            await client.post(backend, "/x", [], b"{}")
        assert server.requests == []


async def test_a_client_certificate_is_shown_and_a_renewed_one_is_used_without_a_restart(
    client: Http1Client, authority: Authority, tmp_path: Path
) -> None:
    seen: list[int] = []

    async def script(peer: Peer) -> None:
        certificate = peer.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        seen.append(x509.load_der_x509_certificate(certificate).serial_number)
        await peer.request()
        await peer.send(WHOLE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))

    context = server_context(authority.issue("good", LOOPBACK), authority)
    certificate, key = authority.issue("gateway")
    files = {"ca_file": str(authority.file), "client_cert_file": str(certificate), "client_key_file": str(key)}
    async with ScriptedBackend(script, context) as server:
        assert await call(client, server, **files) == b"{}"
        assert await call(client, server, **files) == b"{}"
        authority.issue("gateway")
        assert await call(client, server, **files) == b"{}"
    assert seen[0] == seen[1] != seen[2]


async def test_a_backend_that_wants_a_client_certificate_refuses_a_gateway_without(
    client: Http1Client, authority: Authority
) -> None:
    context = server_context(authority.issue("good", LOOPBACK), authority)
    async with ScriptedBackend.answering(WHOLE, tls=context) as server:
        with pytest.raises(UpstreamError):
            await call(client, server, ca_file=str(authority.file))
        assert server.requests == []


@pytest.mark.parametrize("broken", ["missing", "not-pem", "other-key"])
async def test_files_that_cannot_be_used_are_a_failure_and_not_a_call_without_them(
    client: Http1Client, authority: Authority, tmp_path: Path, broken: str
) -> None:
    certificate, key = authority.issue("gateway")
    if broken == "missing":
        key.unlink()
    elif broken == "not-pem":
        key.write_text("this is not PEM")
    else:
        key.write_bytes(authority.issue("another")[1].read_bytes())
    files = {"ca_file": str(authority.file), "client_cert_file": str(certificate), "client_key_file": str(key)}
    async with ScriptedBackend.answering(WHOLE, tls=server_context(authority.issue("good", LOOPBACK))) as server:
        assert isinstance(await refusal(client, server, **files), OSError)
        assert server.connections == 0


async def test_cancelling_midway_shows_the_backend_at_once(client: Http1Client, authority: Authority) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n")
        await peer.left()

    context = server_context(authority.issue("good", LOOPBACK))
    async with ScriptedBackend(script, context) as server:
        answer = await client.post(server.backend(ca_file=str(authority.file)), "/x", [], b"{}")
        assert await anext(answer.chunks()) == b"{}"
        answer.close()
        await eventually(lambda: server.open == 0, 2.0)


async def test_a_body_that_ends_with_the_connection_ends_only_with_a_tls_close(
    client: Http1Client, authority: Authority
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf of the ")
        peer.writer.transport.abort()  # a cut, as anybody on the network can make it

    context = server_context(authority.issue("good", LOOPBACK))
    async with ScriptedBackend(script, context) as server:
        with pytest.raises(UpstreamError):
            await call(client, server, ca_file=str(authority.file))
