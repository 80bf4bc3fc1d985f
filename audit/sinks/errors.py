"""The errors of the sinks."""

from collections.abc import Mapping

from audit.errors import AuditError


class SinkError(AuditError):
    """A sink did not take a batch. Everything in it counts as not taken."""


class SinkUnavailableError(SinkError):
    """The receiver is away, slow, busy, refuses the credentials, or its answer makes no sense: to be tried again.

    Attributes:
        retry_after: how long the receiver asks to be left alone, seconds; None if it does not say.
    """

    def __init__(self, cause: str, *, retry_after: float | None = None) -> None:
        super().__init__(cause)
        self.retry_after = retry_after


class SinkRefusedError(SinkError):
    """The receiver refuses records as they are, so that trying again is of no use.

    Attributes:
        refused: which, by index in the batch, and why; empty where the receiver does not say which. Where it does say,
            it has taken all the others.
    """

    def __init__(self, cause: str, refused: Mapping[int, str] | None = None) -> None:
        super().__init__(cause)
        self.refused = dict(refused or {})


class CursorError(AuditError):
    """The file that says how far a sink came cannot be used."""
