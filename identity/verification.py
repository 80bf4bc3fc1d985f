"""Verifies a peer: its chain against the bundle of the trust domain that its own leaf names, and no other.

Pure functions: chain, bundles and time are arguments. Rules, in this order:

1. the chain is not empty, bounded, and each certificate can be read;
2. the leaf keeps every rule of `identity.x509_svid`;
3. the trust domain of the leaf's ID has a bundle, and the bundle is not empty;
4. the leaf is in date;
5. a chain leads from the leaf over the certificates sent to an authority of that bundle (RFC 5280);
6. each signing certificate on the way that carries a SPIFFE ID carries that of the same trust domain;
7. no certificate below the authority constrains or maps certificate policies, which are not processed here, names a
   policy twice, or has a key in another form than the usual one.

Whatever a peer sends, the answer is an identity or a `SvidError`, nothing else. The work is bounded by the number and
size of the certificates and by the verifier's own limit on signature checks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from identity.bundle import TrustBundle
from identity.errors import SvidError
from identity.spiffe_id import SpiffeId
from identity.x509_svid import has_usual_key_form, leaf_id, subject_key_id

__all__ = ["PeerIdentity", "SvidError", "verify_peer", "verify_server"]

MAX_CHAIN = 8
"""Most certificates a peer may send."""

MAX_CERTIFICATE_BYTES = 32_768
"""Largest certificate accepted (bytes)."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """A proven identity.

    Attributes:
        id: the SPIFFE ID.
        trust_domain, path: its parts.
        serial: serial number of the leaf (hex).
        fingerprint: SHA-256 of the leaf (hex).
        not_before, not_after: validity of the leaf (UNIX seconds).
        authorities: subject key ids (hex) of the signing certificates of the verified chain, up to the root.
    """

    id: str
    trust_domain: str
    path: str
    serial: str
    fingerprint: str
    not_before: int
    not_after: int
    authorities: tuple[str, ...] = ()


def verify_peer(chain: Sequence[bytes], bundles: Mapping[str, TrustBundle], now: int) -> PeerIdentity:
    """Verify a peer's certificates (DER, leaf first) at the time `now` (UNIX seconds).

    Raises:
        SvidError: the first rule that is broken.
    """
    try:
        return _verify([_parse(der) for der in _bounded(chain)], bundles, now)
    except SvidError:
        raise
    except Exception as error:
        # The library reads extensions, keys and versions lazily and raises a different type for each of their faults.
        raise SvidError("certificate-malformed", f"a certificate cannot be read: {error}") from error


def verify_server(
    chain: Sequence[bytes], bundles: Mapping[str, TrustBundle], expected: SpiffeId, now: int
) -> PeerIdentity:
    """Verify a server and that it is the one expected.

    Raises:
        SvidError: as `verify_peer`, or `unexpected-id`.
    """
    peer = verify_peer(chain, bundles, now)
    if peer.id != str(expected):
        raise SvidError("unexpected-id", f"the server is {peer.id}, expected was {expected}")
    return peer


def _bounded(chain: Sequence[bytes]) -> Sequence[bytes]:
    if not chain:
        raise SvidError("no-certificate", "no certificate was presented")
    if len(chain) > MAX_CHAIN:
        raise SvidError("chain-too-long", f"{len(chain)} certificates were sent; at most {MAX_CHAIN} are read")
    if max(map(len, chain)) > MAX_CERTIFICATE_BYTES:
        raise SvidError("certificate-too-large", f"a certificate has more than {MAX_CERTIFICATE_BYTES} bytes")
    return chain


def _parse(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        raise SvidError("certificate-malformed", f"a certificate cannot be read: {error}") from error


def _verify(certificates: list[x509.Certificate], bundles: Mapping[str, TrustBundle], now: int) -> PeerIdentity:
    leaf = certificates[0]
    spiffe_id = leaf_id(leaf)
    domain = spiffe_id.trust_domain.name
    bundle = bundles.get(domain)
    if bundle is None or not bundle.authorities:
        raise SvidError(
            "trust-domain-unknown",
            f"the trust domain {domain} is not known here; federate with it, or use an identity of a known domain",
        )
    _check_dates(leaf, now)
    authorities = _check_chain(leaf, certificates[1:], bundle, now)
    return PeerIdentity(
        id=str(spiffe_id),
        trust_domain=domain,
        path=spiffe_id.path,
        serial=f"{leaf.serial_number:x}",
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        not_before=int(leaf.not_valid_before_utc.timestamp()),
        not_after=int(leaf.not_valid_after_utc.timestamp()),
        authorities=authorities,
    )


def _check_dates(leaf: x509.Certificate, now: int) -> None:
    if now < leaf.not_valid_before_utc.timestamp():
        raise SvidError("leaf-not-yet-valid", "the certificate is not valid yet; check the clocks")
    if now >= leaf.not_valid_after_utc.timestamp():
        raise SvidError("leaf-expired", "the certificate has expired; fetch a new X.509-SVID")


def _check_chain(
    leaf: x509.Certificate, sent: list[x509.Certificate], bundle: TrustBundle, now: int
) -> tuple[str, ...]:
    try:
        policy = PolicyBuilder().store(_store(bundle.authorities)).time(datetime.fromtimestamp(now, UTC))
        verified = policy.max_chain_depth(MAX_CHAIN).build_client_verifier().verify(leaf, sent)
    except (VerificationError, x509.InvalidVersion, ValueError, TypeError, OverflowError) as error:
        raise SvidError(
            "chain-not-trusted",
            f"no chain leads from the certificate to an authority of {bundle.trust_domain}: {error}",
        ) from error
    for certificate in verified.chain[1:]:
        _check_authority_id(certificate, bundle.trust_domain)
    for certificate in verified.chain[:-1]:
        _check_policies(certificate)
        if not has_usual_key_form(certificate):
            raise SvidError("certificate-key-form", "the key of a certificate is not written in the usual form")
    return tuple(subject_key_id(certificate) for certificate in verified.chain[1:])


@lru_cache(maxsize=64)
def _store(authorities: tuple[bytes, ...]) -> Store:
    return Store([x509.load_der_x509_certificate(der) for der in authorities])


def _check_authority_id(certificate: x509.Certificate, trust_domain: str) -> None:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        if uri.lower() != f"spiffe://{trust_domain}":
            raise SvidError(
                "authority-id",
                f"a signing certificate in the chain is of {uri[:80]!r}, not of spiffe://{trust_domain}",
            )


def _check_policies(certificate: x509.Certificate) -> None:
    """Refuse what the verifier passes over where it is not critical (RFC 5280, sections 4.2.1.4, 4.2.1.5, 4.2.1.11)."""
    for extension in certificate.extensions:
        if extension.oid in {ExtensionOID.POLICY_CONSTRAINTS, ExtensionOID.POLICY_MAPPINGS}:
            raise SvidError(
                "certificate-policies",
                "a certificate in the chain constrains or maps certificate policies, which are not processed here",
            )
        if isinstance(extension.value, x509.CertificatePolicies):
            policies = [each.policy_identifier for each in extension.value]
            if len(set(policies)) != len(policies):
                raise SvidError("certificate-policies", "a certificate in the chain names a policy twice")
