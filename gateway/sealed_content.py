"""Builds what seals content, opens it and erases it, from the configuration."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from audit.retention import Hold, facts_of, holding
from audit.sealing import AccessRules, ContentAccess, EmbeddedKeyWrapper, Erasure, Sealer, SqlContentStore, subkey
from audit.sealing.engines import DIRECTORY, open_sqlite
from audit.store import AuditStore
from gateway.clock import Clock, system_clock
from gateway.config import GatewayConfig
from gateway.errors import ConfigError, UnavailableError
from gateway.secrets.opening import secret_store
from identity.errors import KeyManagerError, SealError
from identity.sealing import decode_seal_key

Record = Callable[[str, dict[str, Any]], object]


def open_sealer(config: GatewayConfig, clock: Clock = system_clock) -> Sealer:
    """Open the store of sealed content, with the key that wraps its data keys.

    Raises:
        ConfigError: the key cannot be had.
        SealingUnavailableError: the store cannot be opened.
    """
    store = SqlContentStore(open_sqlite(config.audit_dir / DIRECTORY), config.audit_log)
    keys = config.secrets.vault.keys
    if keys.sealed_content:
        from gateway.secrets.vault.opening import open_vault  # noqa: PLC0415 - loaded only where it is used
        from gateway.secrets.vault.wrapping import TransitWrapper  # noqa: PLC0415 - as above

        wrapper = TransitWrapper(open_vault(config), keys.mount, f"{keys.prefix}.content.wrap")
        return Sealer(
            store,
            wrapper,
            _subkey(config, "pseudonyms"),
            clock,
            remember_seconds=keys.cached_seconds,
            remember_keys=keys.cached_keys,
            remember_uses=keys.cached_uses,
        )
    return Sealer(store, EmbeddedKeyWrapper(_key(config), "content"), _subkey(config, "pseudonyms"), clock)


def open_access(config: GatewayConfig, record: Record, clock: Clock = system_clock) -> ContentAccess:
    """Return the door to sealed content, as the configuration guards it. Raises as `open_sealer`."""
    section = config.audit.sealing
    rules = AccessRules(tuple(section.readers), tuple(section.approvers), section.two_people, section.request_seconds)
    return ContentAccess(open_sealer(config, clock), rules, record, _subkey(config, "requests"), clock)


def open_erasure(
    config: GatewayConfig, store: AuditStore, holds: Sequence[Hold], record: Record, clock: Clock = system_clock
) -> Erasure:
    """Return what erases, unless a legal hold keeps it. Raises as `open_sealer`."""

    def held(event_ids: Sequence[str]) -> str:
        for event_id in event_ids if holds else ():
            found = store.find(event_id)
            if found is None:
                return f"the record of the call {event_id} is gone, so that nobody can tell whether a hold keeps it"
            hold = holding(holds, facts_of(orjson.loads(found.record)))
            if hold is not None:
                return f"the legal hold {hold.hold_id} ({hold.cause}) keeps the call {event_id}"
        return ""

    return Erasure(open_sealer(config, clock), record, clock, held, config.audit.sealing.backups)


def _subkey(config: GatewayConfig, purpose: str) -> bytes:
    """Return a key for one purpose beside the wrapping one."""
    if not config.secrets.vault.keys.sealed_content:
        return subkey(_key(config), purpose)
    from gateway.secrets.vault.opening import open_transit  # noqa: PLC0415 - loaded only where it is used

    try:
        keys = open_transit(config, "content")
        keys.ed25519("derive", make=True)
        return keys.hmac("derive", f"govgateway sealed content v1: {purpose}".encode())
    except KeyManagerError as error:
        raise ConfigError(f"secrets.vault.keys.sealed_content: {error}") from error


def _key(config: GatewayConfig) -> bytes:
    reference = config.audit.sealing.seal_key
    if not reference:
        raise ConfigError("audit.sealing.seal_key is not set; make a key with: openssl rand -base64 32 > content.key")
    try:
        return decode_seal_key(secret_store(config).read(reference).reveal())
    except UnavailableError as error:
        raise ConfigError(f"audit.sealing.seal_key: {error.detail}") from error
    except SealError as error:
        raise ConfigError(f"audit.sealing.seal_key: {error}") from error
