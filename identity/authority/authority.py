"""The authority of a trust domain: signs X.509-SVIDs and JWT-SVIDs, and takes its authorities through their life."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from identity.authority import lifecycle
from identity.authority.issued import AuthorityEvent, AuthorityRecord, AuthorityView, IssuedJwt, IssuedSvid
from identity.authority.lifecycle import Slot
from identity.authority.rotation import Change, Rotation
from identity.authority.settings import AuthoritySettings
from identity.authority.signer import DEFAULT_JWT_TTL_SECONDS, DEFAULT_TTL_SECONDS, Signer
from identity.authority.state import AuthorityState, Kind
from identity.authority.store import Stamp, StateStore, authority_dir
from identity.bundle import TrustBundle
from identity.clock import NANOSECONDS, Clock
from identity.errors import AuthorityError
from identity.keys import KeyManager
from identity.spiffe_id import SpiffeId, TrustDomain

_RETRY_SECONDS = 60


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
        self._stamp: Stamp | None = None
        self._state: AuthorityState
        with store.locked():
            state = store.read()
            if state.trust_domain != domain.name:
                raise AuthorityError(f"the authority in {store.directory} is not of the trust domain {domain}")
            store.remove_unfinished()
            store.publish(state)
            self._adopt(state)
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
        return self._signer.issue_x509_svid(spiffe_id, public_key, ttl_seconds, dns_names, ip_addresses, self._now())

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
        return self._signer.issue_jwt_svid(spiffe_id, audience, ttl_seconds, claims or {}, self._now())

    # what it is

    @property
    def not_after(self) -> int:
        """When the active signing authority expires (UNIX seconds)."""
        return self._signer.signing.not_after

    def bundle(self) -> TrustBundle:
        """Return the trust domain's bundle: roots, and the keys of JWT-SVIDs, prepared ones among them."""
        return self._signer.bundle

    def show(self) -> AuthorityView:
        """Return every authority with its state."""
        state = self._state
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
        return self._tainted

    def revoked_authorities(self) -> frozenset[str]:
        """Return the ids of revoked authorities that have not expired: no chain or token of theirs is accepted."""
        return self._revoked

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
        state = self._state
        moments = [lifecycle.next_change(state.x509, now), lifecycle.next_change(state.jwt, now)]
        moments += [each.not_after for each in state.revoked]
        self._next_tick = max(min(moments), now + (_RETRY_SECONDS if self._rotation.failures() else 1))
        return events

    def refresh(self) -> bool:
        """Take in what another process has changed. Returns whether it was anything.

        Raises:
            AuthorityError, SealError: the files of the authority cannot be used; the state before stays.
        """
        if self._store.stamp() == self._stamp:
            return False
        before = self._state
        self._change(lambda state: (state, ()))
        return self._state != before

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
                else:
                    self._store.publish(after)  # where another process was killed before it could
            except BaseException:
                self._remove_orphans(self._store.read())
                raise
            self._adopt(after)
            self._remove_orphans(after)
        self._next_tick = 0
        return events

    def _adopt(self, state: AuthorityState) -> None:
        """Go by `state` from now on; if a key of it cannot be loaded, by the one before."""
        if self._stamp is None or state != self._state:
            self._signer = Signer.load(state, self._keys, self._settings.refresh_hint)
            self._state = state
            self._revoked = frozenset(each.authority_id for each in state.revoked)
            tainted = (slot.authority_id for slot in (*state.x509, *state.jwt) if slot.tainted)
            self._tainted = self._revoked.union(tainted)
        self._stamp = self._store.stamp()

    def _remove_orphans(self, state: AuthorityState) -> None:
        for key_id in self._keys.ids() - state.key_ids():
            self._keys.delete(key_id)

    def _now(self) -> int:
        return self._clock() // NANOSECONDS


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
