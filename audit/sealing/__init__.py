"""Sealed content: stored only where an obligation asks, opened only with permission, erased by destroying its key."""

from audit.sealing.access import AccessRules, ContentAccess, Revealed
from audit.sealing.engines import open_sqlite, prepare
from audit.sealing.envelope import PARTS, commitment, pseudonym
from audit.sealing.erasure import Erasure
from audit.sealing.errors import (
    AccessRefusedError,
    ContentErasedError,
    ContentMissingError,
    ErasureHeldError,
    SealBrokenError,
    SealingError,
    SealingUnavailableError,
)
from audit.sealing.intake import CallContent, Intake
from audit.sealing.sealer import Content, Sealer
from audit.sealing.sql_store import SqlContentStore
from audit.sealing.store import ContentStore, Scope, StoredItem
from audit.sealing.wrapping import EmbeddedKeyWrapper, KeyWrapper, subkey

__all__ = [
    "PARTS",
    "AccessRefusedError",
    "AccessRules",
    "CallContent",
    "Content",
    "ContentAccess",
    "ContentErasedError",
    "ContentMissingError",
    "ContentStore",
    "EmbeddedKeyWrapper",
    "Erasure",
    "ErasureHeldError",
    "Intake",
    "KeyWrapper",
    "Revealed",
    "Scope",
    "SealBrokenError",
    "Sealer",
    "SealingError",
    "SealingUnavailableError",
    "SqlContentStore",
    "StoredItem",
    "commitment",
    "open_sqlite",
    "prepare",
    "pseudonym",
    "subkey",
]
