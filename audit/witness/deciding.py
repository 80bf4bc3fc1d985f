"""What a witness answers (C2SP tlog-witness): the rules of add-checkpoint in the order given there; the latest one."""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.errors import NoteError, ProofError
from audit.tlog.merkle import EMPTY_ROOT, verify_consistency
from audit.tlog.note import (
    NoteSigner,
    NoteVerifier,
    OpenedNote,
    SignatureLine,
    open_note,
    parse_note,
    parse_verifier_key,
)
from audit.witness.state import Seen, WitnessState, WitnessStateError

MAX_PROOF = 63

_OLD = re.compile("old (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of HTTP."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class Refusal(Exception):  # noqa: N818 - not every answer but 200 is an error
    """The checkpoint is not cosigned."""

    def __init__(self, status: int, why: str, *, content_type: str = "text/plain; charset=utf-8") -> None:
        super().__init__(why)
        self.answer = Answer(status, f"{why}\n".encode(), content_type)


class WitnessRules:
    """Cosigns checkpoints of known logs that continue the ones before."""

    def __init__(self, state: WitnessState, signers: Sequence[NoteSigner], logs: Sequence[NoteVerifier]) -> None:
        """`signers` cosign; `logs` are the keys of the logs, each named like its log's origin."""
        self._state = state
        self._signers = signers
        self._own = [parse_verifier_key(signer.verifier_key) for signer in signers]
        self._logs = logs
        self._origins = {sha256(key.name.encode()).hexdigest(): key.name for key in logs}

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer a request.

        Raises:
            WitnessStateError: the state cannot be read or written, or is damaged; or the clock went back.
        """
        try:
            return self._cosign(body)
        except Refusal as refusal:
            return refusal.answer

    def checkpoint(self, origin_hash: str) -> Answer:
        """Answer with the latest checkpoint of a log, as the log signed it and this witness cosigned it.

        Args:
            origin_hash: SHA-256 of the log's origin, in hex.

        Raises:
            WitnessStateError: the state cannot be read, or is damaged.
        """
        origin = self._origins.get(origin_hash)
        known = self._known(origin) if origin is not None else None
        if known is None:
            return Answer(404, b"no checkpoint of such a log was cosigned here\n")
        return Answer(200, known[0].note)

    def _cosign(self, body: bytes) -> Answer:
        old_size, proof, note = _parse(body)
        try:
            checkpoint = parse_checkpoint(parse_note(note)[0])
        except NoteError as error:
            raise Refusal(400, str(error)) from error
        keys = [key for key in self._logs if key.name == checkpoint.origin]
        if not keys:
            raise Refusal(404, f"the log {checkpoint.origin:.200} is not known to this witness")
        try:
            opened = open_note(note, keys)
        except NoteError as error:
            raise Refusal(403, str(error)) from error
        if old_size > checkpoint.size:
            raise Refusal(400, "the old size is larger than that of the checkpoint")
        known = self._known(checkpoint.origin)
        size, root = (known[0].size, known[0].root) if known else (0, EMPTY_ROOT)
        if size != old_size:
            raise Refusal(409, str(size), content_type="text/x.tlog.size")
        _check(old_size, root, checkpoint.size, checkpoint.root, proof)
        lines = self._cosignatures(opened.text, not_before=known[1] if known else 1)
        kept = _kept(note, opened, lines)
        found = self._state.replace(old_size, Seen(checkpoint.origin, checkpoint.size, checkpoint.root, kept))
        if found is not None:  # another request was faster
            raise Refusal(409, str(found), content_type="text/x.tlog.size")
        return Answer(200, "".join(f"{line}\n" for line in lines).encode())

    def _known(self, origin: str) -> tuple[Seen, int] | None:
        """Return the latest checkpoint of a log and when it was cosigned, after what was signed then was verified."""
        seen = self._state.latest(origin)
        if seen is None:
            return None
        try:
            opened = open_note(seen.note, [*self._own, *(key for key in self._logs if key.name == origin)])
            checkpoint = parse_checkpoint(opened.text)
        except NoteError as error:
            raise WitnessStateError(f"the checkpoint of {origin} in the state is damaged: {error}") from error
        if (checkpoint.origin, checkpoint.size, checkpoint.root) != (origin, seen.size, seen.root):
            raise WitnessStateError(f"the state of {origin} is damaged: it is not what was signed")
        own = {(key.name, key.key_id) for key in self._own}  # a log may date its own signature as it likes
        return seen, max(
            (each.timestamp or 1 for each in opened.signatures if (each.name, each.key_id) in own), default=1
        )

    def _cosignatures(self, text: bytes, *, not_before: int) -> list[str]:
        """Sign; a time before that of a smaller tree would deny that one, and zero is none (tlog-witness)."""
        try:
            made = [SignatureLine(signer.name, signer.key_id, signer.sign(text)) for signer in self._signers]
        except (NoteError, OverflowError) as error:
            raise WitnessStateError(f"the witness cannot sign: {error}") from error
        for key, line in zip(self._own, made, strict=True):
            time = key.timestamp(line.signature)
            if time is not None and time < not_before:
                raise WitnessStateError(
                    f"the clock says {time}, but something was cosigned at {not_before} (UNIX seconds): set it right"
                )
        return [str(line) for line in made]


def _kept(note: bytes, opened: OpenedNote, lines: Sequence[str]) -> bytes:
    """Return the checkpoint with the log's signatures that verified and the cosignatures, and nobody else's."""
    verified = {(signature.name, signature.key_id) for signature in opened.signatures}
    own: dict[tuple[str, bytes], str] = {}
    for line in parse_note(note)[1]:
        if (line.name, line.key_id) in verified:
            own.setdefault((line.name, line.key_id), str(line))  # of two lines by one key the first stays
    return opened.text + b"\n" + "".join(f"{line}\n" for line in (*own.values(), *lines)).encode()


def format_request(old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """Return the body of a request."""
    lines = [f"old {old_size}", *(b64encode(each).decode() for each in proof), "", ""]
    return "\n".join(lines).encode() + note


def _parse(body: bytes) -> tuple[int, list[bytes], bytes]:
    malformed = Refusal(400, "the request is not in the form of tlog-witness")
    head, blank, note = body.partition(b"\n\n")
    try:
        first, *rest = head.decode("ascii").split("\n", MAX_PROOF + 1)
        proof = [b64decode(line, validate=True) for line in rest]
    except ValueError as error:
        raise malformed from error
    size = _OLD.fullmatch(first)
    strict = [b64encode(each).decode() for each in proof] == rest
    if not blank or size is None or not strict or len(proof) > MAX_PROOF or any(len(each) != 32 for each in proof):
        raise malformed
    return int(size[1]), proof, note


def _check(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    if new == 0 and new_root != EMPTY_ROOT:
        raise Refusal(422, "an empty tree has another root")
    try:
        verify_consistency(old, new, proof, old_root, new_root)
    except ProofError as error:
        raise Refusal(422, str(error)) from error
