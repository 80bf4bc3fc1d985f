"""Whom a change of the policies hits: what two revisions say of the calls that were made, as plain data."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.authorization.policy_set import LoadedPolicySet
from gateway.policyreview.differences import Differences, differences
from gateway.policyreview.grants import Granted, granting_roles
from gateway.policyreview.impact_limits import LimitChange, limit_changes
from gateway.policyreview.impact_obligations import ObligationChange, Obligations
from gateway.policyreview.replay import Replayed, Verdict
from gateway.policyreview.revisions import Revision

ALLOW_TO_DENY = "allow-to-deny"
DENY_TO_ALLOW = "deny-to-allow"

EXAMPLES = 3
"""Examples kept of one group."""

MAX_EXAMPLES = 300
"""Examples kept in one report."""

Who = tuple[str, str, str]
"""SPIFFE ID, team and kind of a principal."""


@dataclass(slots=True)
class Count:
    """How much: decisions, the different inputs among them, tokens charged, and the time between (UNIX seconds)."""

    decisions: int = 0
    inputs: int = 0
    tokens: int = 0
    first: int = 0
    last: int = 0

    def add(self, replayed: Replayed) -> None:
        """Count a case in."""
        case = replayed.case
        self.first = min(self.first, case.first) if self.inputs else case.first
        self.last = max(self.last, case.time)
        self.decisions += case.count
        self.inputs += 1
        self.tokens += case.tokens


@dataclass(frozen=True, slots=True)
class Example:
    """One recorded input of a group.

    Attributes:
        time: when it was recorded last (UNIX seconds).
        inputs: the inputs of every link, as recorded, the caller's first.
        base, candidate: what the revisions say of it, with the roles that they give the caller.
    """

    time: int
    inputs: list[dict[str, Any]]
    base: Verdict
    candidate: Verdict


@dataclass(frozen=True, slots=True)
class Flip:
    """Recorded decisions that turn, of one principal, on one resource, by one rule.

    Attributes:
        change: `allow-to-deny` or `deny-to-allow`.
        who: the caller.
        action: what it did.
        resource: on what.
        reasons: the reason codes of the deny, the new one or the one that is gone.
        roles: the roles that grant the call under the revision that allows it.
    """

    change: str
    who: Who
    action: str
    resource: str
    reasons: tuple[str, ...]
    roles: tuple[str, ...]
    count: Count = field(default_factory=Count, compare=False)
    examples: list[Example] = field(default_factory=list, compare=False)


@dataclass(frozen=True, slots=True)
class LostAccess:
    """A model that a principal used and cannot use any more in any recorded way."""

    who: Who
    model: str
    count: Count


@dataclass(frozen=True, slots=True)
class NewAccess:
    """Something newly granted, and how many recorded calls that were refused it lets through (0: nobody asked)."""

    granted: Granted
    decisions: int


@dataclass(frozen=True, slots=True)
class Violation:
    """A principal seen that holds roles which are kept apart.

    Attributes:
        duties: name of the rule.
        roles: those of its roles that it may not hold together.
        why: the rule's reason.
        new: whether only the candidate has it so.
    """

    who: Who
    duties: str
    roles: tuple[str, ...]
    why: str
    new: bool


@dataclass(frozen=True, slots=True)
class Undecided:
    """Inputs of one principal that neither revision can decide."""

    who: Who
    action: str
    resource: str
    count: Count
    examples: list[Example]


@dataclass(frozen=True, slots=True)
class Impact:
    """What a change does to the calls that were made. Groups are sorted, the largest first.

    Attributes:
        differences: what changed in the policies.
        recorded: all decisions that were replayed.
        reproduced: decisions recorded as made by policies that the base replays as they were recorded.
        departing: those that it replays otherwise: it is not the revision that made them.
        principals: callers seen.
    """

    differences: Differences
    recorded: Count
    reproduced: int
    departing: int
    principals: int
    flips: tuple[Flip, ...]
    obligations: tuple[ObligationChange, ...]
    limits: tuple[LimitChange, ...]
    lost_access: tuple[LostAccess, ...]
    new_access: tuple[NewAccess, ...]
    violations: tuple[Violation, ...]
    undecided: tuple[Undecided, ...]

    def counts(self) -> dict[str, int]:
        """Return the figures that thresholds, and the manifest of a bundle, are about."""
        return {
            "recorded": self.recorded.decisions,
            "allow_to_deny": sum(each.count.decisions for each in self.flips if each.change == ALLOW_TO_DENY),
            "deny_to_allow": sum(each.count.decisions for each in self.flips if each.change == DENY_TO_ALLOW),
            "obligations": sum(each.decisions for each in self.obligations),
            "limits": sum(len(each.principals) for each in self.limits),
            "lost_access": len(self.lost_access),
            "new_access": len(self.new_access),
            "separation_of_duties": sum(each.new for each in self.violations),
            "undecided": sum(each.count.decisions for each in self.undecided),
            "tokens": sum(each.count.tokens for each in self.flips if each.change == ALLOW_TO_DENY),
        }


def assess(replayed: Iterable[Replayed], base: Revision, candidate: Revision, *, now: int) -> Impact:
    """Return what the replayed calls show.

    Args:
        replayed: see `gateway.policyreview.replay.replay`.
        base: the revision in force.
        candidate: the revision under review.
        now: grants are looked at for this moment, too (UNIX seconds).
    """
    collected = _Collector(base, candidate)
    for each in replayed:
        collected.add(each)
    return collected.impact(now)


class _Collector:
    def __init__(self, base: Revision, candidate: Revision) -> None:
        self._base = base
        self._candidate = candidate
        self._recorded = Count()
        self._reproduced = self._departing = 0
        self._flips: dict[Flip, Flip] = {}
        self._undecided: dict[tuple[Who, str, str], Undecided] = {}
        self._obligations = Obligations()
        self._seen: dict[Who, int] = {}
        self._used: dict[tuple[Who, str], Count] = {}
        self._usable: set[tuple[Who, str]] = set()
        self._examples = 0

    def add(self, replayed: Replayed) -> None:
        case, base, candidate = replayed.case, replayed.base, replayed.candidate
        inputs = orjson.loads(case.chain)
        caller, action, resource = inputs[0]["principal"], inputs[0]["action"], inputs[0]["resource"]["id"]
        who = (caller["id"], caller["team"], caller["kind"])
        self._recorded.add(replayed)
        self._reproduced += case.allowed if base.decision.allow else case.denied
        self._departing += case.denied if base.decision.allow else case.allowed
        for each in inputs:
            principal = (each["principal"]["id"], each["principal"]["team"], each["principal"]["kind"])
            self._seen[principal] = max(case.time, self._seen.get(principal, 0))
        self._note_use(replayed, who, action, resource)
        if base.malformed and candidate.malformed:
            group = self._undecided.setdefault((who, action, resource), Undecided(who, action, resource, Count(), []))
            group.count.add(replayed)
            self._keep(group.examples, replayed, inputs)
        elif base.decision.allow != candidate.decision.allow:
            self._flip(replayed, who, action, resource, inputs)
        elif base.decision.allow:
            self._obligations.add(replayed, who[0], action, resource)

    def impact(self, now: int) -> Impact:
        changes = differences(self._base, self._candidate)
        flips = sorted(self._flips.values(), key=lambda flip: (-flip.count.decisions, flip.change, *_key(flip)))
        lost = [LostAccess(who, model, c) for (who, model), c in self._used.items() if (who, model) not in self._usable]
        one, other = self._base.policies, self._candidate.policies
        return Impact(
            differences=changes,
            recorded=self._recorded,
            reproduced=self._reproduced,
            departing=self._departing,
            principals=len(self._seen),
            flips=tuple(flips),
            obligations=self._obligations.changes(),
            limits=limit_changes(one, other, sorted(self._seen)),
            lost_access=tuple(sorted(lost, key=lambda each: (-each.count.decisions, each.who, each.model))),
            new_access=tuple(_new_access(changes.new_access, flips)),
            violations=tuple(_violations(one, other, self._seen, now)),
            undecided=tuple(sorted(self._undecided.values(), key=lambda each: (-each.count.decisions, each.who))),
        )

    def _note_use(self, replayed: Replayed, who: Who, action: str, resource: str) -> None:
        """Note the use of a model; looking at the list of models is none."""
        if not action.startswith("model.") or action == "model.list" or not resource:
            return
        if replayed.base.decision.allow:
            self._used.setdefault((who, resource), Count()).add(replayed)
        if replayed.candidate.decision.allow:
            self._usable.add((who, resource))

    def _flip(self, replayed: Replayed, who: Who, action: str, resource: str, inputs: list[dict[str, Any]]) -> None:
        base, candidate = replayed.base, replayed.candidate
        lost = base.decision.allow
        allowing, roles = (self._base, base.roles) if lost else (self._candidate, candidate.roles)
        flip = Flip(
            ALLOW_TO_DENY if lost else DENY_TO_ALLOW,
            who,
            action,
            resource,
            (candidate if lost else base).decision.reasons,
            granting_roles(allowing.policies.tables, roles, who[2], action, resource),
        )
        flip = self._flips.setdefault(flip, flip)
        flip.count.add(replayed)
        self._keep(flip.examples, replayed, inputs)

    def _keep(self, examples: list[Example], replayed: Replayed, inputs: list[dict[str, Any]]) -> None:
        if len(examples) < EXAMPLES and self._examples < MAX_EXAMPLES:
            self._examples += 1
            examples.append(Example(replayed.case.time, inputs, replayed.base, replayed.candidate))


def _key(flip: Flip) -> tuple[Any, ...]:
    return (flip.who, flip.action, flip.resource, flip.reasons, flip.roles)


def _new_access(new_access: Sequence[Granted], flips: Iterable[Flip]) -> list[NewAccess]:
    asked: dict[tuple[str, str], Counter[str]] = {}
    for flip in flips:
        if flip.change == DENY_TO_ALLOW:
            for subject in (flip.who[0], f"team:{flip.who[1]}", f"kind:{flip.who[2]}"):
                asked.setdefault((subject, flip.action), Counter())[flip.resource] += flip.count.decisions
    return [
        NewAccess(
            each, sum(n for resource, n in asked.get((each.subject, each.action), {}).items() if each.on(resource))
        )
        for each in new_access
    ]


def _violations(base: LoadedPolicySet, candidate: LoadedPolicySet, seen: dict[Who, int], now: int) -> list[Violation]:
    """Return the violations by the principals seen, when they were seen last and at `now`."""
    found: set[tuple[Who, str, tuple[str, ...], str]] = set()
    before: set[tuple[Who, str]] = set()
    for who, last in sorted(seen.items()):
        for moment in (last, now):
            before |= {(who, name) for name, _, _ in _held_apart(base, who, moment)}
            found |= {(who, *each) for each in _held_apart(candidate, who, moment)}
    return [Violation(who, name, roles, why, (who, name) not in before) for who, name, roles, why in sorted(found)]


def _held_apart(policies: LoadedPolicySet, who: Who, moment: int) -> list[tuple[str, tuple[str, ...], str]]:
    held = set(policies.roles_of(*who, now=moment))
    return [
        (duties.name, tuple(sorted(held & set(duties.roles))), duties.why)
        for duties in policies.tables.separation.duties
        if len(held & set(duties.roles)) > 1
    ]
