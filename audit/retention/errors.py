"""What can go wrong with retention."""

from audit.errors import AuditError


class RetentionError(AuditError):
    """A rule, a hold or a segment is not as it has to be, so nothing is deleted."""
