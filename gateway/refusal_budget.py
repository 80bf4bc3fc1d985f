"""How many refusals of one identity are put on record: each costs disk and time, and costs the caller nothing.

Beyond the budget a refused call is answered with 429 and only counted; the count goes on record instead.
"""

from gateway.clock import NANOSECONDS, Clock

PER_SECOND = 10
BURST = 200
IDENTITIES = 10_000
"""Identities with a budget at a time; proven identities are few."""


class RefusalBudget:
    """A budget for each identity, kept as one time stamp (GCRA)."""

    def __init__(self, clock: Clock, per_second: int = PER_SECOND, burst: int = BURST) -> None:
        self._clock = clock
        self._interval = NANOSECONDS // per_second
        self._depth = self._interval * (burst - 1)
        self._full_at: dict[str, int] = {}
        self._suppressed: dict[str, int] = {}

    def take(self, spiffe_id: str) -> bool:
        """Whether one more refusal of this identity is put on record; counts it if not."""
        now = self._clock()
        full_at = self._full_at.get(spiffe_id, 0)
        if full_at - now > self._depth:
            self._suppressed[spiffe_id] = self._suppressed.get(spiffe_id, 0) + 1
            return False
        if len(self._full_at) >= IDENTITIES:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        self._full_at[spiffe_id] = max(full_at, now) + self._interval
        return True

    def suppressed(self) -> dict[str, int]:
        """Return how many refusals of each identity were not put on record since the last question."""
        found, self._suppressed = self._suppressed, {}
        return found
