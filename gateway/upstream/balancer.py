"""Chooses a backend: the one with the fewest calls under way; one that cannot be reached is set aside for a while.

A backend set aside gets one call when its time is up; while that call is on its way the others keep away, and its
answer brings the backend back. A model whose backends are all set aside is still tried: a caller gets a true error.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gateway.clock import NANOSECONDS, Clock
from gateway.upstream.client import Backend

FAILURES = 2
"""Failed connections in a row after which a backend is set aside."""

ASIDE_SECONDS = (1, 60)
"""First and longest time a backend is set aside (seconds); doubled each time its next call fails as well."""


@dataclass(slots=True)
class _State:
    outstanding: int = 0
    turn: int = 0
    failures: int = 0
    aside_until: int = 0


class Balancer:
    """Counts calls under way and failures of each backend. Used from one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._states: dict[str, _State] = {}
        self._turn = 0

    def acquire(self, candidates: Sequence[Backend], tried: Collection[Backend] = ()) -> Backend:
        """Choose among `candidates` (at least one) those not `tried`, and count a call under way.

        Of backends set aside, the one whose time is up first comes first.
        """
        if len(candidates) == 1:
            chosen = candidates[0]
            state = self._state(chosen)
        else:
            chosen, state = self._choose(candidates, tried)
        self._turn += 1
        state.turn = self._turn
        state.outstanding += 1
        if state.failures >= FAILURES:
            state.aside_until = self._clock() + _aside(state.failures)
        return chosen

    def answered(self, backend: Backend) -> None:
        """The backend answered a call, in whatever way: it can be reached."""
        state = self._state(backend)
        state.failures = 0
        state.aside_until = 0

    def release(self, backend: Backend) -> None:
        """A call ended, however it did."""
        self._state(backend).outstanding -= 1

    def failed(self, backend: Backend) -> None:
        """A call ended because the backend could not be reached."""
        state = self._state(backend)
        state.outstanding -= 1
        state.failures += 1
        if state.failures >= FAILURES:
            state.aside_until = self._clock() + _aside(state.failures)

    def snapshot(self) -> dict[str, dict[str, int | bool]]:
        """Return outstanding calls and health by backend."""
        now = self._clock()
        return {
            name: {"outstanding": state.outstanding, "healthy": state.aside_until <= now}
            for name, state in self._states.items()
        }

    def _choose(self, candidates: Sequence[Backend], tried: Collection[Backend]) -> tuple[Backend, _State]:
        now = self._clock()
        best: tuple[tuple[int, int, int], Backend, _State] | None = None
        for backend in candidates:
            if backend in tried:
                continue
            state = self._state(backend)
            rank = (max(state.aside_until - now, 0), state.outstanding, state.turn)
            if best is None or rank < best[0]:
                best = (rank, backend, state)
        if best is None:
            raise ValueError("every candidate was tried")
        return best[1], best[2]

    def _state(self, backend: Backend) -> _State:
        state = self._states.get(backend.name)
        if state is None:
            state = self._states[backend.name] = _State()
        return state


def _aside(failures: int) -> int:
    """Return how long to set a backend aside (nanoseconds)."""
    first, longest = ASIDE_SECONDS
    return min(first << min(failures - FAILURES, 10), longest) * NANOSECONDS
