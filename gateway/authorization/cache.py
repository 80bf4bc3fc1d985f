"""The decision cache: the same input under the same policies and data gives the same decision, for a time."""

from collections import OrderedDict
from hashlib import sha256
from typing import Protocol

import orjson

from gateway.authorization.engine import Decision, PolicyEngine, PolicyInput
from gateway.clock import NANOSECONDS, Clock


class Revision(Protocol):
    """What tells one state of policies and data from another; every `PolicySet` does."""

    @property
    def revision(self) -> str: ...
    @property
    def data_digest(self) -> str: ...


class DecisionCache:
    """The decisions used last, by full digest. Bounded; the one unused for longest goes first.

    Args:
        entries: how many are kept; 0 keeps none.

    Attributes:
        hits, misses: lookups answered and not answered.
    """

    __slots__ = ("_decisions", "_entries", "hits", "misses")

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._decisions: OrderedDict[bytes, tuple[int, int, Decision]] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._decisions)

    def get(self, key: bytes, now: int) -> Decision | None:
        """Return the decision kept under `key` if it may still be used at `now` (UNIX nanoseconds)."""
        found = self._decisions.get(key)
        if found is not None:
            start, end, decision = found
            # A clock that was set back leaves the entry's window as well.
            if start <= now < end:
                self._decisions.move_to_end(key)
                self.hits += 1
                return decision
            del self._decisions[key]
        self.misses += 1
        return None

    def put(self, key: bytes, decision: Decision, now: int) -> None:
        """Keep a decision made at `now` (UNIX nanoseconds) for as long as it allows."""
        if decision.cache_seconds <= 0 or self._entries <= 0:
            return
        self._decisions[key] = (now, now + decision.cache_seconds * NANOSECONDS, decision)
        self._decisions.move_to_end(key)
        if len(self._decisions) > self._entries:
            self._decisions.popitem(last=False)


class CachingEngine:
    """A `PolicyEngine` that asks another one only for what the cache does not hold.

    The key is the SHA-256 of the policy revision, the data digest and the whole canonical input. One cache
    may therefore outlive a reload: decisions of other policies or other data are never found.
    """

    def __init__(self, engine: PolicyEngine, cache: DecisionCache, clock: Clock, policies: Revision) -> None:
        self._engine = engine
        self._clock = clock
        # Of fixed length, so that no revision can be continued by an input.
        self._prefix = sha256(orjson.dumps([policies.revision, policies.data_digest])).digest()
        self.cache = cache

    async def decide(self, policy_input: PolicyInput) -> Decision:
        """Return the decision for this input, from the cache if it may be.

        Raises:
            gateway.errors.UnavailableError: as the engine behind.
        """
        try:
            document = orjson.dumps(policy_input, option=orjson.OPT_SORT_KEYS)
        except TypeError:
            return await self._engine.decide(policy_input)
        key = sha256(self._prefix + document).digest()
        now = self._clock()
        decision = self.cache.get(key, now)
        if decision is None:
            decision = await self._engine.decide(policy_input)
            self.cache.put(key, decision, now)
        return decision
