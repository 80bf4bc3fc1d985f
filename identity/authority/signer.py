"""Signs SVIDs with the active authorities of one state. Never changed: another state gets another signer."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from identity.authority.issued import IssuedJwt, IssuedSvid
from identity.authority.issuing import own_key
from identity.authority.lifecycle import Slot, in_state
from identity.authority.state import AuthorityState, Kind
from identity.bundle import TrustBundle
from identity.ca import make_leaf
from identity.errors import AuthorityError
from identity.jws import sign_compact
from identity.keys import KeyManager, PrivateKey
from identity.spiffe_id import SpiffeId
from identity.x509_svid import KEY_TYPES, is_strong

DEFAULT_TTL_SECONDS = 3600
MAX_TTL_SECONDS = 86_400
DEFAULT_JWT_TTL_SECONDS = 300
MAX_JWT_TTL_SECONDS = 3600

_OWN_CLAIMS = frozenset({"sub", "aud", "exp", "iat", "nbf", "jti"})


@dataclass(frozen=True, slots=True)
class Signer:
    """The keys of the active authorities, and what belongs to them. Make it with `Signer.load`.

    Attributes:
        trust_domain: its name.
        bundle: what is verified against.
        signing, jwt: the active authorities.
        signing_key, jwt_key: their private keys.
        certificate: that of the signing authority.
        above: DER, sent after each leaf: `certificate` and those above it without the root.
    """

    trust_domain: str
    bundle: TrustBundle
    signing: Slot
    signing_key: PrivateKey
    certificate: x509.Certificate
    above: tuple[bytes, ...]
    jwt: Slot
    jwt_key: PrivateKey

    @classmethod
    def load(cls, state: AuthorityState, keys: KeyManager, refresh_hint: int) -> "Signer":
        """Load the keys of the active authorities.

        Raises:
            AuthorityError: there is no active authority, or a key is not there or not its own.
            SealError: a key cannot be opened.
        """
        signing, jwt = in_state(state.x509, "active"), in_state(state.jwt, "active")
        if signing is None or jwt is None:
            raise AuthorityError(f"{state.trust_domain} has no active authority; restore it from a backup")
        bundle = state.bundle(refresh_hint)
        certificates = x509.load_pem_x509_certificates(signing.material.encode())
        return cls(
            trust_domain=state.trust_domain,
            bundle=bundle,
            signing=signing,
            signing_key=own_key(keys, signing, certificates[0].public_key()),
            certificate=certificates[0],
            above=tuple(each.public_bytes(Encoding.DER) for each in certificates),
            jwt=jwt,
            jwt_key=own_key(keys, jwt, bundle.jwt_keys[jwt.authority_id]),
        )

    def issue_x509_svid(
        self,
        spiffe_id: SpiffeId,
        public_key: CertificatePublicKeyTypes,
        ttl_seconds: int,
        dns_names: Sequence[str],
        ip_addresses: Sequence[str],
        now: int,
    ) -> IssuedSvid:
        """See `Authority.issue_x509_svid`."""
        self._check_member(spiffe_id)
        if not is_strong(public_key):
            raise AuthorityError(f"the public key of {spiffe_id} is of no accepted type; use one of: {KEY_TYPES}")
        not_after = _expiry(now, ttl_seconds, MAX_TTL_SECONDS, self.signing, "x509")
        leaf = make_leaf(
            spiffe_id,
            public_key,
            self.certificate,
            self.signing_key,
            datetime.fromtimestamp(now, UTC),
            datetime.fromtimestamp(not_after, UTC),
            dns_names=dns_names,
            ip_addresses=ip_addresses,
        )
        chain = (leaf.public_bytes(Encoding.DER), *self.above)
        return IssuedSvid(chain, f"{leaf.serial_number:x}", not_after, self.signing.authority_id)

    def issue_jwt_svid(
        self, spiffe_id: SpiffeId, audience: Sequence[str], ttl_seconds: int, claims: Mapping[str, Any], now: int
    ) -> IssuedJwt:
        """See `Authority.issue_jwt_svid`."""
        self._check_member(spiffe_id)
        if isinstance(audience, str) or not audience or not all(audience):
            raise AuthorityError("a JWT-SVID has an audience of one or more names, none of them empty")
        own = _OWN_CLAIMS & set(claims)
        if own:
            raise AuthorityError(f"the claim {min(own)!r} is set by the authority and cannot be given")
        expires_at = _expiry(now, ttl_seconds, MAX_JWT_TTL_SECONDS, self.jwt, "jwt")
        jti = secrets.token_hex(16)
        times = {"exp": expires_at, "iat": now}
        body = {**claims, "sub": str(spiffe_id), "aud": list(audience), **times, "jti": jti}
        try:
            token = sign_compact(self.jwt_key, self.jwt.authority_id, body)
        except (TypeError, ValueError, RecursionError) as error:
            raise AuthorityError(f"the claims for {spiffe_id} cannot be signed: {error}") from error
        return IssuedJwt(token, jti, self.jwt.authority_id, now, expires_at)

    def _check_member(self, spiffe_id: SpiffeId) -> None:
        if spiffe_id.trust_domain.name != self.trust_domain or not spiffe_id.path:
            raise AuthorityError(f"{spiffe_id} is not a member of the trust domain {self.trust_domain}")


def _expiry(now: int, ttl: int, most: int, slot: Slot, kind: Kind) -> int:
    if not 0 < ttl <= most:
        raise AuthorityError(f"an SVID lives 1 to {most} seconds, not {ttl}")
    if slot.not_after <= now:
        raise AuthorityError(
            f"the active {kind} authority has expired; make another one with: govctl authority {kind} prepare, which "
            f"says what it needs, and: govctl authority {kind} activate"
        )
    return min(now + ttl, slot.not_after)
