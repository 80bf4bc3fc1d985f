"""Signed notes (C2SP signed-note 1.0): text, a blank line, signature lines. Parsing is strict.

A signature of a known key has to verify, wherever it stands; those of unknown keys are passed over.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audit.tlog.errors import NoteError
from audit.tlog.keys import (
    COSIGNATURE,
    ML_DSA_44,
    CosignatureSigner,
    Ed25519Signer,
    MlDsa44Signer,
    NoteSigner,
    NoteVerifier,
    is_key_name,
    parse_verifier_key,
)

__all__ = [
    "COSIGNATURE",
    "ML_DSA_44",
    "CosignatureSigner",
    "Ed25519Signer",
    "MlDsa44Signer",
    "NoteSigner",
    "NoteVerifier",
    "OpenedNote",
    "SignatureLine",
    "VerifiedSignature",
    "add_signature_lines",
    "note_text",
    "open_note",
    "parse_note",
    "parse_verifier_key",
    "sign_note",
]

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 64

_PREFIX = "— "


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


def sign_note(text: bytes, signers: Sequence[NoteSigner]) -> bytes:
    """Return a text as a note signed by each signer, in this order.

    Raises:
        NoteError: the text cannot be a note's, or nobody signs.
    """
    _check_text(text)
    _check_count(len(signers))
    lines = [str(SignatureLine(signer.name, signer.key_id, signer.sign(text))) for signer in signers]
    return text + b"\n" + "".join(f"{line}\n" for line in lines).encode()


def add_signature_lines(note: bytes, lines: Iterable[str]) -> bytes:
    """Return the note with further signature lines, for instance of witnesses; those it has already are left out.

    Raises:
        NoteError: the note or a line is malformed, or there are too many.
    """
    text, present = parse_note(note)
    merged = list(present)
    for line in lines:
        signature = _parse_line(line.rstrip("\n"))
        if not any((s.name, s.key_id) == (signature.name, signature.key_id) for s in merged):
            merged.append(signature)
    _check_count(len(merged))
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
    _check_count(len(lines))
    return text, tuple(_parse_line(line) for line in lines)


def open_note(note: bytes, verifiers: Iterable[NoteVerifier]) -> OpenedNote:
    """Verify every signature of known keys; those of others are passed over. Of several by one key the first counts.

    Raises:
        NoteError: the note is malformed, a known key's signature does not verify, no known key signed, or two known
            keys have the same name and id, so that a signature does not tell whose it is.
    """
    text, lines = parse_note(note)
    known: dict[tuple[str, bytes], NoteVerifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            raise NoteError(f"two keys of {verifier.name} have the same id, {verifier.key_id.hex()}: one has to go")
    verified: dict[tuple[str, bytes], VerifiedSignature] = {}
    for line in lines:
        key = known.get((line.name, line.key_id))
        if key is None:
            continue
        if not key.verify(text, line.signature):
            raise NoteError(f"the signature of {line.name} does not verify")
        signature = VerifiedSignature(line.name, line.key_id, key.timestamp(line.signature))
        verified.setdefault((line.name, line.key_id), signature)
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


def _check_count(signatures: int) -> None:
    if not 1 <= signatures <= MAX_SIGNATURES:
        raise NoteError(f"a note has 1 to {MAX_SIGNATURES} signatures, not {signatures}")


def _check_text(text: bytes) -> None:
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise NoteError("a note is UTF-8") from error
    if not text.endswith(b"\n"):
        raise NoteError("a note's text ends in a newline")
    if any(c < " " and c != "\n" for c in decoded):
        raise NoteError("a note has no control characters but newlines")
