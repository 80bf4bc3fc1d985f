"""What people write of themselves and of why: names compared as persons, and whether a text says anything at all."""

import unicodedata

_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols that show nothing: the Hangul fillers and the empty Braille pattern."""


def as_written(name: str) -> str:
    """Return a name without what nobody sees: Unicode NFKC, no invisible characters, no space at its ends."""
    shown = (each for each in unicodedata.normalize("NFKC", name) if each == " " or each.isprintable())
    return unicodedata.normalize("NFKC", "".join(each for each in shown if each not in _BLANKS)).strip()


def person(name: str) -> str:
    """Return a name as it counts: nobody is somebody else by spelling themselves otherwise."""
    return " ".join(unicodedata.normalize("NFKC", as_written(name).casefold()).split())


def says_something(text: str) -> bool:
    """Return whether a text holds a letter, digit, mark of punctuation or symbol that can be seen."""
    return any(unicodedata.category(each)[0] in "LNPS" and each not in _BLANKS for each in text)
