"""Signed notes (C2SP signed-note 1.0): text, a blank line, signature lines. Parsing is strict.

Signature types: Ed25519 (0x01), and the checkpoint cosignatures of C2SP tlog-cosignature 1.0, Ed25519 (0x04) and
ML-DSA-44 (0x06), which carry the time they were made at.
"""

import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Sequence
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

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 64

_PREFIX = "— "
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
        now = self._clock()
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
        now = self._clock()
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


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature of a note, unverified."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"{_PREFIX}{self.name} {b64encode(self.key_id + self.signature).decode()}"


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A signature that verified.

    Attributes:
        timestamp: when it was made (UNIX seconds), for a cosignature.
    """

    name: str
    key_id: bytes
    timestamp: int | None


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note whose signatures by known keys were verified."""

    text: bytes
    signatures: tuple[VerifiedSignature, ...]


def is_key_name(name: str) -> bool:
    """Whether a key may have this name: not empty, no Unicode spaces, no plus, nothing that cannot be seen."""
    return bool(name) and not any(c == "+" or c.isspace() or unicodedata.category(c) in {"Cc", "Cs"} for c in name)


def parse_verifier_key(text: str) -> NoteVerifier:
    """Parse a verifier key, `<name>+<key id in hex>+<base64 of type and public key>`.

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
    if not is_key_name(name) or not raw or len(digest) != 8 or digest != digest.lower():
        raise NoteError(f"{text[:60]!r} is no verifier key: it has the form name+hex+base64")
    kind, public_key = raw[0], raw[1:]
    if kind not in _KEY_BYTES:
        raise NoteError(f"the verifier key of {name} is of the unknown type 0x{kind:02x}")
    if len(public_key) != _KEY_BYTES[kind] or claimed != key_id(name, kind, public_key):
        raise NoteError(f"the verifier key of {name} was changed: its id is not that of the key")
    return NoteVerifier(name, claimed, kind, public_key)


def sign_note(text: bytes, signers: Sequence[NoteSigner]) -> bytes:
    """Return a text as a note signed by each signer, in this order.

    Raises:
        NoteError: the text cannot be a note's.
    """
    _check_text(text)
    lines = [str(SignatureLine(signer.name, signer.key_id, signer.sign(text))) for signer in signers]
    return text + b"\n" + "".join(f"{line}\n" for line in lines).encode()


def add_signature_lines(note: bytes, lines: Iterable[str]) -> bytes:
    """Return the note with further signature lines, for instance of witnesses; those it has already are left out.

    Raises:
        NoteError: the note or a line is malformed.
    """
    text, present = parse_note(note)
    merged = list(present)
    for line in lines:
        signature = _parse_line(line.rstrip("\n"))
        if not any((s.name, s.key_id) == (signature.name, signature.key_id) for s in merged):
            merged.append(signature)
    return text + b"\n" + "".join(f"{signature}\n" for signature in merged).encode()


def note_text(note: bytes) -> bytes:
    """Return the text of a note; nothing is verified.

    Raises:
        NoteError: it is malformed.
    """
    return parse_note(note)[0]


def parse_note(note: bytes) -> tuple[bytes, tuple[SignatureLine, ...]]:
    """Return text and signature lines of a note; nothing is verified.

    Raises:
        NoteError: it is malformed.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise NoteError(f"a note has at most {MAX_NOTE_BYTES} bytes")
    end = note.rfind(b"\n\n")
    if end < 0 or not note.endswith(b"\n"):
        raise NoteError("a note is a text, a blank line and signature lines, each with a newline at its end")
    text, rest = note[: end + 1], note[end + 2 :]
    _check_text(text)
    _check_text(rest)
    lines = rest.decode().split("\n")[:-1]
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise NoteError(f"a note has 1 to {MAX_SIGNATURES} signatures")
    return text, tuple(_parse_line(line) for line in lines)


def open_note(note: bytes, verifiers: Iterable[NoteVerifier]) -> OpenedNote:
    """Verify the signatures of known keys; those of others are passed over.

    Raises:
        NoteError: the note is malformed, a known key's signature does not verify, or no known key signed.
    """
    text, lines = parse_note(note)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    verified: dict[tuple[str, bytes], VerifiedSignature] = {}
    for line in lines:
        verifier = known.get((line.name, line.key_id))
        if verifier is None or (line.name, line.key_id) in verified:
            continue
        if not verifier.verify(text, line.signature):
            raise NoteError(f"the signature of {line.name} does not verify")
        timestamp = verifier.timestamp(line.signature)
        verified[line.name, line.key_id] = VerifiedSignature(line.name, line.key_id, timestamp)
    if not verified:
        raise NoteError("no known key signed the note")
    return OpenedNote(text, tuple(verified.values()))


def _parse_line(line: str) -> SignatureLine:
    name, space, encoded = line.removeprefix(_PREFIX).partition(" ")
    if not line.startswith(_PREFIX) or not space or not is_key_name(name):
        raise NoteError(f"{line[:80]!r} is no signature line")
    try:
        raw = b64decode(encoded, validate=True)
    except ValueError as error:
        raise NoteError(f"the signature of {name} is not base64") from error
    if len(raw) < 5 or b64encode(raw).decode() != encoded:
        raise NoteError(f"the signature of {name} is not base64 of a key id and a signature")
    return SignatureLine(name, raw[:4], raw[4:])


def _check_text(text: bytes) -> None:
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise NoteError("a note is UTF-8") from error
    if not text.endswith(b"\n"):
        raise NoteError("a note's text ends in a newline")
    if any(c < " " and c != "\n" for c in decoded):
        raise NoteError("a note has no control characters but newlines")


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
