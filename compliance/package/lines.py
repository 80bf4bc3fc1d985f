"""Texts of registers and logs as one line each, so that no document is broken by what somebody wrote there."""

import re

_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")
"""Control characters, separators of lines, marks that turn the direction of text, and what is no character."""


def one_line(text: str, otherwise: str = "") -> str:
    """Return a text as one line without characters that are not shown.

    Args:
        text: any text.
        otherwise: what to return if nothing is left.
    """
    return " ".join(_UNSHOWN.sub(" ", text).split()) or otherwise
