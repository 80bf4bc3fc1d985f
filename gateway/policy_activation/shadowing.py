"""The candidate revision that decides beside the active one in every worker: started, watched, promoted, stopped."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from audit.log import AuditLog
from gateway.errors import ConfigError
from gateway.generations import Generations
from gateway.policy_activation.candidates import Candidate, candidate_to_watch
from gateway.policy_activation.store import Activation

SAMPLES = 20
"""Differences shown whole."""

_KIND = ("change", "principal", "action", "resource", "reason")


class Shadowing:
    """Holds the candidate in the control process.

    Args:
        generations: what is in force, and how a candidate is promoted.
        audit: where it is recorded.
        broadcast: tells every worker.
    """

    def __init__(
        self, generations: Generations, audit: AuditLog, broadcast: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self._generations = generations
        self._audit = audit
        self._broadcast = broadcast
        self._candidate: Candidate | None = None
        self._reports: dict[tuple[int, int], Mapping[str, Any]] = {}

    @property
    def digest(self) -> str:
        """Digest of the candidate's bundle, empty without one."""
        return self._candidate.digest if self._candidate is not None else ""

    def heard(self, index: int, pid: int, report: Mapping[str, Any]) -> None:
        """Take what a worker has seen so far; what one saw that ended stays counted."""
        if report["digest"] == self.digest:
            self._reports[index, pid] = report

    async def start(self, content: bytes, source: str, by: str) -> dict[str, Any]:
        """Let a candidate decide beside the active revision. It replaces the candidate before.

        Raises:
            ConfigError: the bundle cannot be used.
        """
        candidate = await asyncio.to_thread(candidate_to_watch, content, source, self._generations.config.policy)
        store = self._generations.policies.store
        await asyncio.to_thread(store.put, candidate.content)
        self._forget()
        store.pinned = frozenset({candidate.digest})
        self._candidate = candidate
        self._note("policy.shadow_started", by, candidate)
        self._broadcast({"type": "shadow", "digest": candidate.digest})
        return {"digest": candidate.digest, "revision": candidate.policies.revision}

    async def stop(self, by: str) -> dict[str, Any]:
        """Stop the candidate and return what was seen.

        Raises:
            ConfigError: there is none.
        """
        report = self.report()
        assert self._candidate is not None  # noqa: S101 - `report` found it
        counts = {name: report[name] for name in ("decided", "skipped", "malformed", "changes")}
        self._note("policy.shadow_stopped", by, self._candidate, **counts)
        self._forget()
        self._broadcast({"type": "shadow", "digest": ""})
        return report

    async def promote(self, by: str) -> Activation:
        """Activate the candidate, by the same rules as any other revision, and stop watching it.

        Raises:
            ConfigError: there is none, or it may not be activated; it stays beside the active one.
        """
        self.report()
        assert self._candidate is not None  # noqa: S101 - `report` found it
        candidate = self._candidate
        activation = await self._generations.activate(candidate.content, candidate.source, by)
        if self._candidate is candidate:
            await self.stop(by)
        return activation

    def report(self) -> dict[str, Any]:
        """Return what the workers have seen so far, added up.

        Raises:
            ConfigError: no candidate is watched.
        """
        if self._candidate is None:
            raise ConfigError("No candidate decides beside the active revision: govctl policy shadow start BUNDLE")
        counts: Counter[tuple[str, ...]] = Counter()
        samples: list[Any] = []
        for report in self._reports.values():
            for each in report["differences"]:
                counts[tuple(each[name] for name in _KIND)] += each["count"]
            samples += report["samples"]
        changes: Counter[str] = Counter()
        for kind, count in counts.items():
            changes[kind[0]] += count
        totals = {
            name: sum(report[name] for report in self._reports.values()) for name in ("decided", "skipped", "malformed")
        }
        return {
            "digest": self._candidate.digest,
            "revision": self._candidate.policies.revision,
            **totals,
            "changes": dict(changes),
            "differences": [
                {**dict(zip(_KIND, kind, strict=True)), "count": count} for kind, count in counts.most_common()
            ],
            "samples": samples[:SAMPLES],
        }

    def _forget(self) -> None:
        self._candidate = None
        self._reports.clear()
        self._generations.policies.store.pinned = frozenset()

    def _note(self, record_type: str, by: str, candidate: Candidate, **more: Any) -> None:
        policies = candidate.policies
        policy = {"revision": policies.revision, "data_digest": policies.data_digest}
        fields = {"principal": by, "policy": policy, "bundle_digest": candidate.digest, "source": candidate.source}
        self._audit.append(record_type, {**fields, **more})
