"""Certificates for the bare proxies: a throw-away authority, one server and one client, with SPIFFE names."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TRUST_DOMAIN = "bench.test"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one side of mutual TLS needs.

    Attributes:
        certificate: PEM chain, leaf first.
        key: PEM private key of the leaf.
        authorities: PEM certificates the peer is verified against.
        peer: SPIFFE ID the peer must have.
    """

    certificate: Path
    key: Path
    authorities: Path
    peer: str


def create(directory: Path) -> tuple[Credentials, Credentials]:
    """Return the credentials of the server and of the client, P-256 as the gateway's own."""
    directory.mkdir(parents=True, exist_ok=True)
    server_id = f"spiffe://{TRUST_DOMAIN}/proxy"
    client_id = f"spiffe://{TRUST_DOMAIN}/agent/load"
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key)
    bundle = directory / "authority.pem"
    bundle.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    paths = []
    for name, spiffe_id in (("server", server_id), ("client", client_id)):
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _leaf(spiffe_id, key, authority, authority_key)
        certificate, key_file = directory / f"{name}.pem", directory / f"{name}.key"
        certificate.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        key_file.touch(mode=0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        paths.append((certificate, key_file))
    return Credentials(*paths[0], bundle, client_id), Credentials(*paths[1], bundle, server_id)


def _builder(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=6))
    )


def _usage(*, leaf: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=leaf,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return (
        _builder("benchmark authority", key)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark authority")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(leaf=False), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{TRUST_DOMAIN}")]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )


def _leaf(
    spiffe_id: str,
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    return (
        _builder("benchmark", key)
        .issuer_name(authority.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(leaf=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
