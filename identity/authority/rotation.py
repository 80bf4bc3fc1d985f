"""Changes of an authority's state, one function a change: the steps of the life cycle with what they make and drop."""

from dataclasses import replace

from identity.authority import lifecycle
from identity.authority.issued import AuthorityEvent
from identity.authority.issuing import (
    Issuer,
    new_jwt_key,
    new_root,
    new_signing_authority,
    own_issuer,
    signing_authority_from_above,
    upstream_issuer,
)
from identity.authority.lifecycle import Slot, Step
from identity.authority.settings import AuthoritySettings
from identity.authority.state import AuthorityState, Kind, Revoked, Root
from identity.errors import AuthorityError, IdentityError
from identity.keys import KeyManager
from identity.spiffe_id import TrustDomain

KINDS: tuple[Kind, ...] = ("x509", "jwt")

Change = tuple[AuthorityState, tuple[AuthorityEvent, ...]]
"""The state after a change, and what happened."""


class Rotation:
    """Makes changes for one trust domain. It writes nothing but keys; a change counts once its state is written."""

    def __init__(self, domain: TrustDomain, keys: KeyManager, settings: AuthoritySettings) -> None:
        self._domain = domain
        self._keys = keys
        self._settings = settings
        self._failures: dict[Kind, str] = {}

    def failures(self) -> tuple[str, ...]:
        """Return why what is due cannot be done."""
        return tuple(filter(None, self._failures.values()))

    def first(self, now: int) -> AuthorityState:
        """Return a new trust domain's state: an active authority of each kind.

        Raises:
            AuthorityError, KeyManagerError, SealError: one cannot be made.
        """
        state = AuthorityState(self._domain.name)
        for kind in KINDS:
            state, _ = self.prepare(state, kind, now, new_root=kind == "x509" and not self._upstream)
            state, _ = self.activate(state, kind)
        return state.settled_after(AuthorityState(self._domain.name))

    def advance(self, state: AuthorityState, now: int) -> Change:
        """Do what is due for each kind; what fails is an event the first time."""
        events: list[AuthorityEvent] = []
        state = replace(state, revoked=tuple(each for each in state.revoked if now < each.not_after))
        for kind in KINDS:
            slots = state.slots(kind)
            kept = lifecycle.unexpired(slots, now)
            events += [AuthorityEvent(kind, "expired", slot.authority_id) for slot in slots if slot not in kept]
            state = state.with_slots(kind, kept)
            state, happened, failure = self._due_steps(state, kind, now)
            events += happened
            if failure and self._failures.get(kind) != failure:
                events.append(AuthorityEvent(kind, "failed", "", failure))
            self._failures[kind] = failure
        return state, tuple(events)

    def prepare(self, state: AuthorityState, kind: Kind, now: int, *, new_root: bool = False) -> Change:
        """Make the next authority of a kind.

        Raises:
            AuthorityError, KeyManagerError, SealError: it cannot be made.
        """
        if kind == "jwt":
            if new_root:
                raise AuthorityError("JWT authorities have no root")
            slot = new_jwt_key(self._keys, now, self._settings)
        else:
            slot, root = self._signing_authority(state, now, anew=new_root)
            if state.root(root.root_id) is None:
                state = replace(state, roots=(*state.roots, root))
        state = state.with_slots(kind, lifecycle.prepare(state.slots(kind), slot))
        return state, (AuthorityEvent(kind, "prepared", slot.authority_id),)

    def activate(self, state: AuthorityState, kind: Kind, authority_id: str | None = None) -> Change:
        """Make the prepared authority the active one.

        Raises:
            AuthorityError: none is prepared, or it is another one.
        """
        after = lifecycle.activate(state.slots(kind), authority_id)
        active = lifecycle.in_state(after, "active")
        assert active is not None  # noqa: S101 - `lifecycle.activate` makes one or raises
        return state.with_slots(kind, after), (AuthorityEvent(kind, "activated", active.authority_id),)

    def taint(self, state: AuthorityState, kind: Kind, authority_id: str) -> Change:
        """Have what an old authority signed replaced.

        Raises:
            AuthorityError: it is not old.
        """
        after = lifecycle.taint(state.slots(kind), authority_id)
        return state.with_slots(kind, after), (AuthorityEvent(kind, "tainted", authority_id),)

    def revoke(self, state: AuthorityState, kind: Kind, authority_id: str) -> Change:
        """Trust a tainted authority no more.

        Raises:
            AuthorityError: it is not tainted.
        """
        before = state.slots(kind)
        after = lifecycle.revoke(before, authority_id)
        gone = next(slot for slot in before if slot.authority_id == authority_id)
        revoked = (*state.revoked, Revoked(kind, authority_id, gone.not_after))
        shared = any(slot.root_id == gone.root_id for slot in after) and kind == "x509"
        detail = (
            f"its root {gone.root_id} stays in the bundle, because another authority is below it; a verifier that "
            "knows nothing but the bundle accepts its SVIDs until they expire"
        )
        event = AuthorityEvent(kind, "revoked", authority_id, detail if shared else "")
        return replace(state.with_slots(kind, after), revoked=revoked), (event,)

    def _due_steps(
        self, state: AuthorityState, kind: Kind, now: int
    ) -> tuple[AuthorityState, list[AuthorityEvent], str]:
        """Take every step that is due. Returns why it went no further, too; empty if nothing more is due."""
        events: list[AuthorityEvent] = []
        try:
            while (step := lifecycle.due(state.slots(kind), now)) is not None:
                if step is Step.PREPARE:
                    state, happened = self._prepare_next(state, kind, now)
                else:
                    state, happened = self.activate(state, kind)
                events += happened
        except IdentityError as error:
            return state, events, str(error)
        return state, events, ""

    def _prepare_next(self, state: AuthorityState, kind: Kind, now: int) -> Change:
        """Prepare, unless the new authority would end no later than the active one, because those above them end."""
        active = lifecycle.in_state(state.slots(kind), "active")
        after, events = self.prepare(state, kind, now)
        prepared = lifecycle.in_state(after.slots(kind), "prepared")
        if active is not None and prepared is not None and prepared.not_after <= active.not_after:
            raise AuthorityError(
                "an authority above the signing authority is at its end; renew the upstream authority's files, or make "
                "another root with: govctl authority x509 prepare --new-root"
            )
        return after, events

    @property
    def _upstream(self) -> bool:
        return self._settings.upstream_certificate is not None or self._settings.upstream is not None

    def _signing_authority(self, state: AuthorityState, now: int, *, anew: bool) -> tuple[Slot, Root]:
        """Return the next signing authority and the root that it is below."""
        upstream = self._settings.upstream
        if upstream is not None:
            if anew:
                raise AuthorityError("the root is that of the upstream authority; another one is made there")
            return signing_authority_from_above(self._domain, upstream, self._keys, now, self._settings)
        issuer = self._issuer(state, now, anew=anew)
        return new_signing_authority(self._domain, issuer, self._keys, now, self._settings), issuer.root

    def _issuer(self, state: AuthorityState, now: int, *, anew: bool) -> Issuer:
        certificate, key = self._settings.upstream_certificate, self._settings.upstream_key
        if certificate is not None and key is not None:
            if anew:
                raise AuthorityError("the root is that of the upstream authority; change its files for another one")
            return upstream_issuer(certificate, key)
        active = lifecycle.in_state(state.x509, "active")
        if anew or active is None:
            root = new_root(self._domain, self._keys, now, self._settings, state.key_ids())
        else:
            root = _root_of(state, active)
        return own_issuer(root, self._keys)


def _root_of(state: AuthorityState, slot: Slot) -> Root:
    root = state.root(slot.root_id)
    if root is None:
        raise AuthorityError(f"the root {slot.root_id} is not known; restore the authority from a backup")
    return root
