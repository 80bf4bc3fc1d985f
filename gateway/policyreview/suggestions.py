"""The smallest changes under which the policies would allow a call: each is tried, not guessed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import orjson

from gateway.authorization.embedded import EmbeddedEngine
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.policyreview.candidates import Candidate, candidates

MOST = 2
"""Changes combined at most."""

MAX_TRIED = 4000
"""Combinations tried at most."""

MAX_FOUND = 12
"""Suggestions given at most."""


def suggestions(
    policies: LoadedPolicySet, policy_input: dict[str, Any], others: Sequence[Mapping[str, Any]] = ()
) -> list[tuple[str, ...]]:
    """Return sets of changes that would allow the call, the smallest first; none is a part of another.

    Args:
        policies: the policies.
        policy_input: of a call that they refuse.
        others: resources that the call could be about instead, as in an input.
    """
    changes = list(candidates(policies, policy_input, others))
    trial = Trial(policies, policy_input)
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
        policy_input: of the call; it stays as it is.
    """

    def __init__(self, policies: LoadedPolicySet, policy_input: dict[str, Any]) -> None:
        self._policies = policies
        self._input = orjson.dumps(policy_input)
        self._engines: dict[tuple[str, ...], EmbeddedEngine] = {}

    def allows(self, changes: Sequence[Candidate]) -> bool:
        """Return whether the policies allow the call once all of these changes are made."""
        document = orjson.loads(self._input)
        for change in changes:
            change.apply(document)
        return self._possible(document["principal"]["roles"]) and self._engine(changes).decide_now(document).allow

    def _possible(self, roles: Sequence[str]) -> bool:
        """Whether somebody may hold these roles: bindings of roles that are kept apart are refused."""
        duties = self._policies.tables.separation.duties
        before = set(orjson.loads(self._input)["principal"]["roles"])
        return all(len(set(each.roles) & set(roles)) < 2 or set(each.roles) & set(roles) <= before for each in duties)

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
