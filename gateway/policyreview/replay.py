"""Decides recorded calls by two revisions of the policies, each distinct one once, on all cores."""

import multiprocessing
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from gateway.authorization.decision_form import MALFORMED
from gateway.authorization.delegated import intersection
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision
from gateway.authorization.input_paths import input_paths
from gateway.authorization.policy_data_roles import Grant
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.authorization.replaying import looked_up_anew
from gateway.errors import ConfigError
from gateway.policyreview.recorded import RecordedCall

CHUNK = 250
"""Cases handed to a process at a time."""

IN_PROCESS = 2000
"""Up to so many cases are decided in this process: starting others takes longer."""


class ReplayError(ConfigError):
    """The recorded calls could not be decided."""


@dataclass(slots=True)
class Case:
    """Recorded calls that both revisions decide alike: the same input, and no grant begins or ends between them.

    Attributes:
        chain: canonical JSON array of the inputs of every link, the caller's first.
        time: the moment of the last of them (UNIX seconds).
        first: the moment of the first.
        count: how many.
        tokens: tokens charged for them.
        allowed: how many of them were recorded as allowed.
        denied: how many of them were recorded as denied by the policies.
    """

    chain: bytes
    time: int
    first: int
    count: int = 0
    tokens: int = 0
    allowed: int = 0
    denied: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one revision says of a case.

    Attributes:
        decision: the decision for the whole chain.
        roles: the caller's roles under this revision.
    """

    decision: Decision
    roles: tuple[str, ...]

    @property
    def malformed(self) -> bool:
        """Whether the revision gave no usable decision."""
        return MALFORMED in self.decision.reasons


@dataclass(frozen=True, slots=True)
class Replayed:
    """A case, decided by both revisions."""

    case: Case
    base: Verdict
    candidate: Verdict


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How recorded calls are decided.

    Attributes:
        as_recorded: keep roles and system as they were recorded, instead of looking them up in each revision.
        at: look bindings up for this moment instead of that of the call (UNIX seconds).
        jobs: processes; 0: one for each core.
    """

    as_recorded: bool = False
    at: int | None = None
    jobs: int = 0


def cases_of(calls: Iterable[RecordedCall], sets: Sequence[LoadedPolicySet]) -> list[Case]:
    """Group recorded calls into cases, in the order in which they were first seen."""
    bounds = sorted({bound for policies in sets for bound in _grant_bounds(policies)})
    cases: dict[tuple[bytes, int], Case] = {}
    for call in calls:
        key = (call.chain, bisect_right(bounds, call.time))
        case = cases.get(key)
        if case is None:
            case = cases[key] = Case(call.chain, call.time, call.first)
        case.time = max(case.time, call.time)
        case.first = min(case.first, call.first)
        case.count += call.count
        case.tokens += call.tokens
        case.allowed += call.count if call.decision == "allow" else 0
        case.denied += call.count if call.decision == "deny" else 0
    return list(cases.values())


def replay(
    cases: Sequence[Case],
    base: LoadedPolicySet,
    candidate: LoadedPolicySet,
    options: ReplayOptions = ReplayOptions(),
    on_progress: Callable[[int], object] = lambda _done: None,
) -> Iterator[Replayed]:
    """Yield each case with both verdicts, in order.

    Args:
        cases: see `cases_of`.
        base: the revision in force.
        candidate: the revision under review.
        options: how.
        on_progress: told how many more cases are done.

    Raises:
        ReplayError: a process that decides ended.
    """
    work = [[(case.chain, case.time) for case in cases[start : start + CHUNK]] for start in range(0, len(cases), CHUNK)]
    place = 0
    for chunk in _decided(work, len(cases), (base, candidate), options):
        for one, other in chunk.verdicts:
            yield Replayed(cases[place], chunk.table[one], chunk.table[other])
            place += 1
        on_progress(len(chunk.verdicts))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Verdicts of some cases: two indices each into a table of the different ones, so that little is carried over."""

    table: list[Verdict]
    verdicts: list[tuple[int, int]]


class _Judge:
    """Decides chains by one revision, inputs that differ only in what its rules do not read once.

    It belongs to the process that made it.
    """

    def __init__(self, policies: LoadedPolicySet, options: ReplayOptions) -> None:
        self._policies = policies
        self._engine = EmbeddedEngine(policies)
        self._paths = input_paths(policies)
        self._options = options
        self._known: dict[bytes, Decision] = {}

    def verdict(self, chain: list[dict[str, Any]], time: int) -> Verdict:
        now = time if self._options.at is None else self._options.at
        if not self._options.as_recorded:
            chain = [looked_up_anew(self._policies, each, now) for each in chain]
        decision = intersection([self._decide(each) for each in chain])
        return Verdict(decision, tuple(chain[0]["principal"]["roles"]))

    def _decide(self, policy_input: dict[str, Any]) -> Decision:
        try:
            read = self._paths.project(policy_input)
        except TypeError:
            return self._engine.decide_now(policy_input)
        key = blake2b(read, digest_size=32).digest()
        decision = self._known.get(key)
        if decision is None:
            decision = self._known[key] = self._engine.decide_now(policy_input)
        return decision


_judges: tuple[_Judge, _Judge]


def _start(base: LoadedPolicySet, candidate: LoadedPolicySet, options: ReplayOptions) -> None:
    global _judges  # noqa: PLW0603 - a process of the pool keeps its engines between chunks
    _judges = (_Judge(base, options), _Judge(candidate, options))


def _work(chunk: list[tuple[bytes, int]]) -> _Chunk:
    return _decide_chunk(_judges, chunk)


def _decide_chunk(judges: tuple[_Judge, _Judge], chunk: list[tuple[bytes, int]]) -> _Chunk:
    table: list[Verdict] = []
    places: dict[bytes, int] = {}
    verdicts: list[tuple[int, int]] = []
    for content, time in chunk:
        chain = orjson.loads(content)
        one, other = (_place(table, places, judge.verdict(chain, time)) for judge in judges)
        verdicts.append((one, other))
    return _Chunk(table, verdicts)


def _place(table: list[Verdict], places: dict[bytes, int], verdict: Verdict) -> int:
    decision = verdict.decision
    key = orjson.dumps((decision.allow, decision.reasons, decision.obligations, verdict.roles))
    place = places.get(key)
    if place is None:
        place = places[key] = len(table)
        table.append(verdict)
    return place


def _decided(
    work: list[list[tuple[bytes, int]]],
    cases: int,
    sets: tuple[LoadedPolicySet, LoadedPolicySet],
    options: ReplayOptions,
) -> Iterator[_Chunk]:
    jobs = options.jobs or len(os.sched_getaffinity(0))
    if jobs == 1 or cases <= IN_PROCESS:
        judges = (_Judge(sets[0], options), _Judge(sets[1], options))
        yield from (_decide_chunk(judges, chunk) for chunk in work)
        return
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(jobs, spawn, _start, (*sets, options)) as pool:
            yield from pool.map(_work, work)
    except BrokenProcessPool as error:
        raise ReplayError(
            f"A process that decides ended: {error}. There may be too little memory; try fewer processes with --jobs."
        ) from error


def _grant_bounds(policies: LoadedPolicySet) -> Iterator[int]:
    for bindings in policies.tables.bindings.values():
        for binding in bindings:
            if isinstance(binding, Grant):
                yield from (binding.start, binding.end)
