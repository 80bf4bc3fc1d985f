"""Short forms of columns."""

from compliance.populations.base import Column, Kind


def text(name: str, says: str, *, personal: bool = False) -> Column:
    """Return a column of text."""
    return Column(name, "text", says, personal)


def flag(name: str, says: str) -> Column:
    """Return a column of yes and no."""
    return Column(name, "boolean", says)


def number(name: str, says: str, kind: Kind = "integer") -> Column:
    """Return a column of whole numbers, or of times."""
    return Column(name, kind, says)


def texts(name: str, says: str, *, personal: bool = False) -> Column:
    """Return a column of lists of texts."""
    return Column(name, "list", says, personal)
