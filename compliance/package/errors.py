"""The error of a package that must not be made."""

from compliance.errors import ComplianceError


class RefusedError(ComplianceError):
    """No such package is made, however often it is asked for; nothing that was begun is kept."""
