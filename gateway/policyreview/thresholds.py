"""Thresholds of an impact report: what a pipeline lets pass, and what it stops at."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.errors import ConfigError

FIGURES = {
    "allow-to-deny": "recorded calls that would be refused",
    "deny-to-allow": "recorded refusals that would be allowed",
    "separation-of-duties": "principals that would newly hold roles which are kept apart",
    "lost-access": "models that a principal used and could not use any more",
    "new-access": "newly granted accesses",
    "obligations": "recorded calls with another bound or region",
    "limits": "principals with other quota limits",
    "undecided": "recorded calls that neither revision can decide",
}
"""What a threshold can be about."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A bound.

    Attributes:
        figure: one of `FIGURES`.
        tolerated: how many pass; one more does not.
    """

    figure: str
    tolerated: int = 0


@dataclass(frozen=True, slots=True)
class Crossed:
    """A threshold that was crossed, and by how many."""

    threshold: Threshold
    found: int

    def __str__(self) -> str:
        figure = self.threshold.figure
        return f"{figure}: {self.found} {FIGURES[figure]}; tolerated are {self.threshold.tolerated}"


def parse_threshold(text: str) -> Threshold:
    """Return the threshold in a text such as `allow-to-deny` or `deny-to-allow=10`.

    Raises:
        ConfigError: names the figures there are.
    """
    figure, separator, number = text.partition("=")
    if figure not in FIGURES:
        raise ConfigError(f"{text!r} is not a threshold; those there are: {', '.join(FIGURES)}.")
    if separator and not (number.isascii() and number.isdecimal() and len(number) < 16):
        raise ConfigError(f"{text!r}: what follows = is how many are tolerated, for instance {figure}=10.")
    return Threshold(figure, int(number) if separator else 0)


def crossed(thresholds: Iterable[Threshold], counts: Mapping[str, int]) -> list[Crossed]:
    """Return the thresholds that these counts (see `Impact.counts`) cross."""
    return [
        Crossed(each, found) for each in thresholds if (found := counts[each.figure.replace("-", "_")]) > each.tolerated
    ]
