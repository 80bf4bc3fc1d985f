"""Keys of notes: what signs and verifies them, each kind over its own message, and how C2SP writes the public half.

Ed25519 (0x01) is of C2SP signed-note; the checkpoint cosignatures of C2SP tlog-cosignature, Ed25519 (0x04) and
ML-DSA-44 (0x06), carry the time they were made at.
"""

import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.errors import NoteError

ED25519, COSIGNATURE, ML_DSA_44 = 0x01, 0x04, 0x06
"""Signature type identifiers (C2SP signed-note, Signature types)."""

_SIGNATURE_BYTES = {ED25519: 64, COSIGNATURE: 72, ML_DSA_44: 8 + 2420}
_KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_44: 1312}


class NoteSigner(Protocol):
    """Signs notes.

    Attributes:
        name: key name; of a log's own key, the log's origin.
        key_id: four bytes that, with the name, tell which key signed.
        verifier_key: the public half, as C2SP writes it.
    """

    name: str
    key_id: bytes
    verifier_key: str

    def sign(self, text: bytes) -> bytes:
        """Return the signature of a note's text, without the key id."""


def key_id(name: str, kind: int, public_key: bytes) -> bytes:
    """Return the key id: SHA-256(name, newline, type, public key), its first four bytes."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public_key).digest()[:4]


class _Signer:
    def __init__(self, name: str, kind: int, public_key: bytes) -> None:
        if not is_key_name(name):
            raise NoteError(f"{name!r} is no name of a key: it has no spaces and no plus")
        self.name = name
        self.key_id = key_id(name, kind, public_key)
        self.verifier_key = f"{name}+{self.key_id.hex()}+{b64encode(bytes([kind]) + public_key).decode()}"


class Ed25519Signer(_Signer):
    """Signs a note's text with Ed25519."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        super().__init__(name, ED25519, private_key.public_key().public_bytes_raw())
        self._private_key = private_key

    def sign(self, text: bytes) -> bytes:
        """Return the signature of a note's text."""
        return self._private_key.sign(text)


class CosignatureSigner(_Signer):
    """Cosigns a checkpoint with Ed25519: `clock` gives UNIX seconds."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey, clock: Callable[[], int]) -> None:
        super().__init__(name, COSIGNATURE, private_key.public_key().public_bytes_raw())
        self._private_key = private_key
        self._clock = clock

    def sign(self, text: bytes) -> bytes:
        """Return time and signature."""
        parse_checkpoint(text)
        now = _time(self._clock)
        return now.to_bytes(8, "big") + self._private_key.sign(_cosigned(text, now))


class MlDsa44Signer(_Signer):
    """Signs a checkpoint with ML-DSA-44, which a quantum computer does not forge: `clock` gives UNIX seconds.

    The signature covers origin, size and root, not the extension lines.
    """

    def __init__(self, name: str, private_key: MLDSA44PrivateKey, clock: Callable[[], int]) -> None:
        super().__init__(name, ML_DSA_44, private_key.public_key().public_bytes_raw())
        self._private_key = private_key
        self._clock = clock

    def sign(self, text: bytes) -> bytes:
        """Return time and signature."""
        now = _time(self._clock)
        return now.to_bytes(8, "big") + self._private_key.sign(_subtree(self.name, text, now))


@dataclass(frozen=True, slots=True)
class NoteVerifier:
    """A public key that verifies signatures on notes.

    Attributes:
        name: key name.
        key_id: see `key_id`.
        kind: signature type.
        public_key: raw bytes.
    """

    name: str
    key_id: bytes
    kind: int
    public_key: bytes

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` (without the key id) is this key's signature of the text."""
        if len(signature) != _SIGNATURE_BYTES[self.kind]:
            return False
        try:
            if self.kind == ED25519:
                Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text)
                return True
            parse_checkpoint(text)
            time = int.from_bytes(signature[:8], "big")
            if time > 2**63 - 1:
                return False
            if self.kind == COSIGNATURE:
                Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature[8:], _cosigned(text, time))
            else:
                message = _subtree(self.name, text, time)
                MLDSA44PublicKey.from_public_bytes(self.public_key).verify(signature[8:], message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def timestamp(self, signature: bytes) -> int | None:
        """Return when a cosignature was made (UNIX seconds); None for a plain signature."""
        return None if self.kind == ED25519 else int.from_bytes(signature[:8], "big")


def is_key_name(name: str) -> bool:
    """Whether a key may have this name: not empty, no Unicode spaces, no plus, nothing that cannot be seen."""
    return bool(name) and not any(c == "+" or c.isspace() or unicodedata.category(c) in {"Cc", "Cs"} for c in name)


def parse_verifier_key(text: str) -> NoteVerifier:
    """Parse a verifier key, `<name>+<key id in hex>+<base64 of type and public key>`; white space around it is cut.

    Raises:
        NoteError: it is malformed, its id is not that of the key, or the type is not known here.
    """
    name, _, rest = text.strip().partition("+")
    digest, _, material = rest.partition("+")
    try:
        raw = b64decode(material, validate=True)
        claimed = bytes.fromhex(digest)
    except ValueError as error:
        raise NoteError(f"{text[:60]!r} is no verifier key: {error}") from error
    if not is_key_name(name) or not raw or claimed.hex() != digest or b64encode(raw).decode() != material:
        raise NoteError(f"{text[:60]!r} is no verifier key: it has the form name+hex+base64")
    kind, public_key = raw[0], raw[1:]
    if kind not in _KEY_BYTES:
        raise NoteError(f"the verifier key of {name} is of the unknown type 0x{kind:02x}")
    if len(public_key) != _KEY_BYTES[kind] or claimed != key_id(name, kind, public_key):
        raise NoteError(f"the verifier key of {name} was changed: its id is not that of the key")
    return NoteVerifier(name, claimed, kind, public_key)


def _time(clock: Callable[[], int]) -> int:
    now = clock()
    if not 0 < now < 2**63:
        raise NoteError(f"{now} is no time to cosign at: set the clock right")
    return now


def _cosigned(text: bytes, time: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % time + text


def _subtree(name: str, text: bytes, time: int) -> bytes:
    checkpoint = parse_checkpoint(text)
    cosigner, origin = name.encode(), checkpoint.origin.encode()
    if len(cosigner) > 255 or len(origin) > 255:
        raise NoteError("names in ML-DSA-44 signatures have at most 255 bytes")
    return b"".join(
        (
            b"subtree/v1\n\0",
            bytes([len(cosigner)]) + cosigner,
            time.to_bytes(8, "big"),
            bytes([len(origin)]) + origin,
            (0).to_bytes(8, "big"),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        )
    )
