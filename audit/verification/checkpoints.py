"""Verifies signed checkpoints: who signed, who cosigned, which chain ends they bind, and that one continues another."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from audit.chain import Head, is_chain_name
from audit.errors import AuditError
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint
from audit.tlog.errors import NoteError, ProofError, TileMissingError
from audit.tlog.merkle import verify_consistency
from audit.tlog.note import NoteVerifier, VerifiedSignature, note_text, open_note
from audit.tlog.tiles import TileStorage, TileTree

_CHAIN_LINE = re.compile(r"chain ([a-z0-9-]+) ([1-9][0-9]{0,18}) ([0-9a-f]{64})")


class CheckpointPolicy(Protocol):
    """Says whose cosignatures a checkpoint needs."""

    def verifiers(self) -> Sequence[NoteVerifier]:
        """Return the keys of the witnesses."""

    def satisfied(self, signatures: Iterable[VerifiedSignature]) -> bool:
        """Whether these are enough."""


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint and who vouches for it.

    Attributes:
        note: as it was signed.
        checkpoint: its content.
        signers: names of the log's keys that signed; empty where no key was given.
        cosigners: witnesses whose cosignatures verified, each with the time it gives (UNIX seconds).
        heads: end of each chain, as the checkpoint binds it.
    """

    note: bytes
    checkpoint: Checkpoint
    signers: tuple[str, ...]
    cosigners: tuple[tuple[str, int], ...]
    heads: dict[str, Head]


def open_checkpoint(
    note: bytes, origin: str, keys: Sequence[NoteVerifier], policy: CheckpointPolicy | None = None
) -> SignedCheckpoint:
    """Verify a signed checkpoint.

    Args:
        note: the note.
        origin: name of the log.
        keys: the log's keys; one has to have signed. With none, signatures are not verified, and none is reported.
        policy: the witnesses; its quorum has to be met.

    Raises:
        NoteError: the note is malformed, another log's, not signed, or not cosigned as the policy asks.
    """
    checkpoint = parse_checkpoint(note_text(note))
    if checkpoint.origin != origin:
        raise NoteError(f"the checkpoint is of the log {checkpoint.origin}, not of {origin}")
    heads = chain_heads(checkpoint)
    witnesses = policy.verifiers() if policy is not None else ()
    known = [*keys, *witnesses]
    if not known:
        return SignedCheckpoint(note, checkpoint, (), (), heads)
    opened = open_note(note, known)
    own = {(key.name, key.key_id) for key in keys}
    signers = tuple(s.name for s in opened.signatures if (s.name, s.key_id) in own)
    if keys and not signers:
        raise NoteError("no key of the log that was given signed the checkpoint")
    others = [s for s in opened.signatures if (s.name, s.key_id) not in own]
    if policy is not None and not policy.satisfied(others):
        names = ", ".join(s.name for s in others) or "nobody"
        raise NoteError(
            f"the checkpoint lacks cosignatures: {names} cosigned, which the policy does not take for enough"
        )
    return SignedCheckpoint(note, checkpoint, signers, tuple((s.name, s.timestamp or 0) for s in others), heads)


def chain_heads(checkpoint: Checkpoint) -> dict[str, Head]:
    """Return the end of each chain that a checkpoint binds.

    Raises:
        NoteError: a line is malformed, or the chains do not add up to the tree.
    """
    heads: dict[str, Head] = {}
    for line in checkpoint.extensions:
        match = _CHAIN_LINE.fullmatch(line)
        if match is None:
            if line.startswith("chain "):
                raise NoteError(f"{line[:100]!r} is no line about a chain")
            continue
        if not is_chain_name(match[1]) or match[1] in heads:
            raise NoteError(f"{line[:100]!r} is no line about a chain, or the second about it")
        heads[match[1]] = Head(int(match[2]) - 1, match[3])
    if sum(head.sequence + 1 for head in heads.values()) != checkpoint.size:
        raise NoteError("the chains that the checkpoint names do not add up to its size")
    return heads


def check_consistency(storage: TileStorage, old: Checkpoint, new: Checkpoint) -> None:
    """Check with the tiles that a checkpoint continues an older one.

    Raises:
        ProofError: it does not.
        AuditError: the tiles cannot be read.
    """
    if old.size > new.size:
        raise ProofError(f"the tree had {old.size} leaves, and has {new.size}: the log was cut")
    try:
        proof = TileTree(storage, new.size).consistency_proof(old.size, new.size)
    except TileMissingError as error:
        raise AuditError(f"a tile is missing: {error}") from error
    try:
        verify_consistency(old.size, new.size, proof, old.root, new.root)
    except ProofError as error:
        raise ProofError(
            f"the tree of {new.size} leaves does not continue that of {old.size} which was signed before: {error}"
        ) from error
