"""Opens Vault where there is no identity of the gateway yet: for the keys that make it, and for govctl."""

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from gateway.config.model import GatewayConfig
from gateway.config.vault import Vault
from gateway.secrets.fetched import SecretSourceError
from gateway.secrets.opening import secret_store
from gateway.secrets.reference_store import ReferenceStore
from gateway.secrets.store import Secret

if TYPE_CHECKING:
    from gateway.secrets.vault.client import VaultClient
    from gateway.secrets.vault.transit import TransitKeys


class LocalProof:
    """What a login shows that needs nothing but this machine (`gateway.secrets.vault.login.Proof`)."""

    def __init__(self, store: ReferenceStore) -> None:
        self._store = store

    def jwt_svid(self, audience: str) -> str:
        """Refuse: there is none. Raises SecretSourceError."""
        raise _without_identity(audience)

    def x509_svid(self) -> tuple[bytes, bytes]:
        """Refuse: there is none. Raises SecretSourceError."""
        raise _without_identity("a certificate")

    def read(self, reference: str) -> Secret:
        """See `Proof.read`."""
        return self._store.read(reference)


def open_vault(config: GatewayConfig) -> "VaultClient":
    """Return the client of this process, logged in by what is on this machine."""
    return _client(_Key(config.secrets.vault, secret_store(config)), os.getpid())


def open_transit(config: GatewayConfig, purpose: Literal["authority", "log", "content"]) -> "TransitKeys":
    """Return the keys that Vault keeps for one purpose; an authority removes those of its own that it does not know."""
    from gateway.secrets.vault.transit import TransitKeys  # noqa: PLC0415 - loaded only where it is used

    keys = config.secrets.vault.keys
    return TransitKeys(open_vault(config), keys.mount, f"{keys.prefix}.{purpose}")


class _Key:
    """One Vault, by its settings."""

    def __init__(self, settings: Vault, store: ReferenceStore) -> None:
        self.settings = settings
        self.store = store
        self._text = settings.model_dump_json()

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other._text == self._text


@lru_cache(maxsize=4)
def _client(key: _Key, _process: int) -> "VaultClient":
    """Return one client for a process, so that it logs in once; a forked one has its own."""
    from gateway.secrets.vault.client import VaultClient  # noqa: PLC0415 - hvac is loaded only where it is used

    return VaultClient(key.settings, LocalProof(key.store))


def _without_identity(what: str) -> SecretSourceError:
    return SecretSourceError(
        f"the gateway has no identity yet to show ({what})",
        "secret_unavailable",
        "Log in to Vault by approle, kubernetes or token.",
    )
