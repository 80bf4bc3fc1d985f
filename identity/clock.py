"""Time as this room takes it: handed in, in nanoseconds."""

from collections.abc import Callable

Clock = Callable[[], int]
"""Returns UNIX time in nanoseconds."""

NANOSECONDS = 1_000_000_000
"""Nanoseconds in a second."""
