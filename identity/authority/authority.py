"""The authority of a trust domain: signs X.509-SVIDs and JWT-SVIDs, and takes its authorities through their life."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from identity.authority import lifecycle
from identity.authority.issued import AuthorityEvent, AuthorityRecord, AuthorityView, IssuedJwt, IssuedSvid
from identity.authority.issuing import own_key
from identity.authority.lifecycle import Slot
from identity.authority.rotation import Change, Rotation
from identity.authority.settings import AuthoritySettings
from identity.authority.state import AuthorityState, Kind
from identity.authority.store import Stamp, StateStore, authority_dir
from identity.bundle import TrustBundle
from identity.ca import make_leaf
from identity.clock import NANOSECONDS, Clock
from identity.errors import AuthorityError
from identity.jws import sign_compact
from identity.keys import KeyManager, PrivateKey
from identity.spiffe_id import SpiffeId, TrustDomain
from identity.x509_svid import KEY_TYPES, is_strong

DEFAULT_TTL_SECONDS = 3600
MAX_TTL_SECONDS = 86_400
DEFAULT_JWT_TTL_SECONDS = 300
MAX_JWT_TTL_SECONDS = 3600

_OWN_CLAIMS = frozenset({"sub", "aud", "exp", "iat", "nbf", "jti"})
_RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A state with the keys of its active authorities, replaced as a whole."""

    state: AuthorityState
    stamp: Stamp | None
    bundle: TrustBundle
    signing: Slot
    signing_key: PrivateKey
    certificate: x509.Certificate
    above: tuple[bytes, ...]
    jwt: Slot
    jwt_key: PrivateKey


class Authority:
    """Signs for one trust domain. Open it with `Authority.open`; several processes may have it open."""

    def __init__(
        self, domain: TrustDomain, store: StateStore, keys: KeyManager, clock: Clock, settings: AuthoritySettings
    ) -> None:
        self._domain = domain
        self._store = store
        self._keys = keys
        self._clock = clock
        self._settings = settings
        self._rotation = Rotation(domain, keys, settings)
        self._next_tick = 0
        with store.locked():
            state = store.read()
            if state.trust_domain != domain.name:
                raise AuthorityError(f"the authority in {store.directory} is not of the trust domain {domain}")
            store.remove_unfinished()
            store.publish(state)
            self._loaded = self._load(state)
            self._remove_orphans(state)

    @classmethod
    def open(
        cls,
        state_dir: Path,
        trust_domain: str,
        keys: KeyManager,
        clock: Clock,
        settings: AuthoritySettings | None = None,
    ) -> "Authority":
        """Open the authority of a trust domain. No root's key is needed, nor the upstream authority.

        Args:
            state_dir: directory of the gateway's state.
            trust_domain: its name.
            keys: private keys of this authority and of nothing else; those it does not know are removed.
            clock: the time.
            settings: choices for what is made from now on.

        Raises:
            AuthorityError: there is none, it is of another domain, or its files do not fit.
            SealError: a key cannot be opened.
        """
        settings = settings or AuthoritySettings()
        store = StateStore(authority_dir(state_dir), settings.refresh_hint)
        return cls(TrustDomain(trust_domain), store, keys, clock, settings)

    # what it signs

    def issue_x509_svid(
        self,
        spiffe_id: SpiffeId,
        public_key: CertificatePublicKeyTypes,
        ttl_seconds: int = DEFAULT_TTL_SECONDS,
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
    ) -> IssuedSvid:
        """Sign an X.509-SVID for `public_key`. It lives `ttl_seconds`, or as long as the signing authority if less.

        Raises:
            AuthorityError: the ID is of another domain or has no path, the key is weak, the lifetime is out of
                bounds, a further name is none, or the signing authority has expired.
        """
        self._check_member(spiffe_id)
        if not is_strong(public_key):
            raise AuthorityError(f"the public key of {spiffe_id} is of no accepted type; use one of: {KEY_TYPES}")
        loaded, now = self._loaded, self._now()
        not_after = _expiry(now, ttl_seconds, MAX_TTL_SECONDS, loaded.signing, "x509")
        leaf = make_leaf(
            spiffe_id,
            public_key,
            loaded.certificate,
            loaded.signing_key,
            datetime.fromtimestamp(now, UTC),
            datetime.fromtimestamp(not_after, UTC),
            dns_names=dns_names,
            ip_addresses=ip_addresses,
        )
        chain = (leaf.public_bytes(Encoding.DER), *loaded.above)
        return IssuedSvid(chain, f"{leaf.serial_number:x}", not_after, loaded.signing.authority_id)

    def issue_jwt_svid(
        self,
        spiffe_id: SpiffeId,
        audience: Sequence[str],
        ttl_seconds: int = DEFAULT_JWT_TTL_SECONDS,
        claims: Mapping[str, Any] | None = None,
    ) -> IssuedJwt:
        """Sign a JWT-SVID for `audience`. It lives `ttl_seconds`, or as long as the JWT key if less.

        Args:
            spiffe_id: its subject.
            audience: one or more verifiers, none empty.
            ttl_seconds: seconds.
            claims: further claims, for instance `iss`.

        Raises:
            AuthorityError: the ID is of another domain or has no path, the audience is empty, the lifetime is out of
                bounds, a claim is the authority's own or not JSON, or the JWT key has expired.
        """
        self._check_member(spiffe_id)
        if isinstance(audience, str) or not audience or not all(audience):
            raise AuthorityError("a JWT-SVID has an audience of one or more names, none of them empty")
        own = _OWN_CLAIMS & set(claims or ())
        if own:
            raise AuthorityError(f"the claim {min(own)!r} is set by the authority and cannot be given")
        loaded, now = self._loaded, self._now()
        expires_at = _expiry(now, ttl_seconds, MAX_JWT_TTL_SECONDS, loaded.jwt, "jwt")
        jti = secrets.token_hex(16)
        body = {
            **(claims or {}),
            "sub": str(spiffe_id),
            "aud": list(audience),
            "exp": expires_at,
            "iat": now,
            "jti": jti,
        }
        try:
            token = sign_compact(loaded.jwt_key, loaded.jwt.authority_id, body)
        except (TypeError, ValueError, RecursionError) as error:
            raise AuthorityError(f"the claims for {spiffe_id} cannot be signed: {error}") from error
        return IssuedJwt(token, jti, loaded.jwt.authority_id, now, expires_at)

    # what it is

    @property
    def not_after(self) -> int:
        """When the active signing authority expires (UNIX seconds)."""
        return self._loaded.signing.not_after

    def bundle(self) -> TrustBundle:
        """Return the trust domain's bundle: roots, and the keys of JWT-SVIDs, prepared ones among them."""
        return self._loaded.bundle

    def show(self) -> AuthorityView:
        """Return every authority with its state."""
        state = self._loaded.state
        return AuthorityView(
            trust_domain=self._domain.name,
            sequence=state.sequence,
            x509=tuple(_record("x509", slot) for slot in state.x509),
            jwt=tuple(_record("jwt", slot) for slot in state.jwt),
            revoked=tuple(each.authority_id for each in state.revoked),
            failures=self._rotation.failures(),
        )

    def tainted(self) -> frozenset[str]:
        """Return the ids of the authorities, tainted or revoked, whose SVIDs every holder must replace now."""
        state = self._loaded.state
        return frozenset(s.authority_id for s in (*state.x509, *state.jwt) if s.tainted) | self.revoked_authorities()

    def revoked_authorities(self) -> frozenset[str]:
        """Return the ids of revoked authorities that have not expired: no chain or token of theirs is accepted."""
        return frozenset(each.authority_id for each in self._loaded.state.revoked)

    # its life

    def tick(self) -> tuple[AuthorityEvent, ...]:
        """Prepare at half-life, activate at five sixths, drop what has expired. Call often: it is cheap.

        What cannot be done (the root's key is elsewhere, say) is a `failed` event, told once and tried again each
        minute; what is valid goes on.

        Raises:
            AuthorityError, SealError: the files of the authority cannot be used.
        """
        now = self._now()
        if now < self._next_tick:
            return ()
        events = self._change(lambda state: self._rotation.advance(state, now))
        state = self._loaded.state
        moments = [lifecycle.next_change(state.x509, now), lifecycle.next_change(state.jwt, now)]
        moments += [each.not_after for each in state.revoked]
        self._next_tick = max(min(moments), now + (_RETRY_SECONDS if self._rotation.failures() else 1))
        return events

    def refresh(self) -> bool:
        """Take in what another process has changed. Returns whether it was anything.

        Raises:
            AuthorityError, SealError: the files of the authority cannot be used; the state before stays.
        """
        if self._store.stamp() == self._loaded.stamp:
            return False
        before = self._loaded.state
        self._change(lambda state: (state, ()))
        self._next_tick = 0
        return self._loaded.state != before

    def prepare(self, kind: Kind, *, new_root: bool = False) -> AuthorityEvent:
        """Make the next authority and publish it. One that is prepared already is replaced.

        Args:
            kind: what it signs.
            new_root: X.509: below a new root of our own; else below that of the active authority.

        Raises:
            AuthorityError: the root's key is not at hand, or what is made does not verify.
            KeyManagerError, SealError: a key cannot be made.
        """
        now = self._now()
        return self._change(lambda state: self._rotation.prepare(state, kind, now, new_root=new_root))[0]

    def activate(self, kind: Kind, authority_id: str | None = None) -> AuthorityEvent:
        """Sign with the prepared authority from now on; the active one becomes old.

        Raises:
            AuthorityError: none is prepared, or not this one.
        """
        return self._change(lambda state: self._rotation.activate(state, kind, authority_id))[0]

    def taint(self, kind: Kind, authority_id: str) -> AuthorityEvent:
        """Have every holder replace what an old authority signed.

        Raises:
            AuthorityError: it is not an old authority.
        """
        return self._change(lambda state: self._rotation.taint(state, kind, authority_id))[0]

    def revoke(self, kind: Kind, authority_id: str) -> AuthorityEvent:
        """Trust a tainted authority no more: its key leaves the bundle, or its root if nothing else is below it.

        Raises:
            AuthorityError: it is not a tainted authority.
        """
        return self._change(lambda state: self._rotation.revoke(state, kind, authority_id))[0]

    def _change(self, change: Callable[[AuthorityState], Change]) -> tuple[AuthorityEvent, ...]:
        with self._store.locked():
            before = self._store.read()
            try:
                after, events = change(before)
                after = after.settled_after(before)
                if after != before:
                    self._store.write(after)
            except BaseException:
                self._remove_orphans(self._store.read())
                raise
            if (after, self._store.stamp()) != (self._loaded.state, self._loaded.stamp):
                self._loaded = self._load(after)
            self._remove_orphans(after)
        self._next_tick = 0
        return events

    def _load(self, state: AuthorityState) -> _Loaded:
        signing, jwt = (lifecycle.in_state(state.slots(kind), "active") for kind in ("x509", "jwt"))
        if signing is None or jwt is None:
            raise AuthorityError(f"{self._store.directory} has no active authority; restore it from a backup")
        bundle = state.bundle(self._settings.refresh_hint)
        certificates = x509.load_pem_x509_certificates(signing.material.encode())
        return _Loaded(
            state=state,
            stamp=self._store.stamp(),
            bundle=bundle,
            signing=signing,
            signing_key=own_key(self._keys, signing, certificates[0].public_key()),
            certificate=certificates[0],
            above=tuple(each.public_bytes(Encoding.DER) for each in certificates),
            jwt=jwt,
            jwt_key=own_key(self._keys, jwt, bundle.jwt_keys[jwt.authority_id]),
        )

    def _remove_orphans(self, state: AuthorityState) -> None:
        for key_id in self._keys.ids() - state.key_ids():
            self._keys.delete(key_id)

    def _check_member(self, spiffe_id: SpiffeId) -> None:
        if spiffe_id.trust_domain != self._domain or not spiffe_id.path:
            raise AuthorityError(f"{spiffe_id} is not a member of the trust domain {self._domain}")

    def _now(self) -> int:
        return self._clock() // NANOSECONDS


def _expiry(now: int, ttl: int, most: int, slot: Slot, kind: Kind) -> int:
    if not 0 < ttl <= most:
        raise AuthorityError(f"an SVID lives 1 to {most} seconds, not {ttl}")
    if slot.not_after <= now:
        raise AuthorityError(
            f"the active {kind} authority has expired; make another one with: govctl authority {kind} prepare, which "
            f"says what it needs, and: govctl authority {kind} activate"
        )
    return min(now + ttl, slot.not_after)


def _record(kind: Kind, slot: Slot) -> AuthorityRecord:
    return AuthorityRecord(
        kind=kind,
        authority_id=slot.authority_id,
        state=slot.state,
        tainted=slot.tainted,
        not_before=slot.not_before,
        not_after=slot.not_after,
        prepared_at=slot.prepared_at,
        key_type=slot.key_type,
        root_id=slot.root_id,
    )
