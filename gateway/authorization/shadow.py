"""A candidate revision that is asked about live calls beside the active one: differences are counted, nothing obeys it.

Calls only put their input into a bounded queue. A thread of its own decides by the candidate, with an engine that
belongs to that thread; when it cannot keep up, calls are left out and counted.
"""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.authorization.delegated import intersection
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision, PolicyInput
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.replaying import decided_anew
from gateway.clock import NANOSECONDS, Clock

QUEUED = 2000
"""Calls that may wait for the candidate; more are left out."""

GROUPS = 500
"""Kinds of difference told apart; further ones are counted together."""

SAMPLES = 20
"""Differences kept whole."""

OTHERS = "(others)"


def _ignore(_change: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Difference:
    """A kind of difference: who, what, and how the two revisions decide.

    Attributes:
        change: `allow-to-deny`, `deny-to-allow`, `obligations` or `reasons`.
        reason: the reason code that is new, or gone.
    """

    change: str
    principal: str
    action: str
    resource: str
    reason: str


@dataclass(slots=True)
class ShadowReport:
    """What was seen so far.

    Attributes:
        decided: calls decided by both.
        skipped: calls left out because the candidate could not keep up.
        malformed: calls for which the candidate gave no usable decision; they count as denied by it.
        differences: counts by kind.
        samples: some inputs that are decided differently.
    """

    decided: int = 0
    skipped: int = 0
    malformed: int = 0
    differences: Counter[Difference] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "decided": self.decided,
            "skipped": self.skipped,
            "malformed": self.malformed,
            "differences": [
                {
                    "change": each.change,
                    "principal": each.principal,
                    "action": each.action,
                    "resource": each.resource,
                    "reason": each.reason,
                    "count": count,
                }
                for each, count in self.differences.most_common()
            ],
            "samples": list(self.samples),
        }


class Shadow:
    """Decides by a candidate in a thread of its own.

    Args:
        policies: the candidate.
        digest: of its bundle.
        clock: the time, for grants that end.
        on_decided: told of each call decided by both what differed, `none` if nothing did; from the candidate's thread.
    """

    def __init__(
        self, policies: LoadedPolicySet, digest: str, clock: Clock, on_decided: Callable[[str], None] = _ignore
    ) -> None:
        self.digest = digest
        self.revision = policies.revision
        self._policies = policies
        self._clock = clock
        self._on_decided = on_decided
        self._queue: queue.Queue[tuple[Sequence[PolicyInput], Decision, int] | None] = queue.Queue(QUEUED)
        self._report = ShadowReport()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="policy-shadow", daemon=True)
        self._thread.start()

    def offer(self, inputs: Sequence[PolicyInput], decision: Decision) -> None:
        """Have a call decided by the candidate as well, some time. Costs the call next to nothing.

        Args:
            inputs: the policy input of each link of the chain, the caller's first.
            decision: what was decided.
        """
        try:
            self._queue.put_nowait((inputs, decision, self._clock() // NANOSECONDS))
        except queue.Full:
            self._report.skipped += 1

    @property
    def seen(self) -> int:
        """Calls decided or left out so far."""
        return self._report.decided + self._report.skipped

    def report(self) -> dict[str, Any]:
        """Return what was seen so far, as JSON values."""
        with self._lock:
            return {"digest": self.digest, "revision": self.revision, **self._report.document()}

    def stop(self) -> None:
        """End the thread; what waits is left out."""
        while True:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                try:
                    self._queue.get_nowait()
                except queue.Empty:
                    continue
            else:
                break
        self._thread.join()

    def _run(self) -> None:
        engine = EmbeddedEngine(self._policies)
        while (item := self._queue.get()) is not None:
            inputs, decision, now = item
            malformed = engine.malformed
            anew = intersection([decided_anew(engine, self._policies, each, now) for each in inputs])
            with self._lock:
                self._report.malformed += engine.malformed > malformed
                self._note(inputs[0], decision, anew)

    def _note(self, policy_input: PolicyInput, decision: Decision, anew: Decision) -> None:
        self._report.decided += 1
        found = compare(decision, anew)
        self._on_decided("none" if found is None else found[0])
        if found is None:
            return
        change, reason = found
        resource = policy_input["resource"]
        difference = Difference(change, policy_input["principal"]["id"], policy_input["action"], resource["id"], reason)
        if difference not in self._report.differences and len(self._report.differences) >= GROUPS:
            difference = Difference(change, OTHERS, OTHERS, OTHERS, reason)
        self._report.differences[difference] += 1
        if len(self._report.samples) < SAMPLES:
            sample = {"input": policy_input, "active": _shown(decision), "candidate": _shown(anew)}
            self._report.samples.append({"change": change, "reason": reason, **sample})


def compare(decision: Decision, anew: Decision) -> tuple[str, str] | None:
    """Return how two decisions differ and by which reason code, None if they say the same.

    How long they may be cached says nothing about the call and does not count.
    """
    if decision.allow != anew.allow:
        denied = anew if decision.allow else decision
        reason = denied.reasons[0] if denied.reasons else ""
        return ("allow-to-deny" if decision.allow else "deny-to-allow"), reason
    if decision.allow and _obligations(decision) != _obligations(anew):
        return "obligations", ""
    if set(decision.reasons) != set(anew.reasons):
        new = sorted(set(anew.reasons) - set(decision.reasons)) or sorted(set(decision.reasons) - set(anew.reasons))
        return "reasons", new[0]
    return None


def _obligations(decision: Decision) -> list[list[tuple[str, Any]]]:
    return sorted(sorted(each.items()) for each in decision.obligations)


def _shown(decision: Decision) -> dict[str, Any]:
    obligations: list[Mapping[str, Any]] = list(decision.obligations)
    return {"allow": decision.allow, "reasons": list(decision.reasons), "obligations": obligations}
