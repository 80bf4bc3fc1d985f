"""The error of an export."""

from audit.errors import AuditError


class ExportError(AuditError):
    """An export cannot be made, or does not go on."""
