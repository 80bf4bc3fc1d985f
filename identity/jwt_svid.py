"""Verifies a JWT-SVID against the bundle of the trust domain that its own subject names, and no other.

Pure functions: token, bundles, audience and time are arguments. Rules, in this order:

1. the token is a bounded, compact JWS whose header and claims are JSON objects without repeated members;
2. the header names an algorithm of `identity.jws`, no critical extension, and a type that is absent, JWT or JOSE;
3. the subject is a SPIFFE ID with a path, and its trust domain has a bundle with the key that the header names;
4. the algorithm fits that key, and the signature is its own;
5. the token has not expired, and is neither from the future nor meant for it;
6. the verifier's own audience is among those of the token.

Rules: JWT-SVID specification, sections 2, 3, 5.1 and 6. Keys in the header (`jwk`, `jku`, `x5c`, `x5u`) are never used.
Whatever the token, the answer is an identity or a `SvidError`, nothing else.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from identity.bundle import TrustBundle
from identity.errors import SpiffeIdError, SvidError
from identity.jwk import decode
from identity.jws import ALGORITHMS, fits, verify_signature
from identity.keys import PublicKey
from identity.spiffe_id import SpiffeId
from identity.strict_json import parse_object

__all__ = ["MAX_TOKEN_BYTES", "JwtIdentity", "SvidError", "verify_jwt_svid"]

MAX_TOKEN_BYTES = 16_384
"""Longest token read (bytes)."""

_TYPES = (None, "JWT", "JOSE")
_LATEST = 1 << 53
"""Times beyond this are not whole numbers in every reader of JSON."""


@dataclass(frozen=True, slots=True)
class JwtIdentity:
    """An identity proven by a JWT-SVID.

    Attributes:
        id: the SPIFFE ID.
        trust_domain, path: its parts.
        audience: everyone the token is meant for.
        key_id: the key it was signed with.
        jti: its own id; empty if it has none.
        issued_at: UNIX seconds; 0 if the token does not say.
        not_after: UNIX seconds.
        claims: all claims.
    """

    id: str
    trust_domain: str
    path: str
    audience: tuple[str, ...]
    key_id: str
    jti: str
    issued_at: int
    not_after: int
    claims: Mapping[str, Any]


def verify_jwt_svid(
    token: str,
    bundles: Mapping[str, TrustBundle],
    audience: str | Collection[str],
    now: int,
    *,
    leeway: int = 0,
) -> JwtIdentity:
    """Verify a token at the time `now` (UNIX seconds) for a verifier that goes by `audience` (any of several names).

    Args:
        token: the compact serialization.
        bundles: trust bundles by trust domain.
        audience: the verifier's own names.
        now: UNIX seconds.
        leeway: seconds that clocks may differ.

    Raises:
        SvidError: the first rule that is broken.
    """
    try:
        return _verify(token, bundles, audience, now, leeway)
    except SvidError:
        raise
    except Exception as error:
        raise SvidError("jwt-malformed", f"the token cannot be read: {error}") from error


def _verify(
    token: str, bundles: Mapping[str, TrustBundle], audience: str | Collection[str], now: int, leeway: int
) -> JwtIdentity:
    signed, header_part, claims_part, signature = _split(token)
    header, claims = _object(header_part, "header"), _object(claims_part, "claims")
    algorithm, key_id = _check_header(header)
    spiffe_id = _subject(claims)
    key = _key(bundles, spiffe_id, key_id)
    if not fits(algorithm, key):
        raise SvidError("jwt-algorithm", f"the token says {algorithm}, which is not of the type of the key {key_id!r}")
    if not verify_signature(key, algorithm, signed, signature):
        raise SvidError("jwt-signature", f"the signature of the token is not that of the key {key_id!r}")
    issued_at, not_after = _check_times(claims, now, leeway)
    if not isinstance(claims.get("iss", ""), str):
        raise SvidError("jwt-issuer", "the issuer of the token (iss) is not a text")
    return JwtIdentity(
        id=str(spiffe_id),
        trust_domain=spiffe_id.trust_domain.name,
        path=spiffe_id.path,
        audience=_check_audience(claims, audience),
        key_id=key_id,
        jti=_token_id(claims),
        issued_at=issued_at,
        not_after=not_after,
        claims=claims,
    )


def _split(token: str) -> tuple[bytes, str, str, bytes]:
    if len(token) > MAX_TOKEN_BYTES:
        raise SvidError("jwt-too-large", f"the token has more than {MAX_TOKEN_BYTES} bytes")
    parts = token.split(".")
    if len(parts) != 3:
        raise SvidError("jwt-malformed", "the token is not a compact JWS: three parts between two dots")
    header, claims, signature = parts
    return f"{header}.{claims}".encode(), header, claims, decode(signature)


def _object(part: str, name: str) -> dict[str, Any]:
    try:
        return parse_object(decode(part))
    except ValueError as error:
        raise SvidError("jwt-malformed", f"the {name} of the token cannot be read: {error}") from error


def _check_header(header: dict[str, Any]) -> tuple[str, str]:
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise SvidError("jwt-algorithm", f"the token's algorithm is none of {', '.join(ALGORITHMS)}")
    if header.get("typ") not in _TYPES or ("typ" in header and header["typ"] is None):
        raise SvidError("jwt-type", "the token's type is neither absent nor 'JWT' nor 'JOSE'")
    if "crit" in header or "b64" in header:  # RFC 7797: with b64 the payload may be meant as it stands
        raise SvidError("jwt-critical", "the token asks for an extension to be understood, and none is here")
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise SvidError("jwt-key-id-missing", "the token does not name its key (kid)")
    return str(algorithm), key_id


def _subject(claims: dict[str, Any]) -> SpiffeId:
    subject = claims.get("sub")
    if not isinstance(subject, str):
        raise SvidError("jwt-subject", "the token has no subject (sub), so no SPIFFE ID")
    try:
        spiffe_id = SpiffeId.parse(subject)
    except SpiffeIdError as error:
        raise SvidError("jwt-subject", f"the subject of the token is not a SPIFFE ID: {error}") from error
    if not spiffe_id.path:
        raise SvidError("jwt-subject", f"{spiffe_id} has no path: it names the trust domain, not one of its members")
    return spiffe_id


def _key(bundles: Mapping[str, TrustBundle], spiffe_id: SpiffeId, key_id: str) -> PublicKey:
    bundle = bundles.get(spiffe_id.trust_domain.name)
    if bundle is None:
        raise SvidError(
            "trust-domain-unknown",
            f"the trust domain {spiffe_id.trust_domain} is not known here; federate with it, or use an identity of a "
            "known domain",
        )
    key = bundle.jwt_keys.get(key_id)
    if key is None:
        raise SvidError("jwt-key-unknown", f"{spiffe_id.trust_domain} has no key {key_id[:80]!r}; fetch a new JWT-SVID")
    return key


def _check_times(claims: dict[str, Any], now: int, leeway: int) -> tuple[int, int]:
    not_after, not_before, issued_at = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    if not_after is None:
        raise SvidError("jwt-expiry-missing", "the token has no expiry (exp)")
    if now >= not_after + leeway:
        raise SvidError("jwt-expired", "the token has expired; fetch a new JWT-SVID")
    if not_before is not None and now + leeway < not_before:
        raise SvidError("jwt-not-yet-valid", "the token is not valid yet (nbf); check the clocks")
    if issued_at is not None and now + leeway < issued_at:
        raise SvidError("jwt-issued-in-future", "the token was issued in the future (iat); check the clocks")
    return issued_at or 0, not_after


def _time(claims: dict[str, Any], name: str) -> int | None:
    if name not in claims:
        return None
    value = claims[name]
    whole = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LATEST
    if not whole or value != int(value):
        raise SvidError("jwt-time-malformed", f"the claim {name!r} of the token is not a whole number of seconds")
    return int(value)


def _check_audience(claims: dict[str, Any], expected: str | Collection[str]) -> tuple[str, ...]:
    claimed = claims.get("aud")
    audience = [claimed] if isinstance(claimed, str) else claimed
    if not isinstance(audience, list) or not audience or not all(isinstance(a, str) and a for a in audience):
        raise SvidError("jwt-audience", "the token names no audience (aud), or an empty one")
    own = (expected,) if isinstance(expected, str) else expected
    if not any(name and name in audience for name in own):
        raise SvidError("jwt-audience", f"the token is meant for {', '.join(audience)[:200]}, not for this verifier")
    return tuple(audience)


def _token_id(claims: dict[str, Any]) -> str:
    token_id = claims.get("jti", "")
    if not isinstance(token_id, str):
        raise SvidError("jwt-id", "the id of the token (jti) is not a text")
    return token_id
