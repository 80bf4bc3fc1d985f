"""Makes text that a caller or an author chose inert, for a terminal and for Markdown."""

WIDTH = 120
"""Longest text shown of one name (characters)."""


def plain(text: object, width: int = WIDTH) -> str:
    """Return text in which nothing moves a cursor, ends a line, or turns the direction of writing."""
    shown = str(text)
    if len(shown) > width:
        shown = shown[: width - 1] + "…"
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in shown)


def code(text: object, width: int = WIDTH) -> str:
    """Return text as a code span of Markdown that is safe in a cell of a table.

    In a code span neither links nor names with @ or # nor HTML mean anything; only what would end it, or its cell, is
    written by its number.
    """
    shown = plain(text, width).replace("\\", "\\\\").replace("`", "\\x60").replace("|", "\\x7c")
    return f"`{shown}`" if shown.strip() else "—"
