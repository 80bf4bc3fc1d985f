"""The smallest changes under which the policies would allow a call: each is tried, not guessed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import orjson

from gateway.authorization.delegated import intersection
from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.engine import Decision
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.policyreview.candidates import Candidate, candidates

MOST = 2
"""Changes combined at most."""

MAX_TRIED = 4000
"""Combinations tried at most."""

MAX_FOUND = 12
"""Suggestions given at most."""


def suggestions(
    policies: LoadedPolicySet, inputs: Sequence[dict[str, Any]], others: Sequence[Mapping[str, Any]] = ()
) -> list[tuple[str, ...]]:
    """Return sets of changes that would allow the call, the smallest first; none is a part of another.

    Args:
        policies: the policies.
        inputs: of the links of a call that they refuse, the caller's first. Every link has to be allowed.
        others: resources that the call could be about instead, as in an input.
    """
    trial = Trial(policies, inputs)
    # Of a long chain not every pair can be tried: those of whoever is refused, and of the call itself, come first.
    concerned = {"", *trial.refused}
    changes = sorted(candidates(policies, inputs, others), key=lambda each: each.principal not in concerned)
    found: list[frozenset[int]] = []
    tried = 0
    for size in range(1, MOST + 1):
        for chosen in combinations(range(len(changes)), size):
            if len(found) >= MAX_FOUND or tried >= MAX_TRIED:
                break
            picked = [changes[place] for place in chosen]
            if any(each <= set(chosen) for each in found) or len({each.part for each in picked}) < size:
                continue
            tried += 1
            if trial.allows(picked):
                found.append(frozenset(chosen))
    return [tuple(changes[place].text for place in sorted(each)) for each in found]


class Trial:
    """Decides a call with changes made. Belongs to the thread that made it.

    Args:
        policies: the policies.
        inputs: of the links of the call; they stay as they are.

    Attributes:
        refused: SPIFFE IDs of the links that are refused without a change.
    """

    def __init__(self, policies: LoadedPolicySet, inputs: Sequence[dict[str, Any]]) -> None:
        self._policies = policies
        self._engines: dict[tuple[str, ...], EmbeddedEngine] = {}
        engine = self._engine(())
        allowed = [engine.decide_now(each).allow for each in inputs]
        self.refused = frozenset(
            each["principal"]["id"] for each, allow in zip(inputs, allowed, strict=True) if not allow
        )
        # Those that are refused come first: most trials end with them.
        ordered = [each for _, each in sorted(zip(allowed, inputs, strict=True), key=lambda pair: pair[0])]
        self._inputs = orjson.dumps(ordered)
        self._roles = [frozenset(each["principal"]["roles"]) for each in ordered]

    def allows(self, changes: Sequence[Candidate]) -> bool:
        """Return whether the policies allow the call once all of these changes are made."""
        documents = orjson.loads(self._inputs)
        for change in changes:
            for document in documents:
                if change.principal in {"", document["principal"]["id"]}:
                    change.apply(document)
        roles = [frozenset(each["principal"]["roles"]) for each in documents]
        if not all(map(self._possible, self._roles, roles)):
            return False
        engine = self._engine(changes)
        decisions: list[Decision] = []
        for document in documents:
            decisions.append(engine.decide_now(document))
            if not decisions[-1].allow:
                return False
        return intersection(decisions).allow

    def _possible(self, before: frozenset[str], roles: frozenset[str]) -> bool:
        """Whether somebody may hold these roles: bindings of roles that are kept apart are refused."""
        apart = (roles & set(each.roles) for each in self._policies.tables.separation.duties)
        return all(len(held) < 2 or held <= before for held in apart)

    def _engine(self, changes: Sequence[Candidate]) -> EmbeddedEngine:
        changed = [change for change in changes if change.apply_to_tables is not None]
        key = tuple(change.text for change in changed)
        if key not in self._engines:
            policies = self._policies
            if changed:
                data = orjson.loads(policies.data_json)
                for change in changed:
                    if change.apply_to_tables is not None:
                        change.apply_to_tables(data["govgateway"])
                policies = replace(policies, data_json=orjson.dumps(data).decode())
            self._engines[key] = EmbeddedEngine(policies)
        return self._engines[key]
