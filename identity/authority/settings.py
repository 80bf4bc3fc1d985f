"""What an authority's owner chooses: lifetimes, types of key, and an authority above it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography import x509

from identity.bundle import DEFAULT_REFRESH_HINT
from identity.errors import AuthorityError
from identity.keys import KEY_TYPES

DAY = 86_400
"""Seconds in a day."""

MIN_LIFETIME = 60
"""Shortest life of an authority (seconds); less leaves no time between its preparation and its end."""


class UpstreamAuthority(Protocol):
    """An authority above ours that signs elsewhere, such as Vault's PKI engine."""

    def sign(self, request: x509.CertificateSigningRequest, seconds: int) -> tuple[x509.Certificate, ...]:
        """Sign our signing authority.

        Args:
            request: its key, name and SPIFFE ID; it may sign leaves and nothing deeper.
            seconds: how long it is to live.

        Returns:
            Its certificate, then those above it, the root last.

        Raises:
            AuthorityError: it is not signed.
        """
        ...


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """Choices for an authority. All times are in seconds.

    Root, 10 years: replacing it is a planned event, and its algorithm is not trusted for ever.

    Signing authority, 1 year: SPIRE's live for 24 hours because SPIRE has the authority above it always at hand. Here
    that would keep the root's key on the machine every day. With a year it may lie elsewhere and is needed once, in
    the four months between half-life and five sixths; a signing authority that is lost in between is tainted and
    revoked.

    JWT key, 7 days: its key is on the machine anyway, so it changes often. It is published two days and eight hours
    before it is used, longer than the day for which cloud providers keep the keys of an OIDC issuer.

    P-256 for all: verifying a signature of P-384 costs each handshake several times as much.

    Attributes:
        root_lifetime, signing_lifetime, jwt_key_lifetime: how long each authority lives.
        root_key_type, signing_key_type, jwt_key_type: one of `identity.keys.KEY_TYPES`; RSA is for verifiers of
            JWT-SVIDs that know nothing else.
        refresh_hint: after how many seconds readers of the bundle should fetch it again.
        upstream_certificate: PEM file of an authority that signs ours, with all those above it, its root last. No
            root is ever made then.
        upstream_key: PEM file of its private key, readable by its owner alone.
        upstream: signs our signing authority elsewhere; in place of those two files.

    Raises:
        AuthorityError: a value is out of bounds.
    """

    root_lifetime: int = 3652 * DAY
    signing_lifetime: int = 365 * DAY
    jwt_key_lifetime: int = 7 * DAY
    root_key_type: str = "ec-p256"
    signing_key_type: str = "ec-p256"
    jwt_key_type: str = "ec-p256"
    refresh_hint: int = DEFAULT_REFRESH_HINT
    upstream_certificate: Path | None = None
    upstream_key: Path | None = None
    upstream: UpstreamAuthority | None = None

    def __post_init__(self) -> None:
        for name in ("root_lifetime", "signing_lifetime", "jwt_key_lifetime"):
            if getattr(self, name) < MIN_LIFETIME:
                raise AuthorityError(f"{name} is at least {MIN_LIFETIME} seconds, not {getattr(self, name)}")
        if self.refresh_hint <= 0:
            raise AuthorityError(f"refresh_hint is a number of seconds above 0, not {self.refresh_hint}")
        for name in ("root_key_type", "signing_key_type", "jwt_key_type"):
            if getattr(self, name) not in KEY_TYPES:
                raise AuthorityError(f"{name} {getattr(self, name)!r} is none of {', '.join(KEY_TYPES)}")
        if (self.upstream_certificate is None) != (self.upstream_key is None):
            raise AuthorityError("an upstream authority has both a certificate and a key; name both files or neither")
        if self.upstream is not None and self.upstream_certificate is not None:
            raise AuthorityError("there is one upstream authority: files, or one that signs elsewhere")
