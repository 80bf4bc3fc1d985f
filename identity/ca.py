"""The certificates an authority signs: roots, signing intermediates and X.509-SVID leaves, each with all its rules.

Pure functions: keys, names and times are arguments. Rules: X.509-SVID specification, sections 3 and 4; RFC 5280,
section 4.2.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from identity.errors import AuthorityError
from identity.keys import PrivateKey, PublicKey
from identity.spiffe_id import SpiffeId, TrustDomain
from identity.x509_svid import subject_key_id

BACKDATE = timedelta(seconds=10)
"""NotBefore lies this far in the past, for clocks that are a little behind (as in SPIRE)."""

_LONGEST_COMMON_NAME = 64

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")


def make_root(domain: TrustDomain, key: PrivateKey, now: datetime, lifetime: timedelta) -> x509.Certificate:
    """Sign a root certificate. It may sign intermediates that sign leaves, and nothing deeper."""
    name = _name(domain, "root", key.public_key())
    builder = _signer(domain, name, key.public_key(), now, now + lifetime, path_length=1)
    return builder.issuer_name(name).sign(key, _digest(key))


def make_intermediate(
    domain: TrustDomain,
    public_key: PublicKey,
    issuer: x509.Certificate,
    issuer_key: PrivateKey,
    now: datetime,
    lifetime: timedelta,
    above: Sequence[x509.Certificate] = (),
) -> x509.Certificate:
    """Sign an intermediate that may sign leaves only. It outlives neither its issuer nor those `above`.

    Raises:
        AuthorityError: one of them has expired.
    """
    not_after = min(now + lifetime, *(each.not_valid_after_utc for each in (issuer, *above)))
    if not_after <= now:
        raise AuthorityError(
            f"the root of {domain}, or an authority below it, expired at {not_after}; make another root with: "
            "govctl authority x509 prepare --new-root"
        )
    builder = _signer(domain, _name(domain, "signing", public_key), public_key, now, not_after, path_length=0)
    builder = builder.issuer_name(issuer.subject).add_extension(_issuer_key(issuer), critical=False)
    return builder.sign(issuer_key, _digest(issuer_key))


def signing_request(domain: TrustDomain, key: PrivateKey) -> x509.CertificateSigningRequest:
    """Return the request for an intermediate like that of `make_intermediate`, to be signed elsewhere."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(domain.id("")))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(domain, "signing", key.public_key()))
    return builder.add_extension(names, critical=False).sign(key, _digest(key))


def make_leaf(
    spiffe_id: SpiffeId,
    public_key: CertificatePublicKeyTypes,
    issuer: x509.Certificate,
    issuer_key: PrivateKey,
    now: datetime,
    not_after: datetime,
    *,
    dns_names: Sequence[str] = (),
    ip_addresses: Sequence[str] = (),
) -> x509.Certificate:
    """Sign an X.509-SVID.

    Raises:
        AuthorityError: a DNS name or an IP address is none.
    """
    return (
        x509.CertificateBuilder()
        .subject_name(_leaf_name(spiffe_id))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(not_after)
        .add_extension(_names(spiffe_id, dns_names, ip_addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_issuer_key(issuer), critical=False)
        .sign(issuer_key, _digest(issuer_key))
    )


def _leaf_name(spiffe_id: SpiffeId) -> x509.Name:
    """Name a leaf. Only its URI counts; the common name is for those that ask for one, such as Vault's cert method.

    It is the SPIFFE ID, or a digest of one that is too long (RFC 5280, appendix A.1: 64 characters), and so never what
    somebody could take for a host name.
    """
    name = str(spiffe_id)
    if len(name) > _LONGEST_COMMON_NAME:
        name = f"spiffe-id-sha256:{sha256(name.encode()).hexdigest()[:40]}"
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "govgateway"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def is_of(certificate: x509.Certificate, domain: TrustDomain) -> bool:
    """Whether a signing certificate carries the SPIFFE ID of this trust domain, and no other name."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return list(names) == [x509.UniformResourceIdentifier(str(domain.id()))]


def key_id_of(public_key: PublicKey) -> str:
    """Return the id of a key (hex), as RFC 5280, section 4.2.1.2 (1), derives it."""
    return x509.SubjectKeyIdentifier.from_public_key(public_key).digest.hex()


def _names(spiffe_id: SpiffeId, dns_names: Sequence[str], ip_addresses: Sequence[str]) -> x509.SubjectAlternativeName:
    if not all(_DNS_NAME.fullmatch(name) for name in dns_names):
        raise AuthorityError(f"{', '.join(dns_names)!r}: a DNS name has labels of a-z, A-Z, 0-9 and '-' between dots")
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(spiffe_id))]
    names += [x509.DNSName(name) for name in dns_names]
    try:
        names += [x509.IPAddress(ip_address(address)) for address in ip_addresses]
    except ValueError as error:
        raise AuthorityError(f"{spiffe_id} cannot be given that address: {error}") from error
    return x509.SubjectAlternativeName(names)


def _signer(
    domain: TrustDomain,
    name: x509.Name,
    public_key: PublicKey,
    now: datetime,
    not_after: datetime,
    path_length: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(domain.id()))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _name(domain: TrustDomain, role: str, public_key: PublicKey) -> x509.Name:
    """Name a signing authority. Its serial number sets it apart from the one that it follows."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "govgateway"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{domain.name} {role}"[:64]),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, key_id_of(public_key)[:16]),
        ]
    )


def _digest(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """Return the hash that is as strong as the key that signs."""
    larger = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256
    return hashes.SHA384() if larger else hashes.SHA256()


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(bytes.fromhex(subject_key_id(issuer)), None, None)
