"""Makes the authority of a new trust domain."""

from contextlib import suppress
from pathlib import Path

from identity.authority.rotation import Rotation
from identity.authority.settings import AuthoritySettings
from identity.authority.store import StateStore, authority_dir
from identity.bundle import TrustBundle
from identity.clock import NANOSECONDS, Clock
from identity.errors import AuthorityError
from identity.keys import KeyManager
from identity.spiffe_id import TrustDomain


def create_trust_domain(
    state_dir: Path,
    trust_domain: str,
    keys: KeyManager,
    clock: Clock,
    settings: AuthoritySettings | None = None,
) -> TrustBundle:
    """Make root, signing authority and JWT key of a new trust domain, all or nothing, and return its bundle.

    With an upstream authority in the settings no root is made; the bundle has the one above it.

    Raises:
        AuthorityError: the directory has an authority already or cannot be written, or the upstream authority cannot
            be used.
        SealError: the sealing key is none, or a file cannot be written.
        SpiffeIdError: not a trust domain name.
    """
    domain, settings = TrustDomain(trust_domain), settings or AuthoritySettings()
    store = StateStore(authority_dir(state_dir), settings.refresh_hint)
    try:
        store.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AuthorityError(f"no authority can be made in {store.directory}: {error.strerror}") from error
    with store.locked():
        if store.exists():
            raise AuthorityError(f"{store.directory} has an authority already; it is never overwritten")
        try:
            _remove_unfinished(store, keys)  # of a creation that was killed; it had no document, so nothing went by it
            state = Rotation(domain, keys, settings).first(clock() // NANOSECONDS)
            store.write(state)
        except BaseException:
            if not store.exists():
                _remove_unfinished(store, keys)
                with suppress(OSError):
                    store.directory.rmdir()
            raise
    return state.bundle(settings.refresh_hint)


def _remove_unfinished(store: StateStore, keys: KeyManager) -> None:
    store.remove_unfinished()
    for key_id in keys.ids():
        keys.delete(key_id)
