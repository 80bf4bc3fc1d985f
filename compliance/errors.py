"""Errors of evidence, each with what to do about it."""


class ComplianceError(Exception):
    """Evidence cannot be made, read or verified; the text names the cause and the remedy."""
