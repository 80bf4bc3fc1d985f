"""Proofs of one entry as text (C2SP tlog-proof): index, inclusion proof, and the checkpoint that it leads to."""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audit.tlog.checkpoint import Checkpoint, parse_checkpoint
from audit.tlog.errors import NoteError, ProofError
from audit.tlog.merkle import HASH_BYTES, verify_inclusion
from audit.tlog.note import NoteVerifier, OpenedNote, open_note

_HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile("0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class LogProof:
    """A proof, unverified.

    Attributes:
        index: index of the leaf.
        hashes: inclusion proof.
        note: the signed checkpoint.
        extra: data of the application; nothing authenticates it.
    """

    index: int
    hashes: tuple[bytes, ...]
    note: bytes
    extra: bytes = b""


def format_proof(index: int, hashes: Sequence[bytes], note: bytes, extra: bytes = b"") -> bytes:
    """Return a proof as text."""
    lines = [_HEADER]
    if extra:
        lines.append(f"extra {b64encode(extra).decode()}")
    lines += [f"index {index}", *(b64encode(each).decode() for each in hashes), "", ""]
    return "\n".join(lines).encode() + note


def parse_proof(text: bytes) -> LogProof:
    """Parse a proof.

    Raises:
        ProofError: it is malformed.
    """
    head, blank, note = text.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise ProofError("a proof's lines are ASCII") from error
    if not blank or lines[0] != _HEADER:
        raise ProofError(f"a proof begins with {_HEADER} and has a checkpoint after a blank line")
    rest, extra = lines[1:], b""
    if rest and rest[0].startswith("extra "):
        extra = _base64(rest.pop(0).removeprefix("extra "))
    if not rest or not rest[0].startswith("index "):
        raise ProofError("a proof names the index of its entry")
    index = rest.pop(0).removeprefix("index ")
    if not _INDEX.fullmatch(index):
        raise ProofError(f"{index[:40]!r} is no index")
    if len(rest) > 63:
        raise ProofError("the inclusion proof is too long")
    hashes = tuple(_base64(line) for line in rest)
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ProofError(f"a hash of the inclusion proof has {HASH_BYTES} bytes")
    return LogProof(int(index), hashes, note, extra)


def verify_proof(
    proof: LogProof, leaf: bytes, verifiers: Iterable[NoteVerifier], origin: str
) -> tuple[Checkpoint, OpenedNote]:
    """Verify that a leaf is in the log; return the checkpoint that says so, and who signed it.

    Args:
        proof: the proof.
        leaf: hash of the leaf.
        verifiers: keys of the log and of witnesses; one named like the log has to be among those that signed.
        origin: name of the log.

    Raises:
        NoteError: the checkpoint is not this log's, or no key of the log signed it.
        ProofError: the leaf is not in the tree.
    """
    opened = open_note(proof.note, verifiers)
    checkpoint = parse_checkpoint(opened.text)
    if checkpoint.origin != origin:
        raise NoteError(f"the checkpoint is of the log {checkpoint.origin}, not of {origin}")
    if not any(signature.name == origin for signature in opened.signatures):
        raise NoteError(f"the checkpoint is not signed by {origin}")
    verify_inclusion(leaf, proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    return checkpoint, opened


def _base64(text: str) -> bytes:
    try:
        raw = b64decode(text, validate=True)
    except ValueError as error:
        raise ProofError("a line of the proof is not base64") from error
    if b64encode(raw).decode() != text:
        raise ProofError("a line of the proof is not base64")
    return raw
