"""The policies as the control process holds them: which revision is active, what may replace it, who waits for news."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.authorization.policy_set import LoadedPolicySet
from gateway.config.policy import Policy
from gateway.errors import ConfigError
from gateway.policy_activation.candidates import Candidate, candidate_of_bundle, candidate_of_directory
from gateway.policy_activation.store import Activation, History, PolicyStore

MAX_WAITING = 1000
"""Followers that may wait for the next revision at a time; more are answered at once."""

MAX_WAITING_EACH = 20
"""Of them, those of one identity."""


@dataclass(frozen=True, slots=True)
class Active:
    """The revision in force."""

    activation: Activation
    policies: LoadedPolicySet


class ActivePolicies:
    """Which revision is active. Changed only by `take`, between two turns of the event loop.

    Attributes:
        unrecorded: the record of an activation that `start` made, before the audit log was open.
        found: the history as `start` found it.

    Args:
        store: the revisions.
        now: UNIX seconds.
    """

    def __init__(self, store: PolicyStore, now: Callable[[], int]) -> None:
        self.store = store
        self._now = now
        self._active: Active | None = None
        self.unrecorded: dict[str, Any] | None = None
        self.found = History()
        self._news = asyncio.Event()
        self._waiting: Counter[str] = Counter()

    @property
    def active(self) -> Active:
        """The revision in force."""
        assert self._active is not None  # noqa: S101 - set by `start`
        return self._active

    def start(self, policy: Policy) -> Candidate:
        """Load what the gateway starts with, and record it if it is not what it ended with.

        Raises:
            ConfigError: the policies cannot be used, or no revision was ever activated.
        """
        history = self.found = self.store.history()
        candidate = self.configured(policy)
        with self.store.locked():
            self.store.put(candidate.content)
            activation = history.active
            if activation is None or activation.digest != candidate.digest:
                activation = candidate.activation(time=self._now(), by="start")
                self.unrecorded = activation.record(history.active)
                self.store.record(activation)
        self._active = Active(activation, candidate.policies)
        return candidate

    def configured(self, policy: Policy) -> Candidate:
        """Return what the configuration names now: the directory's content, or the active revision checked again.

        Raises:
            ConfigError: it cannot be used.
        """
        if policy.source == "directory":
            return candidate_of_directory(policy)
        active = self.store.history().active
        if active is None:
            raise ConfigError(
                "No revision of the policies was ever activated here. Build and activate one: "
                "govctl policy build --out policies.tar.gz; govctl policy activate policies.tar.gz"
            )
        # The keys or the rules may have changed since it was activated.
        return candidate_of_bundle(self.store.get(active.digest), active.source, policy, None)

    def candidate(self, content: bytes, source: str, policy: Policy, *, rollback: bool = False) -> Candidate:
        """Check a bundle that somebody wants to activate.

        Raises:
            ConfigError: it cannot be, or revisions are not activated here one by one.
        """
        _by_bundle(policy)
        return candidate_of_bundle(content, source, policy, self.store.history().active, rollback=rollback)

    def earlier(self, to: str, policy: Policy) -> Candidate:
        """Return the revision to go back to.

        Args:
            to: its name or the beginning of its digest; empty: the one before the active one.
            policy: the configuration.

        Raises:
            ConfigError: there is none, its bundle is gone, or it cannot be used any more.
        """
        _by_bundle(policy)
        history = self.store.history()
        if to:
            found = [each for each in history.activations if each.revision == to or each.digest.startswith(to)]
            if len({each.digest for each in found}) > 1:
                raise ConfigError(f"{to!r} names several revisions; give more of the digest: govctl policy history")
        else:
            found = [history.previous] if history.previous else []
        if not found:
            named = f"{to!r} was not active here" if to else "No other revision was active here before"
            raise ConfigError(f"{named}; see govctl policy history.")
        return candidate_of_bundle(
            self.store.get(found[-1].digest), f"revision {found[-1].revision}", policy, history.active, rollback=True
        )

    def take(self, candidate: Candidate, activation: Activation) -> None:
        """Make a candidate the active revision; followers that wait are told."""
        self._active = Active(activation, candidate.policies)
        self._news.set()
        self._news = asyncio.Event()

    async def wait(self, digest: str, seconds: float, who: str) -> None:
        """Wait until another bundle than `digest` is active, or the time is over.

        Args:
            digest: of the bundle that the follower has.
            seconds: how long.
            who: its identity; one that waits too often gets its answer after a second.
        """
        if self.active.activation.digest != digest or seconds <= 0:
            return
        if self._waiting[who] >= MAX_WAITING_EACH or self._waiting.total() >= MAX_WAITING:
            seconds = min(seconds, 1)
        self._waiting[who] += 1
        try:
            async with asyncio.timeout(seconds):
                while self.active.activation.digest == digest:
                    await self._news.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting -= Counter({who: 1})


def _by_bundle(policy: Policy) -> None:
    if policy.source != "bundle":
        raise ConfigError(
            f"The policies are read from the directory {Path(policy.directory)}; change it and run govctl reload, "
            "or set policy.source: bundle to activate revisions one by one."
        )
