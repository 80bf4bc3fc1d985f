"""The errors of anchors."""

from audit.errors import AuditBrokenError, AuditError


class AnchorError(AuditError):
    """An anchor cannot be made or read now; the message names it and says why."""


class TimestampError(AuditError, ValueError):
    """What should be a time stamp is none, is of something else, or nobody that is trusted signed it."""


class AnchorContradictsError(AuditBrokenError):
    """What is kept outside says something else than the log: the log was cut, changed, or is an older copy."""
