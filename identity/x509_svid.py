"""The rules of an X.509-SVID leaf and of the certificates that sign it.

Rules: X.509-SVID specification, sections 2 to 5 and appendix A. Which keys are strong enough is not in it; the types
are those that SPIRE issues, and Ed25519.
"""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from identity.errors import SpiffeIdError, SvidError
from identity.spiffe_id import SpiffeId

KEY_TYPES = "ECDSA on P-256 or P-384, RSA of 2048 to 8192 bits, Ed25519"
"""The public keys an X.509-SVID may have, in words."""


def leaf_id(certificate: x509.Certificate) -> SpiffeId:
    """Check every rule of a leaf and return its SPIFFE ID. The signature and the dates are not looked at.

    Raises:
        SvidError: the rule that is broken.
    """
    spiffe_id = _uri_san(certificate)
    if not spiffe_id.path:
        raise SvidError(
            "leaf-root-path",
            f"{spiffe_id} has no path: it names the trust domain, and only signing certificates carry such an ID",
        )
    _check_not_ca(certificate)
    _check_key_usage(certificate)
    _check_extended_key_usage(certificate)
    _check_key(certificate)
    return spiffe_id


def is_strong(key: CertificatePublicKeyTypes) -> bool:
    """Whether an X.509-SVID may have this public key (see `KEY_TYPES`)."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    if isinstance(key, rsa.RSAPublicKey):
        return 2048 <= key.key_size <= 8192
    return isinstance(key, ed25519.Ed25519PublicKey)


def has_usual_key_form(certificate: x509.Certificate) -> bool:
    """Whether the key is written as it would be here: an ECDSA point uncompressed, an RSA key with its parameters.

    Rules: RFC 5480, section 2.2; RFC 3279, section 2.3.1. Other forms say the same key, and not every verifier reads
    them.
    """
    written = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return written in certificate.tbs_certificate_bytes


def subject_key_id(certificate: x509.Certificate) -> str:
    """Return the subject key id of a signing certificate (hex), which is the id of that X.509 authority.

    One without such an extension gets the id that RFC 5280, section 4.2.1.2 (1), derives from its key.
    """
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest.hex()


def _uri_san(certificate: x509.Certificate) -> SpiffeId:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        raise SvidError("leaf-no-uri-san", "the certificate has no subject alternative name, so no SPIFFE ID") from None
    uris = extension.value.get_values_for_type(x509.UniformResourceIdentifier)
    if not uris:
        raise SvidError("leaf-no-uri-san", "the certificate has no URI among its names, so no SPIFFE ID")
    if len(uris) > 1:
        raise SvidError(
            "leaf-two-uri-sans", f"the certificate has {len(uris)} URI names; an X.509-SVID has exactly one"
        )
    if not extension.critical and not list(certificate.subject):
        raise SvidError(
            "leaf-san-not-critical",
            "the subject is empty and the subject alternative name is not critical (RFC 5280)",
        )
    try:
        return SpiffeId.parse(uris[0])
    except SpiffeIdError as error:
        raise SvidError("leaf-not-a-spiffe-id", f"the URI name is not a SPIFFE ID: {error}") from error


def _check_not_ca(certificate: x509.Certificate) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return
    if constraints.ca:
        raise SvidError("leaf-is-ca", "the certificate is a signing certificate (cA is true), which is never a peer")


def _check_key_usage(certificate: x509.Certificate) -> None:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        raise SvidError(
            "leaf-key-usage-missing", "the certificate has no key usage; digitalSignature is needed"
        ) from None
    usage = extension.value
    if not extension.critical:
        raise SvidError("leaf-key-usage-not-critical", "the key usage of the certificate is not critical")
    if usage.key_cert_sign:
        raise SvidError(
            "leaf-key-cert-sign", "the certificate may sign certificates (keyCertSign), which a leaf must not"
        )
    if usage.crl_sign:
        raise SvidError("leaf-crl-sign", "the certificate may sign revocation lists (cRLSign), which a leaf must not")
    if not usage.digital_signature:
        raise SvidError("leaf-digital-signature-missing", "the key usage of the certificate lacks digitalSignature")


def _check_extended_key_usage(certificate: x509.Certificate) -> None:
    try:
        usages = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= usages:
        raise SvidError(
            "leaf-extended-key-usage",
            "the extended key usage must have both serverAuth and clientAuth, or be absent",
        )


def _check_key(certificate: x509.Certificate) -> None:
    try:
        strong = is_strong(certificate.public_key())
    except (UnsupportedAlgorithm, ValueError):
        strong = False
    if not strong:
        raise SvidError("leaf-key-type", f"the certificate's key is of no accepted type; make a new one: {KEY_TYPES}")
