"""Who called what, added up by a worker and given to the inventory now and then."""

from identity.registry import Usage

UNKNOWN = 1000
"""Callers that are not registered and are told apart between two flushes; more are left out."""


class UsageTally:
    """Calls since the last flush."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str, str], list[int]] = {}
        self._unknown = 0

    def call(self, spiffe_id: str, resource: str, action: str, now: int) -> None:
        """Count a call that was let through at `now` (UNIX seconds)."""
        counted = self._calls.get((spiffe_id, resource, action))
        if counted is None:
            self._calls[spiffe_id, resource, action] = [1, now]
        else:
            counted[0] += 1
            counted[1] = now

    def unknown(self, spiffe_id: str, now: int) -> None:
        """Count a call of a proven identity that is not registered."""
        if (spiffe_id, "", "refused") not in self._calls:
            if self._unknown >= UNKNOWN:
                return
            self._unknown += 1
        self.call(spiffe_id, "", "refused", now)

    def take(self) -> list[Usage]:
        """Return what was counted, and begin anew."""
        counted, self._calls, self._unknown = self._calls, {}, 0
        return [Usage(*key, calls, last_used) for key, (calls, last_used) in counted.items()]

    def give_back(self, rows: list[Usage]) -> None:
        """Count again what could not be stored."""
        for row in rows:
            counted = self._calls.setdefault((row.id, row.resource, row.action), [0, row.last_used])
            counted[0] += row.calls
