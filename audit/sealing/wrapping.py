"""Wraps data keys under a key that lies elsewhere: one small Protocol, and the embedded implementation."""

import secrets
from collections.abc import Sequence
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from audit.sealing.errors import SealBrokenError

KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_FORM = b"\x01"


class KeyWrapper(Protocol):
    """Wraps and unwraps data keys; the key it does so with never leaves it.

    Attributes:
        name: names the wrapping key, as kept beside each wrapped key.
    """

    @property
    def name(self) -> str: ...

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Return the key wrapped; it unwraps only with the same context.

        Raises:
            SealingUnavailableError: the wrapping key is out of reach.
        """

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the key that `wrap` took.

        Raises:
            SealBrokenError: another wrapping key or context, or it was changed.
            SealingUnavailableError: the wrapping key is out of reach.
        """

    def unwrap_all(self, wrapped: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """Return the keys of pairs of a wrapped key and its context, at once. Raises as `unwrap`, for all or none."""


class EmbeddedKeyWrapper:
    """Wraps with AES-256-GCM under a key handed in, bound to one purpose (a `KeyWrapper`).

    Attributes:
        name: `embedded:` and the beginning of a fingerprint of the wrapping key.
    """

    def __init__(self, key: bytes, purpose: str) -> None:
        self._cipher = AESGCM(subkey(key, f"wrap {purpose}"))
        self._bound = purpose.encode() + b"\0"
        self.name = f"embedded:{subkey(key, 'fingerprint').hex()[:16]}"

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Return the key wrapped."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FORM + nonce + self._cipher.encrypt(nonce, key, self._bound + context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the key that `wrap` took.

        Raises:
            SealBrokenError: another wrapping key, purpose or context, or it was changed.
        """
        if not wrapped.startswith(_FORM) or len(wrapped) < len(_FORM) + _NONCE_BYTES + _TAG_BYTES:
            raise SealBrokenError("a wrapped key is damaged or was cut short; restore the content store from a backup")
        nonce, rest = wrapped[1 : 1 + _NONCE_BYTES], wrapped[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, rest, self._bound + context)
        except InvalidTag:
            raise SealBrokenError(
                "a wrapped key does not open: the wrapping key is another one, or the content store was changed"
            ) from None

    def unwrap_all(self, wrapped: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """See `KeyWrapper.unwrap_all`."""
        return [self.unwrap(each, context) for each, context in wrapped]


def subkey(key: bytes, purpose: str) -> bytes:
    """Derive a 32-byte key for one purpose (HKDF-SHA256, RFC 5869).

    Raises:
        ValueError: the key has not 32 bytes.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key of sealed content has {KEY_BYTES} bytes, this one has {len(key)}")
    return HKDF(SHA256(), KEY_BYTES, None, b"govgateway sealed content v1: " + purpose.encode()).derive(key)
