"""Notices when the system clock begins or ceases to be kept, for the audit log."""

import time
from typing import Any

from audit.clock import ClockState, clock_state

EVERY_SECONDS = 60.0


class ClockWatch:
    """Asks the system now and then."""

    def __init__(self) -> None:
        self._known: ClockState | None = None
        self._asked_at = -EVERY_SECONDS

    def news(self) -> dict[str, Any] | None:
        """Return the fields of `clock.status` where it is new: the first time, and when synchronisation changed."""
        if time.monotonic() - self._asked_at < EVERY_SECONDS:
            return None
        self._asked_at = time.monotonic()
        state = clock_state()
        before, self._known = self._known, state
        if state is None or (before is not None and before.synchronised == state.synchronised):
            return None
        return {"source": "system clock (adjtimex)", "synchronised": state.synchronised, "error_us": state.error_us}
