"""OpenSSL's own programs on what the authority issues, and against the running listener."""

import subprocess

import pytest

from tests.support.running_gateway import TRUST_DOMAIN, RunningGateway

pytestmark = pytest.mark.interop


def openssl(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *arguments], check=False, input=given, capture_output=True, timeout=20)


def test_openssl_verifies_what_is_issued_for_both_ends_of_a_connection(gateway: RunningGateway):
    files = gateway.register("agent/openssl").directory
    for purpose in ("sslclient", "sslserver"):
        done = openssl(
            "verify", "-x509_strict", "-purpose", purpose, "-CAfile", f"{files}/bundle.pem",
            "-untrusted", f"{files}/svid.pem", f"{files}/svid.pem",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    text = openssl(
        "x509", "-in", f"{files}/svid.pem", "-noout", "-ext", "subjectAltName,keyUsage,basicConstraints"
    ).stdout
    assert f"URI:spiffe://{TRUST_DOMAIN}/agent/openssl".encode() in text
    assert b"Digital Signature" in text
    assert b"CA:FALSE" in text


def test_s_client_connects_verifies_the_gateway_and_is_answered(gateway: RunningGateway):
    files = gateway.register("agent/s-client").directory
    done = openssl(
        "s_client", "-connect", f"localhost:{gateway.port}", "-CAfile", f"{files}/bundle.pem", "-verify_return_error",
        "-cert", f"{files}/svid.pem", "-cert_chain", f"{files}/svid.pem", "-key", f"{files}/svid.key", "-tls1_3",
        "-ign_eof",
        given=b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )  # fmt: skip
    assert b"Verify return code: 0 (ok)" in done.stdout
    assert b"HTTP/1.1 200 OK" in done.stdout


def test_s_client_without_a_certificate_is_cut(gateway: RunningGateway):
    files = gateway.register("agent/s-client-2").directory
    done = openssl(
        "s_client", "-connect", f"localhost:{gateway.port}", "-CAfile", f"{files}/bundle.pem", "-tls1_3", "-ign_eof",
        given=b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )  # fmt: skip
    assert b"certificate required" in done.stderr
    assert b"HTTP/1.1 200" not in done.stdout
