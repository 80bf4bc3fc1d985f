"""Signatures of JSON Web Tokens: the nine algorithms that a JWT-SVID may have, in compact serialization.

Rules: RFC 7515, section 7.1; RFC 7518, sections 3.3 to 3.5; JWT-SVID specification, section 2.1. An algorithm is
usable only with the type of key, and for ECDSA the curve, that it names.
"""

import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from identity.jwk import MIN_RSA_BITS, encode
from identity.keys import PrivateKey, PublicKey

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
"""What the header of a JWT-SVID may name."""

_HASHES: Mapping[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVE_BITS = {"ES256": 256, "ES384": 384, "ES512": 521}


def algorithm_of(key: PublicKey) -> str:
    """Return the algorithm that tokens are signed with under this key: ES256, ES384, ES512 or RS256.

    Raises:
        ValueError: a curve without an algorithm.
    """
    if isinstance(key, rsa.RSAPublicKey):
        return "RS256"
    for name, bits in _CURVE_BITS.items():
        if key.curve.name == f"secp{bits}r1":
            return name
    raise ValueError(f"no algorithm belongs to the curve {key.curve.name}")


def fits(algorithm: str, key: PublicKey) -> bool:
    """Whether a signature of this algorithm may be verified with this key."""
    if isinstance(key, rsa.RSAPublicKey):
        return algorithm[:2] in {"RS", "PS"} and algorithm in ALGORITHMS and key.key_size >= MIN_RSA_BITS
    bits = _CURVE_BITS.get(algorithm)
    return bits is not None and key.curve.name == f"secp{bits}r1"


def sign_compact(key: PrivateKey, key_id: str, claims: Mapping[str, Any]) -> str:
    """Sign claims as a compact JWT whose header is `alg`, `kid` and `typ`.

    Raises:
        ValueError: no algorithm belongs to the key, or the claims are not JSON.
    """
    algorithm = algorithm_of(key.public_key())
    header = {"alg": algorithm, "kid": key_id, "typ": "JWT"}
    signed = f"{_json(header)}.{_json(claims)}"
    return f"{signed}.{encode(_sign(key, algorithm, signed.encode()))}"


def verify_signature(key: PublicKey, algorithm: str, signed: bytes, signature: bytes) -> bool:
    """Whether `signature` is that of `signed` under `key`; an algorithm that does not fit the key is never."""
    if not fits(algorithm, key):
        return False
    digest = _HASHES[algorithm[2:]]
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            size = (key.curve.key_size + 7) // 8
            if len(signature) != 2 * size:
                return False
            r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest))
        else:
            key.verify(signature, signed, _padding(algorithm, digest), digest)
    except InvalidSignature:
        return False
    return True


def _sign(key: PrivateKey, algorithm: str, data: bytes) -> bytes:
    digest = _HASHES[algorithm[2:]]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size) + s.to_bytes(size)
    return key.sign(data, _padding(algorithm, digest), digest)


def _padding(algorithm: str, digest: hashes.HashAlgorithm) -> padding.AsymmetricPadding:
    if algorithm.startswith("PS"):
        return padding.PSS(padding.MGF1(digest), digest.digest_size)
    return padding.PKCS1v15()


def _json(value: Mapping[str, Any]) -> str:
    return encode(json.dumps(value, separators=(",", ":"), allow_nan=False).encode())
