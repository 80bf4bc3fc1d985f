"""The one clock. Handed in wherever time matters, so that tests drive it."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns UNIX time in nanoseconds."""

system_clock: Clock = time.time_ns

NANOSECONDS = 1_000_000_000
"""Nanoseconds in a second."""
