"""The public keys and certificates that a gateway uses and trusts, as a package of evidence lists them."""

from collections.abc import Iterator
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from audit.tlog.note import parse_verifier_key
from compliance.package.facts import KeyFacts
from compliance.package.signing import fingerprint, public_pem
from gateway.app import trust_bundles
from gateway.audit_keys import POST_QUANTUM_VERIFIER_FILE, VERIFIER_FILE
from gateway.config import GatewayConfig


def public_keys(config: GatewayConfig, evidence: ed25519.Ed25519PublicKey) -> tuple[KeyFacts, ...]:
    """Return the keys of checkpoints and of evidence, and the certificates of the trusted authorities.

    Raises:
        identity.errors.BundleError: a trust bundle cannot be read.
    """
    return (
        *_log_keys(config),
        KeyFacts("evidence", "signs packages of evidence", "Ed25519", public_pem(evidence), fingerprint(evidence)),
        *_authorities(config),
    )


def log_key(config: GatewayConfig) -> str:
    """Return the log's public key (C2SP verifier key); empty before the gateway ran."""
    path = config.audit_dir / VERIFIER_FILE
    return path.read_text().strip() if path.exists() else ""


def _log_keys(config: GatewayConfig) -> Iterator[KeyFacts]:
    for name, algorithm in ((VERIFIER_FILE, "Ed25519"), (POST_QUANTUM_VERIFIER_FILE, "ML-DSA-44")):
        path = config.audit_dir / name
        if path.exists():
            text = path.read_text().strip()
            key = parse_verifier_key(text)
            digest = sha256(key.public_key).hexdigest()
            yield KeyFacts(key.name, "signs checkpoints of the audit log", algorithm, text, digest)


def _authorities(config: GatewayConfig) -> Iterator[KeyFacts]:
    for domain, bundle in sorted(trust_bundles(config).items()):
        for der in bundle.authorities:
            certificate = x509.load_der_x509_certificate(der)
            yield KeyFacts(
                certificate.subject.rfc4514_string() or domain,
                f"authority of the trust domain {domain}",
                _algorithm(certificate),
                certificate.public_bytes(Encoding.PEM).decode(),
                sha256(der).hexdigest(),
                int(certificate.not_valid_after_utc.timestamp()),
            )


def _algorithm(certificate: x509.Certificate) -> str:
    match certificate.public_key():
        case ec.EllipticCurvePublicKey(curve=curve):
            return f"ECDSA {curve.name}"
        case rsa.RSAPublicKey(key_size=size):
            return f"RSA {size}"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
        case other:
            return type(other).__name__
