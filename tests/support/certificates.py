"""Certificates for tests: authorities of any trust domain, and leaves that keep every rule or break a chosen one.

Keys are made when they are asked for; nothing is ever stored with the tests.
"""

import datetime
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from identity.bundle import TrustBundle

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
DAY = 86_400

PrivateKey = CertificateIssuerPrivateKeyTypes
"""Any key that a certificate can have."""


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_usage(*on: str) -> x509.KeyUsage:
    """Return a key usage with only the named bits on, for instance `digital_signature`."""
    bits = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    assert set(on) <= set(bits)
    return x509.KeyUsage(**{bit: bit in on for bit in bits})


@dataclass(frozen=True)
class Leaf:
    """A leaf with its key and the intermediates to send along."""

    certificate: x509.Certificate
    key: PrivateKey
    intermediates: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> list[bytes]:
        """DER, leaf first."""
        return [c.public_bytes(Encoding.DER) for c in (self.certificate, *self.intermediates)]

    @property
    def chain_pem(self) -> bytes:
        """PEM, leaf first."""
        return b"".join(c.public_bytes(Encoding.PEM) for c in (self.certificate, *self.intermediates))

    @property
    def key_pem(self) -> bytes:
        """PKCS #8 PEM."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def files(self, directory: Path) -> tuple[Path, Path]:
        """Write chain and key and return their paths."""
        name = secrets.token_hex(6)
        chain, key = directory / f"{name}.pem", directory / f"{name}.key"
        chain.write_bytes(self.chain_pem)
        key.write_bytes(self.key_pem)
        return chain, key


@dataclass(frozen=True)
class CertificateAuthority:
    """A certificate authority that signs whatever a test asks for.

    Attributes:
        below: certificates to send with its leaves: itself and those above it, without the root.
    """

    certificate: x509.Certificate
    key: PrivateKey
    below: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(
        cls, trust_domain: str, *, now: int, uri: str | None = None, days: int = 10, key: PrivateKey | None = None
    ) -> Self:
        """Make a root. `uri` is the SPIFFE ID it carries, by default that of the trust domain."""
        key = key or new_key()
        name = _name(f"root of {trust_domain} {secrets.token_hex(4)}")
        builder = _signer(name, key, now, days, f"spiffe://{trust_domain}" if uri is None else uri)
        return cls(builder.issuer_name(name).sign(key, hashes.SHA256()), key)

    @classmethod
    def self_made(cls, certificate: x509.Certificate, key: PrivateKey) -> Self:
        """Wrap an existing intermediate authority."""
        return cls(certificate, key, (certificate,))

    @property
    def der(self) -> bytes:
        """The authority's own certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    def bundle(self, trust_domain: str) -> TrustBundle:
        """Return a bundle of `trust_domain` with this authority alone."""
        return TrustBundle(trust_domain, (self.der,))

    def intermediate(
        self, uri: str, *, now: int, days: int = 5, key: PrivateKey | None = None, usage: x509.KeyUsage | None = None
    ) -> Self:
        """Make an intermediate below this authority; an empty `uri` leaves the SPIFFE ID out."""
        key = key or new_key()
        builder = _signer(_name(f"intermediate {secrets.token_hex(4)}"), key, now, days, uri, usage)
        builder = builder.issuer_name(self.certificate.subject).add_extension(_above(self), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return type(self)(certificate, key, (certificate, *self.below))

    def issue(
        self,
        *uris: str,
        not_before: int,
        not_after: int,
        dns: Sequence[str] = (),
        san: bool = True,
        san_critical: bool = False,
        subject: str = "test",
        ca: bool = False,
        usage: x509.KeyUsage | None = None,
        usage_present: bool = True,
        usage_critical: bool = True,
        extended: Sequence[ObjectIdentifier] | None = (SERVER, CLIENT),
        self_signed: bool = False,
        key: PrivateKey | None = None,
    ) -> Leaf:
        """Issue a leaf that keeps every rule, but for what the arguments say. Times are UNIX seconds."""
        key = key or new_key()
        name = _name(subject) if subject else x509.Name([])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name if self_signed else self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_at(not_before))
            .not_valid_after(_at(not_after))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if not self_signed:
            builder = builder.add_extension(_above(self), critical=False)
        if san:
            names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
            names += [x509.DNSName(each) for each in dns]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=san_critical)
        if usage_present:
            builder = builder.add_extension(usage or key_usage("digital_signature"), critical=usage_critical)
        if extended is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        certificate = builder.sign(key if self_signed else self.key, hashes.SHA256())
        return Leaf(certificate, key, () if self_signed else self.below)


def _signer(
    name: x509.Name, key: PrivateKey, now: int, days: int, uri: str, usage: x509.KeyUsage | None = None
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_at(now - days * DAY))
        .not_valid_after(_at(now + days * DAY))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage or key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if uri:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False
        )
    return builder


def _above(authority: CertificateAuthority) -> x509.AuthorityKeyIdentifier:
    identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _at(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
