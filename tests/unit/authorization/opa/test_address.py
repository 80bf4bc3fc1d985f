"""Where an OPA server may be."""

import ssl
from pathlib import Path

import pytest

from gateway.authorization.opa import OpaEngine
from gateway.authorization.opa.address import parse_address
from gateway.errors import ConfigError, UnavailableError
from tests.unit.authorization.conftest import call
from tests.unit.authorization.opa.conftest import StandInOpa, decided
from tests.unit.upstream.test_http1_tls import LOOPBACK, Authority, server_context


@pytest.mark.parametrize(
    ("text", "host", "port", "socket"),
    [
        ("http://127.0.0.1:8181", "127.0.0.1", 8181, ""),
        ("http://127.0.0.1", "127.0.0.1", 8181, ""),
        ("http://localhost:9/", "localhost", 9, ""),
        ("http://[::1]:8181", "::1", 8181, ""),
        ("https://opa.example.org", "opa.example.org", 443, ""),
        ("https://opa.example.org:8443", "opa.example.org", 8443, ""),
        ("unix:///run/opa.sock", "", 0, "/run/opa.sock"),
    ],
)
def test_address_is_taken(text: str, host: str, port: int, socket: str) -> None:
    address = parse_address(text)
    assert (address.host, address.port, address.socket) == (host, port, socket)
    assert (address.tls is not None) == text.startswith("https")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "none of"),
        ("127.0.0.1:8181", "none of"),
        ("ftp://127.0.0.1", "none of"),
        ("http://", "none of"),
        ("http://127.0.0.1:8181/v1", "none of"),
        ("http://127.0.0.1:99999", "is not an address"),
        ("http://[::1", "is not an address"),
        ("http://user:word@127.0.0.1", "has more than"),
        ("http://127.0.0.1?x", "has more than"),
        ("http://127.0.0.1#x", "has more than"),
        ("http://opa.example.org:8181", "is without TLS and not on this machine"),
        ("http://10.0.0.1:8181", "is without TLS and not on this machine"),
        ("http://0.0.0.0:8181", "is without TLS and not on this machine"),
        ("unix://opa.sock", "unix:///path/opa.sock"),
        ("unix:opa.sock", "unix:///path/opa.sock"),
        ("unix:///" + "x" * 110, "at most 107 bytes"),
    ],
)
def test_other_address_is_refused(text: str, cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(text)
    assert cause in str(caught.value)


def test_certificates_without_tls_and_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="certificates go with an https:// address"):
        parse_address("unix:///s", ca_file=tmp_path / "ca.pem")
    with pytest.raises(ConfigError, match="cannot be used"):
        parse_address("https://opa.example.org", ca_file=tmp_path / "ca.pem")


async def test_server_is_asked_over_mutual_tls_and_only_if_its_certificate_verifies(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    certificate, key = authority.issue("gateway")
    context: ssl.SSLContext = server_context(authority.issue("opa", LOOPBACK), authority)
    async with StandInOpa.answering(decided(), tls=context) as opa:
        address = f"https://127.0.0.1:{opa.port}"
        trusted = OpaEngine(
            address, timeout_seconds=20, ca_file=authority.file, client_cert_file=certificate, client_key_file=key
        )
        assert (await trusted.decide(call())).allow
        trusted.close()
        for engine in (
            OpaEngine(address, timeout_seconds=20, ca_file=other.file),
            OpaEngine(address, timeout_seconds=20, ca_file=authority.file),
            OpaEngine(address, timeout_seconds=20),
        ):
            with pytest.raises(UnavailableError):
                await engine.decide(call())
            engine.close()
