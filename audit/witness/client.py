"""Asks witnesses to cosign a checkpoint, and notices that one knows more of the log than the log itself."""

import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from audit.bounded_http import BoundedClient, is_loopback
from audit.errors import AuditBrokenError, AuditError
from audit.tlog.checkpoint import Checkpoint, parse_checkpoint
from audit.tlog.errors import NoteError
from audit.tlog.note import note_text, open_note, parse_note
from audit.witness.deciding import format_request
from audit.witness.policy import Witness

MAX_ANSWER_BYTES = 65_536

Proof = Callable[[int, int], Sequence[bytes]]
"""Makes the consistency proof between two sizes of the log's tree; several threads may call it."""


class WitnessError(AuditError):
    """A witness did not cosign; the message names it and says why."""


class WitnessContradictsError(AuditBrokenError):
    """A witness has cosigned more of this log than the log has, or another tree than the log's."""


class WitnessClient:
    """Talks to one witness. Not for two threads at once."""

    def __init__(self, witness: Witness, *, timeout: float, tls: ssl.SSLContext | None = None) -> None:
        """Make a client; nothing is asked yet.

        Args:
            witness: whom to ask.
            timeout: for a request and all of its answer (seconds).
            tls: how the witness is verified; default: as this machine verifies any.

        Raises:
            WitnessError: its URL is none that may be used.
        """
        parts = urlsplit(witness.url)
        if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(witness.url))):
            raise WitnessError(f"the witness {witness.name} needs an https URL in the policy, not {witness.url!r}")
        self.name = witness.name
        self._key = witness.key
        self._url = f"{witness.url}/add-checkpoint"
        self._size = 0
        self._http = BoundedClient(
            f"the witness {self.name}", timeout=timeout, max_bytes=MAX_ANSWER_BYTES, error=WitnessError, tls=tls
        )

    def cosign(self, note: bytes, proof: Proof) -> str:
        """Return the witness's signature line for a checkpoint.

        Raises:
            WitnessContradictsError: it knows a larger tree of this log, or another one of this size.
            WitnessError: it does not answer, refuses, or answers something else.
        """
        checkpoint = parse_checkpoint(note_text(note))
        for _ in range(3):
            request = format_request(self._size, proof(self._size, checkpoint.size), note)
            answer = self._http.ask("POST", self._url, content=request)
            status, body = answer.status, answer.body
            told = self._told_size(body, checkpoint) if status == 409 else None
            if told is not None and told != self._size:
                self._size = told
                continue
            # The proof is made from this log's own tree, so it fails only where the witness saw another one. A witness
            # of an earlier draft says 409 where both trees are of one size.
            if self._size and (status == 422 or told == checkpoint.size):
                raise WitnessContradictsError(
                    f"the witness {self.name} has cosigned another tree of {self._size} records of this log: the log "
                    f"was written anew. Keep this copy as evidence."
                )
            if status != 200:
                raise WitnessError(f"the witness {self.name} refuses ({status}): {body[:200]!r}")
            line = self._line(note, body)
            self._size = checkpoint.size
            return line
        raise WitnessError(f"the witness {self.name} names another size each time it is asked")

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _told_size(self, body: bytes, checkpoint: Checkpoint) -> int:
        text = body.decode("ascii", "replace").removesuffix("\n")
        if not text.isdigit() or len(text) > 19:
            raise WitnessError(f"the witness {self.name} names no size: {body[:100]!r}")
        size = int(text)
        if size > checkpoint.size:
            raise WitnessContradictsError(
                f"the witness {self.name} has cosigned {size} records of this log, which has {checkpoint.size}: this "
                f"log is an older copy. Restore the newest one; keep this one as evidence."
            )
        return size

    def _line(self, note: bytes, body: bytes) -> str:
        """Return the line of the witness's own key; those of other keys are left out."""
        answered = note_text(note) + b"\n" + body
        try:
            signed = open_note(answered, [self._key]).signatures[0]
            lines = parse_note(answered)[1]
        except NoteError as error:
            raise WitnessError(f"the witness {self.name} answers no cosignature of its key: {error}") from error
        if not signed.timestamp:
            raise WitnessError(f"the witness {self.name} does not say when it signed")
        return next(str(line) for line in lines if (line.name, line.key_id) == (signed.name, signed.key_id))


@dataclass(frozen=True, slots=True)
class Collected:
    """What the witnesses said.

    Attributes:
        lines: their signature lines.
        failures: who did not cosign, and why.
    """

    lines: tuple[str, ...]
    failures: tuple[str, ...]


def collect(note: bytes, clients: Sequence[WitnessClient], proof: Proof) -> Collected:
    """Ask every witness at once.

    Args:
        note: the checkpoint, signed by the log.
        clients: the witnesses.
        proof: makes consistency proofs.

    Raises:
        WitnessContradictsError: one knows more of the log than it has.
    """
    if not clients:
        return Collected((), ())
    lines, failures, contradiction = [], [], None
    with ThreadPoolExecutor(max_workers=len(clients), thread_name_prefix="witness") as threads:
        asked = [threads.submit(client.cosign, note, proof) for client in clients]
        for answer in asked:
            try:
                lines.append(answer.result())
            except WitnessContradictsError as error:
                contradiction = error
            except WitnessError as error:
                failures.append(str(error))
    if contradiction is not None:
        raise contradiction
    return Collected(tuple(lines), tuple(failures))
