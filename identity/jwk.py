"""Public keys as JSON Web Keys, and back.

Rules: RFC 7517; RFC 7518, sections 6.2 and 6.3. Reading is strict: one way to write a key, no weak and no private one.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from identity.keys import PublicKey

CURVES: Mapping[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
"""Curves by their JWK name."""

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192

_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


def public_jwk(key: object) -> dict[str, str]:
    """Return the members of a public key: `kty` and what belongs to it.

    Raises:
        ValueError: a type of key that is not written here.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        size = (key.curve.key_size + 7) // 8
        point = key.public_numbers()
        name = f"P-{key.curve.key_size}"
        return {"kty": "EC", "crv": name, "x": encode(point.x.to_bytes(size)), "y": encode(point.y.to_bytes(size))}
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_bytes_raw())}
    raise ValueError(f"{type(key).__name__} has no form as a JSON Web Key here")


def parse_public_jwk(jwk: Mapping[str, Any]) -> PublicKey:
    """Read an EC or RSA public key.

    Raises:
        ValueError: another type, a private or weak key, or a member that is missing or written in another way.
    """
    private = [name for name in _PRIVATE_MEMBERS if name in jwk]
    if private:
        raise ValueError(f"the member {private[0]!r} belongs to a private key, which never leaves its owner")
    if jwk.get("kty") == "EC":
        return _ec_key(jwk)
    if jwk.get("kty") == "RSA":
        return _rsa_key(jwk)
    raise ValueError("kty is neither 'EC' nor 'RSA'")


def encode(data: bytes) -> str:
    """Encode base64url without padding (RFC 7515, section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: object) -> bytes:
    """Decode base64url without padding, in its one canonical form.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("it is not base64url")
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(data) != text:  # stray characters, padding and loose bits at the end are all read as something
        raise ValueError("it is not base64url without padding")
    return data


def _ec_key(jwk: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
    name = jwk.get("crv")
    curve = CURVES.get(name) if isinstance(name, str) else None
    if curve is None:
        raise ValueError(f"crv is none of {', '.join(CURVES)}")
    size = (curve.key_size + 7) // 8
    x, y = _member(jwk, "x"), _member(jwk, "y")
    if len(x) != size or len(y) != size:
        raise ValueError(f"a coordinate on {name} has {size} bytes")
    return ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve).public_key()


def _rsa_key(jwk: Mapping[str, Any]) -> rsa.RSAPublicKey:
    n, e = _member(jwk, "n"), _member(jwk, "e")
    if not n or not e or n[0] == 0 or e[0] == 0:
        raise ValueError("a number is empty or begins with a zero byte")
    modulus, exponent = int.from_bytes(n), int.from_bytes(e)
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise ValueError(f"an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, this one {modulus.bit_length()}")
    if not 65537 <= exponent < 1 << 32 or exponent % 2 == 0 or modulus % 2 == 0:
        raise ValueError("the exponent is an odd number from 65537 to 4294967295, the modulus is odd")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _member(jwk: Mapping[str, Any], name: str) -> bytes:
    try:
        return decode(jwk.get(name))
    except ValueError as error:
        raise ValueError(f"the member {name!r}: {error}") from None


def _number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8))
