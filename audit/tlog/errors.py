"""The errors of notes, tiles and proofs."""

from audit.errors import AuditError


class NoteError(AuditError, ValueError):
    """A note, a checkpoint or a verifier key is malformed, or its signature does not verify."""


class ProofError(AuditError, ValueError):
    """A proof does not prove what it should."""


class TileMissingError(AuditError, KeyError):
    """A tile is not there."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
