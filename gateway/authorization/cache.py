"""The decision cache: the same input under the same policies and data gives the same decision, for a time."""

from collections import OrderedDict
from hashlib import blake2b
from typing import Protocol

import orjson

from gateway.authorization.engine import Decision, PolicyEngine, PolicyInput
from gateway.authorization.input_paths import InputPaths, Rules, input_paths
from gateway.clock import NANOSECONDS, Clock

_DIGEST = 32
"""Length of a key (bytes): collisions are out of reach, and BLAKE2b is the quickest for short input."""


class Revision(Rules, Protocol):
    """What tells one state of policies and data from another; `LoadedPolicySet` does."""

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

    The key is the BLAKE2b digest of the policy revision, the data digest, the rules, and those parts of the input
    that the rules can read; what else the input says changes no decision. One cache may therefore outlive a reload:
    decisions of other policies or other data are never found.

    Args:
        engine: decides what the cache does not hold.
        cache: may be shared with other engines.
        clock: the time.
        policies: what `engine` decides by.
        paths: the parts of the input that `engine` can read; None: found in the rules of `policies`, which have to
            be all it has. For an engine that may have others, `WHOLE_INPUT`.

    Attributes:
        behind: `engine`.
        cache: `cache`.
        paths: the parts of the input that the keys hold.
    """

    def __init__(
        self,
        engine: PolicyEngine,
        cache: DecisionCache,
        clock: Clock,
        policies: Revision,
        paths: InputPaths | None = None,
    ) -> None:
        self.behind = engine
        self.cache = cache
        self.paths = input_paths(policies) if paths is None else paths
        self._clock = clock
        rules = [[module.name, module.text] for module in policies.modules]
        state = [policies.revision, policies.data_digest, rules, self.paths.paths]
        # Of fixed length, so that no revision can be continued by an input.
        self._prefix = blake2b(orjson.dumps(state), digest_size=_DIGEST).digest()

    async def decide(self, policy_input: PolicyInput) -> Decision:
        """Return the decision for this input, from the cache if it may be.

        Raises:
            gateway.errors.UnavailableError: as the engine behind.
        """
        try:
            read = self.paths.project(policy_input)
        except TypeError:
            return await self.behind.decide(policy_input)
        key = blake2b(self._prefix + read, digest_size=_DIGEST).digest()
        now = self._clock()
        decision = self.cache.get(key, now)
        if decision is None:
            decision = await self.behind.decide(policy_input)
            self.cache.put(key, decision, now)
        return decision
