"""What a witness answers (C2SP tlog-witness): the rules of add-checkpoint in the order given there; the latest one."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from audit.tlog.checkpoint import parse_checkpoint
from audit.tlog.errors import NoteError, ProofError
from audit.tlog.merkle import EMPTY_ROOT, verify_consistency
from audit.tlog.note import NoteSigner, NoteVerifier, OpenedNote, SignatureLine, open_note, parse_note
from audit.witness.state import Seen, WitnessState

MAX_PROOF = 63


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
        self._logs = logs
        self._origins = {sha256(key.name.encode()).hexdigest(): key.name for key in logs}

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer a request.

        Raises:
            WitnessStateError: the state cannot be read or written.
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
            WitnessStateError: the state cannot be read.
        """
        origin = self._origins.get(origin_hash)
        seen = self._state.latest(origin) if origin is not None else None
        return (
            Answer(404, b"no checkpoint of such a log was cosigned here\n") if seen is None else Answer(200, seen.note)
        )

    def _cosign(self, body: bytes) -> Answer:
        old_size, proof, note = _parse(body)
        try:
            checkpoint = parse_checkpoint(parse_note(note)[0])
        except NoteError as error:
            raise Refusal(400, str(error)) from error
        keys = [key for key in self._logs if key.name == checkpoint.origin]
        if not keys:
            raise Refusal(404, f"the log {checkpoint.origin} is not known to this witness")
        try:
            opened = open_note(note, keys)
        except NoteError as error:
            raise Refusal(403, str(error)) from error
        if old_size > checkpoint.size:
            raise Refusal(400, "the old size is larger than that of the checkpoint")
        known = self._state.latest(checkpoint.origin)
        size, root = (known.size, known.root) if known else (0, EMPTY_ROOT)
        if size != old_size:
            raise Refusal(409, str(size), content_type="text/x.tlog.size")
        _check(old_size, root, checkpoint.size, checkpoint.root, proof)
        lines = [str(SignatureLine(s.name, s.key_id, s.sign(opened.text))) for s in self._signers]
        kept = _kept(note, opened, lines)
        found = self._state.replace(old_size, Seen(checkpoint.origin, checkpoint.size, checkpoint.root, kept))
        if found is not None:  # another request was faster
            raise Refusal(409, str(found), content_type="text/x.tlog.size")
        return Answer(200, "".join(f"{line}\n" for line in lines).encode())


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
    head, blank, note = body.partition(b"\n\n")
    try:
        first, *rest = head.decode("ascii").split("\n")
        proof = [b64decode(line, validate=True) for line in rest]
    except ValueError as error:
        raise Refusal(400, "the request is not in the form of tlog-witness") from error
    size = first.removeprefix("old ")
    good = first.startswith("old ") and size.isdigit() and (size == "0" or size[0] != "0") and len(size) <= 19
    if not blank or not good or len(proof) > MAX_PROOF or any(len(each) != 32 for each in proof):
        raise Refusal(400, "the request is not in the form of tlog-witness")
    return int(size), proof, note


def _check(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    if new == 0 and new_root != EMPTY_ROOT:
        raise Refusal(422, "an empty tree has another root")
    try:
        verify_consistency(old, new, proof, old_root, new_root)
    except ProofError as error:
        raise Refusal(422, str(error)) from error
