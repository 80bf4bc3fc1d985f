"""The errors of this room, in one tree."""


class AuditError(Exception):
    """Base of every error of `audit`. The message names the cause and the remedy."""


class CanonicalError(AuditError, ValueError):
    """A value has no canonical form here: a float, a number beyond 2^53, a text that is not Unicode."""


class AuditUnavailableError(AuditError):
    """The log cannot be written, so nothing may be answered."""


class AuditStoreError(AuditError):
    """A log cannot be opened or read."""


class AuditBrokenError(AuditStoreError):
    """A log is not the one that was written: changed, shortened, or an older copy."""
