"""Engines of a real OpenBao through the gateway: certificates of its PKI in the handshake, keys in a named header."""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.calls import chat, eventually, files_with, plain, records
from tests.support.certificates import CertificateAuthority
from tests.support.faulty_backend import ANSWER
from tests.support.https_server import loopback_leaf
from tests.support.openbao import OpenBao
from tests.support.running_gateway import RunningGateway

MODEL = "example-chat"
CANARY = "canary-engine-91ac"
RULES = """
path "secret/data/cloud" { capabilities = ["read"] }
path "pki/issue/client" { capabilities = ["update"] }
"""
CERTIFICATE = "vault://pki/issue/client?ttl=10m&uri_sans=spiffe://example.org/gateway"


class MutualTls:
    """A model server that takes calls over TLS with a certificate of OpenBao's root alone."""

    def __init__(self, directory: Path, client_root: str) -> None:
        now = int(time.time())
        root = CertificateAuthority.root("backend.test", now=now, uri="")
        self.ca_file = directory / "backend-ca.pem"
        self.ca_file.write_bytes(root.certificate.public_bytes(Encoding.PEM))
        chain, key = loopback_leaf(root, now, "localhost").files(directory)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain, key)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_verify_locations(cadata=client_root)
        self.certificates: list[x509.Certificate] = []
        self.heads: list[str] = []
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
        self._started.set()
        await self._stop.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        self.certificates.append(x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b""))
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        length = next(int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:"))
        await reader.readexactly(length)
        body = json.dumps(ANSWER).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n")
        writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    def __enter__(self) -> "MutualTls":
        self._thread.start()
        assert self._started.wait(15)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(15)


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with OpenBao(tmp_path_factory.mktemp("vault") / "bao") as server:
        server.enable_kv()
        server.policy("gateway", RULES)
        server.put("cloud", key=CANARY)
        yield server


@pytest.fixture(scope="module")
def backend(vault: OpenBao, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MutualTls]:
    with MutualTls(tmp_path_factory.mktemp("backend"), vault.pki()) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(vault: OpenBao, backend: MutualTls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    running = RunningGateway(tmp_path_factory.mktemp("gateway") / "home", "http://127.0.0.1:1/v1", [MODEL])
    authority = (running.directory / "state" / "authority" / "bundle.jwks").read_text()
    vault.jwt_role("gateway", "vault", f"spiffe://{running.trust_domain}/gateway", json.loads(authority), ["gateway"])
    chosen: dict[str, Any] = {
        "name": "default",
        "url": backend.url,
        "ca_file": str(backend.ca_file),
        "credential": "vault://secret/cloud#key",
        "injection": {"kind": "header", "header": "Api-Key"},
        "client_certificate": CERTIFICATE,
    }
    running.edit_config(
        {
            "secrets": {
                "vault": {
                    "addresses": [vault.address],
                    "ca_file": str(vault.ca_file),
                    "login": {"method": "jwt", "role": "gateway"},
                    "mounts": [{"path": "secret"}, {"path": "pki", "engine": "pki"}],
                }
            },
            "backends": [chosen],
        }
    )
    running.start()
    yield running
    running.end()


def test_the_handshake_shows_a_certificate_of_vault_and_the_header_its_key(gateway, backend):
    agent = gateway.register("agent/caller")
    with plain(gateway, agent) as client:
        for _ in range(2):
            assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    name = backend.certificates[-1].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert name.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.org/gateway"]
    assert len({each.serial_number for each in backend.certificates}) == 1  # one for its lifetime, not one a call
    assert f"api-key: {CANARY}\r\n" in backend.heads[-1]
    assert "authorization" not in backend.heads[-1]
    shown = eventually("the outcome", lambda: [e for e in records(gateway) if e["type"] == "access.outcome"])[-1]
    assert shown["credential"]["secret"] == "vault://secret/cloud#key"
    assert files_with(gateway.directory, CANARY) == []
