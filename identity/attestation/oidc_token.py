"""Verifies an OpenID Connect ID token of one configured issuer. Pure: token, issuer, keys and time are arguments.

Rules, in this order:

1. the token is a bounded, compact JWS whose header and claims are JSON objects without repeated members;
2. the header names an asymmetric algorithm that the issuer may use, a key, a type that is absent or JWT, and no
   critical extension;
3. the key is the issuer's, fits the algorithm, and the signature is its own;
4. the issuer (`iss`) is this one, letter by letter;
5. the audience (`aud`) is ours alone: what is meant for others too could be shown here by any of them;
6. the token has not expired, is not from the future, and not older than allowed.

Rules: OpenID Connect Core 1.0, section 3.1.3.7; RFC 8725. Keys in the header are never used.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from identity.attestation.base import AttestationError
from identity.fetching import https_url
from identity.jwk import decode
from identity.jws import ALGORITHMS, fits, verify_signature
from identity.keys import PublicKey
from identity.strict_json import parse_object

MAX_TOKEN_CHARACTERS = 16_384
MAX_LEEWAY_SECONDS = 60
DEFAULT_MAX_AGE_SECONDS = 3600

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_LATEST = 1 << 53


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A key of an issuer, and the one algorithm it is for, if its JWK says so."""

    public_key: PublicKey
    algorithm: str | None = None


IssuerKeys = Mapping[str, Sequence[IssuerKey]]
"""Keys by their id (`kid`); an id that an issuer gave twice has both."""


@dataclass(frozen=True, slots=True)
class OidcIssuer:
    """An issuer whose tokens attest.

    Attributes:
        name: as in selectors (`oidc:<name>:<claim>:<value>`) and SPIFFE IDs: 1 to 63 of a-z, 0-9, dash, underscore.
        url: the issuer, https, exactly as in `iss`.
        audience: that tokens must be for.
        claims: those that become selectors; a dot leads into an object, unless there is a claim of the whole name.
        algorithms: that it signs with; none is symmetric.
        ca_file: PEM file of the authorities of its servers; None for the system's.
        key_hosts: hosts (`host` or `host:port`), besides its own, that its keys may lie on.
        leeway_seconds: that clocks may differ, 0 to 60.
        max_age_seconds: oldest token taken.
    """

    name: str
    url: str
    audience: str
    claims: tuple[str, ...] = ("sub",)
    algorithms: frozenset[str] = frozenset({"RS256", "ES256"})
    ca_file: Path | None = None
    key_hosts: frozenset[str] = frozenset()
    leeway_seconds: int = 0
    max_age_seconds: int = DEFAULT_MAX_AGE_SECONDS

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot name an issuer: use 1 to 63 of a-z, 0-9, '-', '_'")
        https_url(self.url)
        if not self.audience:
            raise ValueError(f"the issuer {self.name!r} needs an audience: without, tokens for anybody would be proofs")
        if not self.algorithms or not self.algorithms <= set(ALGORITHMS):
            raise ValueError(f"the algorithms of {self.name!r} are some of {', '.join(ALGORITHMS)}")
        if not 0 <= self.leeway_seconds <= MAX_LEEWAY_SECONDS:
            raise ValueError(f"the leeway of {self.name!r} is 0 to {MAX_LEEWAY_SECONDS} seconds")
        if self.max_age_seconds < 1:
            raise ValueError(f"the oldest token of {self.name!r} is at least a second old")
        if any(not claim or ":" in claim for claim in self.claims):
            raise ValueError(f"a claim of {self.name!r} is empty or has a colon, which would make selectors ambiguous")


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """The parts of a token before anything of it is believed."""

    algorithm: str
    key_id: str
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @property
    def issuer(self) -> str:
        """Whom it says it is of; only good for finding the issuer to verify it with."""
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else ""


def parse_token(token: str) -> UnverifiedToken:
    """Take a token apart: rules 1 and 2.

    Raises:
        AttestationError: the rule that is broken.
    """
    parts = token.split(".")
    if len(token) > MAX_TOKEN_CHARACTERS or len(parts) != 3:
        raise AttestationError("oidc-malformed", "the token is not a compact JWS: three parts between two dots")
    try:
        header, claims = parse_object(decode(parts[0])), parse_object(decode(parts[1]))
        signature = decode(parts[2])
    except ValueError as error:
        raise AttestationError("oidc-malformed", f"the token cannot be read: {error}") from error
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise AttestationError("oidc-algorithm", f"the token's algorithm is none of {', '.join(ALGORITHMS)}")
    if not isinstance(key_id, str) or not key_id:
        raise AttestationError("oidc-key-missing", "the token does not name its key (kid)")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise AttestationError("oidc-type", "the token's type is neither absent nor JWT")
    if "crit" in header:
        raise AttestationError("oidc-critical", "the token asks for an extension to be understood, and none is here")
    return UnverifiedToken(algorithm, key_id, claims, f"{parts[0]}.{parts[1]}".encode(), signature)


def verify_token(token: UnverifiedToken, issuer: OidcIssuer, keys: IssuerKeys, now: int) -> Mapping[str, Any]:
    """Verify the rest and return the claims.

    Raises:
        AttestationError: the rule that is broken.
    """
    if token.algorithm not in issuer.algorithms:
        raise AttestationError("oidc-algorithm", f"{issuer.name} does not sign with {token.algorithm} here")
    known = keys.get(token.key_id)
    if not known:
        raise AttestationError("oidc-key-unknown", f"{issuer.name} has no key {token.key_id[:80]!r}")
    usable = [
        key for key in known if key.algorithm in {None, token.algorithm} and fits(token.algorithm, key.public_key)
    ]
    if not any(verify_signature(key.public_key, token.algorithm, token.signed, token.signature) for key in usable):
        raise AttestationError("oidc-signature", f"the signature is not that of the key {token.key_id[:80]!r}")
    if token.issuer != issuer.url:
        raise AttestationError("oidc-issuer", f"the token is not of {issuer.url}")
    _check_audience(token.claims, issuer)
    _check_times(token.claims, issuer, now)
    return token.claims


def _check_audience(claims: Mapping[str, Any], issuer: OidcIssuer) -> None:
    audience = claims.get("aud")
    if audience not in (issuer.audience, [issuer.audience]):
        raise AttestationError(
            "oidc-audience", f"the token is not for {issuer.audience!r} alone; ask {issuer.name} for one that is"
        )


def _check_times(claims: Mapping[str, Any], issuer: OidcIssuer, now: int) -> None:
    leeway = issuer.leeway_seconds
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    if expires is None or issued is None:
        raise AttestationError("oidc-times-missing", "the token lacks its expiry (exp) or its beginning (iat)")
    if now >= expires + leeway:
        raise AttestationError("oidc-expired", "the token has expired; ask for a new one")
    if now + leeway < issued or now + leeway < (_time(claims, "nbf") or 0):
        raise AttestationError("oidc-not-yet-valid", "the token is from the future (iat or nbf); check the clocks")
    if now - issued > issuer.max_age_seconds + leeway:
        raise AttestationError(
            "oidc-too-old", f"the token is older than {issuer.max_age_seconds} seconds; ask for a new one"
        )


def _time(claims: Mapping[str, Any], name: str) -> int | None:
    if name not in claims:
        return None
    value = claims[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < _LATEST:
        raise AttestationError("oidc-time-malformed", f"the claim {name!r} is not a number of seconds")
    return int(value)
