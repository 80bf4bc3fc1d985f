"""Seals one piece of content to its place. Pure functions.

The key of an item is HMAC-SHA256(data keys, label || seed): each item has its own, and where an item stands under two
data keys (of its subject and of its case), destroying either of them is enough. The content is encrypted with
AES-256-GCM; log, event id, part, subject and key ids are authenticated with it, so that no item passes for another.

What the log keeps of it is a commitment, HMAC-SHA256(salt, place || content). The salt lies *inside* the sealed item:
whoever cannot open the item cannot try guesses of a short prompt against the commitment.
"""

import hmac
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, get_args

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.canonical import canonical
from audit.sealing.errors import SealBrokenError

Part = Literal["request", "response", "identifiers"]
"""What of a call: the body that came, the body that went, or personal identifiers that came with it."""

PARTS: tuple[str, ...] = get_args(Part)

ScopeKind = Literal["subject", "case"]
"""Whose key it is: a data subject's, or a case's."""

_SEED_BYTES = 32
_SALT_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_ITEM_LABEL = b"govgateway sealed item v1\0"
_COMMITMENT_LABEL = b"govgateway content commitment v1\0"
_FORM = b"\x01"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item belongs; authenticated with it.

    Attributes:
        log: name of the log.
        event_id: event id of the call.
        part: what of the call it is.
        subject: pseudonym of the data subject (hex).
        keys: ids of the data keys, in the order in which they are used.
    """

    log: str
    event_id: str
    part: str
    subject: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SealedItem:
    """What is stored of an item, and what the log says of it.

    Attributes:
        seed: what the item's key is derived with; destroyed on erasure, as the data key is.
        blob: form, nonce, ciphertext and tag.
        commitment: HMAC-SHA256 under the salt in the sealed item (hex).
    """

    seed: bytes
    blob: bytes
    commitment: str


@dataclass(frozen=True, slots=True)
class OpenedItem:
    """Opened content, with what proves to a third party that it is what the log committed to."""

    content: bytes
    salt: bytes
    commitment: str


def seal(data_keys: Sequence[bytes], place: Place, content: bytes) -> SealedItem:
    """Seal content to its place."""
    seed, salt, nonce = secrets.token_bytes(_SEED_BYTES), secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(12)
    cipher = AESGCM(_item_key(data_keys, seed))
    blob = _FORM + nonce + cipher.encrypt(nonce, salt + content, _bound(place))
    return SealedItem(seed, blob, commitment(salt, place, content))


def unseal(data_keys: Sequence[bytes], place: Place, item: SealedItem) -> OpenedItem:
    """Open a sealed item.

    Raises:
        SealBrokenError: another key or place, changed, cut short, or not what was committed to.
    """
    blob = item.blob
    if not blob.startswith(_FORM) or len(blob) < len(_FORM) + _NONCE_BYTES + _SALT_BYTES + _TAG_BYTES:
        raise SealBrokenError(f"the sealed {place.part} of {place.event_id} is damaged or was cut short")
    nonce = blob[1 : 1 + _NONCE_BYTES]
    try:
        plain = AESGCM(_item_key(data_keys, item.seed)).decrypt(nonce, blob[1 + _NONCE_BYTES :], _bound(place))
    except InvalidTag:
        raise SealBrokenError(
            f"the sealed {place.part} of {place.event_id} does not open: it belongs elsewhere, or it was changed"
        ) from None
    salt, content = plain[:_SALT_BYTES], plain[_SALT_BYTES:]
    found = commitment(salt, place, content)
    # AES-GCM alone does not commit to one key: what opens has to be what the log was told as well.
    if not hmac.compare_digest(found, item.commitment):
        raise SealBrokenError(f"the sealed {place.part} of {place.event_id} is not what was committed to")
    return OpenedItem(content, salt, found)


def commitment(salt: bytes, place: Place, content: bytes) -> str:
    """Return what the log keeps of content (hex): HMAC-SHA256(salt, label || place || 0x00 || content)."""
    message = hmac.new(salt, _COMMITMENT_LABEL + _bound(place) + b"\0", sha256)
    message.update(content)
    return message.hexdigest()


def pseudonym(key: bytes, kind: ScopeKind, name: str) -> str:
    """Return the keyed pseudonym of a data subject or a case (HMAC-SHA256, hex).

    The same name gives the same pseudonym, so that the holder of the key can search; nobody else can.
    """
    return hmac.new(key, kind.encode() + b"\0" + unicodedata.normalize("NFC", name).encode(), sha256).hexdigest()


def _item_key(data_keys: Sequence[bytes], seed: bytes) -> bytes:
    return hmac.digest(b"".join(data_keys), _ITEM_LABEL + seed, sha256)


def _bound(place: Place) -> bytes:
    return canonical(
        {
            "event_id": place.event_id,
            "keys": list(place.keys),
            "log": place.log,
            "part": place.part,
            "subject": place.subject,
            "v": 1,
        }
    )
