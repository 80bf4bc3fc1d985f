"""Trust bundles: the certificates and JWT keys that may sign for one trust domain, as JWKS or PEM.

Rules: SPIFFE Trust Domain and Bundle specification, section 4; X.509-SVID, section 6; JWT-SVID, section 6.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from identity.errors import BundleError, SpiffeIdError
from identity.jwk import parse_public_jwk, public_jwk
from identity.keys import PublicKey
from identity.spiffe_id import TrustDomain
from identity.strict_json import parse_object

DEFAULT_REFRESH_HINT = 300
"""Seconds after which a bundle is fetched again when it names no hint."""

MAX_BYTES = 4 * 1024 * 1024
"""Largest bundle read (bytes)."""

_X509_KEY_TYPES = ("EC", "RSA", "OKP")
_JWT_KEY_TYPES = ("EC", "RSA")


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """What one trust domain is verified against. No authorities means: trust nothing of that domain.

    Attributes:
        trust_domain: name of the domain.
        authorities: CA certificates, DER.
        sequence: rises with each change of the bundle.
        refresh_hint: seconds until it should be fetched again.
        jwt_keys: public keys of JWT-SVIDs by their id (`kid`).
    """

    trust_domain: str
    authorities: tuple[bytes, ...]
    sequence: int = 0
    refresh_hint: int = DEFAULT_REFRESH_HINT
    jwt_keys: Mapping[str, PublicKey] = field(default_factory=dict, hash=False)

    def to_jwks(self) -> bytes:
        """Return the SPIFFE bundle document."""
        document = {
            "keys": [
                *(_x509_jwk(x509.load_der_x509_certificate(der)) for der in self.authorities),
                *({"use": "jwt-svid", "kid": kid, **public_jwk(key)} for kid, key in self.jwt_keys.items()),
            ],
            "spiffe_sequence": self.sequence,
            "spiffe_refresh_hint": self.refresh_hint,
        }
        return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"

    def to_pem(self) -> bytes:
        """Return the CA certificates as PEM."""
        return b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in self.authorities)


def load_bundle(trust_domain: str, path: Path) -> TrustBundle:
    """Read a bundle file, JWKS or PEM.

    Raises:
        BundleError: not readable or malformed; the message names the file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BundleError(f"the trust bundle {path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise BundleError(f"the trust bundle {path} has more than {MAX_BYTES} bytes")
    try:
        if data.lstrip().startswith(b"{"):
            return parse_jwks(trust_domain, data)
        return parse_pem(trust_domain, data)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


def parse_pem(trust_domain: str, data: bytes) -> TrustBundle:
    """Parse CA certificates in PEM. An empty file is refused: a withdrawal is written as a JWKS without keys.

    Raises:
        BundleError: no certificate, or one that is not a signing certificate.
    """
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except (ValueError, x509.InvalidVersion) as error:
        raise BundleError(f"not a PEM file of certificates: {error}") from error
    return TrustBundle(_domain(trust_domain), tuple(_authority(c) for c in certificates))


def parse_jwks(trust_domain: str, data: bytes) -> TrustBundle:
    """Parse a SPIFFE bundle document. Keys of an unknown use or type are ignored, as the specification asks.

    Raises:
        BundleError: not a bundle document, an `x509-svid` key without exactly one certificate, or a `jwt-svid` key
            that is weak or malformed or has no `kid` of its own.
    """
    try:
        document = parse_object(data)
    except ValueError as error:
        raise BundleError(f"not a JSON object of a SPIFFE bundle: {error}") from error
    if not isinstance(document.get("keys"), list):
        raise BundleError("not a SPIFFE bundle: the member 'keys' is missing")
    authorities: list[bytes] = []
    jwt_keys: dict[str, PublicKey] = {}
    for key in filter(_is_object, document["keys"]):
        if key.get("use") == "x509-svid" and key.get("kty") in _X509_KEY_TYPES:
            authorities.append(_x5c(key))
        elif key.get("use") == "jwt-svid" and key.get("kty") in _JWT_KEY_TYPES:
            _add_jwt_key(jwt_keys, key)
    return TrustBundle(
        _domain(trust_domain),
        tuple(authorities),
        _whole_number(document, "spiffe_sequence", 0),
        _whole_number(document, "spiffe_refresh_hint", DEFAULT_REFRESH_HINT),
        jwt_keys,
    )


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _add_jwt_key(keys: dict[str, PublicKey], jwk: dict[str, Any]) -> None:
    key_id = jwk.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise BundleError("a key of use 'jwt-svid' has no id (kid)")
    if key_id in keys:
        raise BundleError(f"two keys of use 'jwt-svid' have the same id (kid) {key_id[:80]!r}")
    try:
        keys[key_id] = parse_public_jwk(jwk)
    except ValueError as error:
        raise BundleError(f"the key {key_id[:80]!r} of use 'jwt-svid' cannot be used: {error}") from error


def _x5c(key: dict[str, Any]) -> bytes:
    chain = key.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise BundleError("a key of use 'x509-svid' must have exactly one certificate in x5c")
    try:
        return _authority(x509.load_der_x509_certificate(b64decode(chain[0], validate=True)))
    except (ValueError, x509.InvalidVersion) as error:
        raise BundleError(f"a certificate in x5c cannot be read: {error}") from error


def _authority(certificate: x509.Certificate) -> bytes:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        raise BundleError("a certificate in the bundle is not a signing certificate") from None
    if not constraints.ca:
        raise BundleError("a certificate in the bundle is not a signing certificate")
    return certificate.public_bytes(Encoding.DER)


def _whole_number(document: dict[str, Any], name: str, default: int) -> int:
    value = document.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BundleError(f"{name} is not a whole number")
    return value


def _domain(name: str) -> str:
    try:
        return TrustDomain(name).name
    except SpiffeIdError as error:
        raise BundleError(str(error)) from error


def _x509_jwk(certificate: x509.Certificate) -> dict[str, Any]:
    try:
        key = public_jwk(certificate.public_key())
    except ValueError as error:
        raise BundleError(f"a certificate cannot be put in a bundle: {error}") from error
    return {"use": "x509-svid", "x5c": [b64encode(certificate.public_bytes(Encoding.DER)).decode()], **key}
