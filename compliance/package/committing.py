"""What was committed to before a seed was known: kept, so that the same question gives the same package again.

A commitment names the roots of all populations and the signed tree they were made from. Its digest is a record of the
log; only after that a seed is used. Who keeps commitment.json from then can tell that nothing was made to fit the seed.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from audit.canonical import canonical
from audit.tlog.checkpoint import Checkpoint
from compliance.errors import ComplianceError
from compliance.package.question import Question
from compliance.package.writing import WrittenPopulation

COMMITMENT = "commitment.json"


def commitment(
    question: Question,
    checkpoint: Checkpoint,
    window: tuple[int, int],
    populations: Mapping[str, WrittenPopulation],
) -> bytes:
    """Return the commitment to populations, as canonical JSON."""
    return canonical(
        {
            "format": "govgateway-evidence-commitment",
            "populations": {
                name: {"root": each.root.hex(), "rows": each.rows} for name, each in sorted(populations.items())
            },
            "question": question.document(),
            "tree": {"root": checkpoint.root.hex(), "size": checkpoint.size},
            "version": 1,
            "window": {"end": window[1], "first": window[0]},
        }
    )


@dataclass(frozen=True, slots=True)
class Held:
    """A commitment that was made.

    Attributes:
        content: commitment.json; empty while it is not known yet, after an interruption.
        note: signed checkpoint of the tree that it is of.
        record: the record `evidence.committed`, as stored.
        proof: that the record is in the log (C2SP tlog-proof), with a later checkpoint.
        consistency: that the later tree continues the one before: hashes.
    """

    content: bytes
    note: bytes
    record: bytes
    proof: bytes
    consistency: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of commitment.json (hex)."""
        return sha256(self.content).hexdigest()

    @property
    def document(self) -> dict[str, Any]:
        """The parsed record."""
        return dict(orjson.loads(self.record))


class Commitments:
    """The commitments of a log, in a directory: one file each, named by its question and its number."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def latest(self, question: Question) -> Held | None:
        """Return the latest commitment to the same question; None if there is none.

        Raises:
            ComplianceError: the file is damaged.
        """
        paths = self._of(question)
        if not paths:
            return None
        try:
            found = orjson.loads(paths[-1].read_bytes())
            return Held(
                **{name: str(found[name]).encode() for name in ("content", "note", "record", "proof")},
                consistency=tuple(map(str, found["consistency"])),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ComplianceError(
                f"{paths[-1]} is damaged ({error}); restore it from a backup, or ask with --anew for a new commitment"
            ) from error

    def keep(self, question: Question, held: Held) -> None:
        """Keep a commitment, durably.

        Raises:
            ComplianceError: it cannot be written.
        """
        number = len(self._of(question))
        document = {
            "content": held.content.decode(),
            "note": held.note.decode(),
            "record": held.record.decode(),
            "proof": held.proof.decode(),
            "consistency": list(held.consistency),
        }
        path = self._directory / f"{question.digest()}.{number:04d}.json"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_suffix(".part")
            with fresh.open("wb") as file:
                file.write(orjson.dumps(document))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as error:
            raise ComplianceError(f"{path} cannot be written: {error.strerror}") from error

    def _of(self, question: Question) -> list[Path]:
        return sorted(self._directory.glob(f"{question.digest()}.*.json"))
