"""The keys that sign bundles: read from PEM, each with the algorithms that fit it, all of them asymmetric.

Rules: RFC 7518, section 3.1; RFC 8037, section 3.1.
"""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from gateway.authorization.bundle.errors import BundleError
from identity import jws
from identity.jwk import MIN_RSA_BITS

SigningKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
"""A key that signs here."""

VerificationKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
"""A key that verifies here."""

ALGORITHMS = (*jws.ALGORITHMS, "EdDSA")
"""What the header of a signature may name. HMAC is not among them: who verifies could also sign."""

_HASHES = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384(), "ES512": hashes.SHA512()}


def load_signing_key(pem: bytes) -> SigningKey:
    """Read a private key: EC P-256, P-384 or P-521, or Ed25519.

    Raises:
        BundleError: anything else, or an encrypted key.
    """
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BundleError("The signing key is no private key in PEM without a password.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise BundleError("Bundles are signed with an EC or Ed25519 key; make one with: govctl policy keygen.")
    signature_algorithm(key)
    return key


def load_verification_key(name: str, pem: bytes) -> VerificationKey:
    """Read a public key: EC P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits and more.

    Raises:
        BundleError: anything else; the message says `name`.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise BundleError(f"The key {name!r} is no public key in PEM.") from None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise BundleError(f"The key {name!r} is an RSA key of {key.key_size} bits; it needs {MIN_RSA_BITS}.")
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        try:
            jws.algorithm_of(key)
        except ValueError as error:
            raise BundleError(f"The key {name!r} does not fit: {error}.") from None
        return key
    raise BundleError(f"The key {name!r} is neither an EC, an Ed25519 nor an RSA key.")


def signature_algorithm(key: SigningKey) -> str:
    """Return the algorithm that this key signs with.

    Raises:
        BundleError: a curve without one.
    """
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "EdDSA"
    try:
        return jws.algorithm_of(key.public_key())
    except ValueError as error:
        raise BundleError(f"The signing key does not fit: {error}.") from None


def sign(key: SigningKey, data: bytes) -> bytes:
    """Return the signature of `data`; the same for the same key and data (RFC 6979, RFC 8032)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    digest = _HASHES[signature_algorithm(key)]
    size = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest, deterministic_signing=True)))
    return r.to_bytes(size) + s.to_bytes(size)


def verifies(key: VerificationKey, algorithm: str, signed: bytes, signature: bytes) -> bool:
    """Whether `signature` is that of `signed` under `key`; an algorithm that does not fit the key is never."""
    if not isinstance(key, ed25519.Ed25519PublicKey):
        return jws.verify_signature(key, algorithm, signed, signature)
    if algorithm != "EdDSA":
        return False
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def generate_key_pair(algorithm: str) -> tuple[bytes, bytes]:
    """Make a key for ES256, ES384 or EdDSA. Return the private and the public key (PEM).

    Raises:
        BundleError: another algorithm.
    """
    key: SigningKey
    if algorithm == "EdDSA":
        key = ed25519.Ed25519PrivateKey.generate()
    elif algorithm in {"ES256", "ES384"}:
        key = ec.generate_private_key(ec.SECP256R1() if algorithm == "ES256" else ec.SECP384R1())
    else:
        raise BundleError(f"{algorithm!r} is none of ES256, ES384, EdDSA.")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
