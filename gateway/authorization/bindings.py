"""The index of the bindings: who has which roles at a moment, found without a scan."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from gateway.authorization.policy_data import PolicyData
from gateway.authorization.policy_data_roles import Grant

_Held = TypeVar("_Held")


class TimedRole(NamedTuple):
    """A role from `start` until before `end` (UNIX seconds)."""

    role: str
    start: int
    end: int
    break_glass: bool


class ExpiredGrant(NamedTuple):
    """A grant that is over."""

    subject: str
    grant: Grant


class BindingIndex:
    """Roles by SPIFFE ID, team and kind. One table each: no name of one can pose as another.

    What is bound for good and what is bound for a time are apart, so that whoever has no grant costs no look at a
    clock.
    """

    __slots__ = ("_break_glass", "_for_a_time", "_for_good")

    def __init__(self, tables: PolicyData) -> None:
        self._for_good = _by_subject(tables, lambda binding: binding if isinstance(binding, str) else None)
        self._for_a_time = _by_subject(tables, _timed)
        self._break_glass = any(
            grant.break_glass for table in self._for_a_time for grants in table.values() for grant in grants
        )

    def roles(self, principal_id: str, team: str, kind: str, now: int) -> tuple[str, ...]:
        """Return the sorted roles that the principal holds at `now` (UNIX seconds)."""
        by_id, by_team, by_kind = self._for_good
        roles = {*by_id.get(principal_id, ()), *by_team.get(team, ()), *by_kind.get(kind, ())}
        by_id_timed, by_team_timed, by_kind_timed = self._for_a_time
        if principal_id in by_id_timed or team in by_team_timed or kind in by_kind_timed:
            roles.update(grant.role for grant in self._grants(principal_id, team, kind, now))
        return tuple(sorted(roles))

    def break_glass(self, principal_id: str, team: str, kind: str, now: int) -> tuple[str, ...]:
        """Return the sorted roles that the principal holds at `now` (UNIX seconds) through break-glass alone."""
        if not self._break_glass:
            return ()
        grants = self._grants(principal_id, team, kind, now)
        broken = {grant.role for grant in grants if grant.break_glass}
        if not broken:
            return ()
        by_id, by_team, by_kind = self._for_good
        broken.difference_update(by_id.get(principal_id, ()), by_team.get(team, ()), by_kind.get(kind, ()))
        broken.difference_update(grant.role for grant in grants if not grant.break_glass)
        return tuple(sorted(broken))

    def _grants(self, principal_id: str, team: str, kind: str, now: int) -> list[TimedRole]:
        by_id, by_team, by_kind = self._for_a_time
        grants = (*by_id.get(principal_id, ()), *by_team.get(team, ()), *by_kind.get(kind, ()))
        return [grant for grant in grants if grant.start <= now < grant.end]


def expired_grants(tables: PolicyData, now: int) -> list[ExpiredGrant]:
    """Return the grants that are over at `now` (UNIX seconds): history, which somebody may want to clear."""
    return [
        ExpiredGrant(subject, binding)
        for subject, bindings in tables.bindings.items()
        for binding in bindings
        if isinstance(binding, Grant) and binding.end <= now
    ]


def _timed(binding: str | Grant) -> TimedRole | None:
    if isinstance(binding, str):
        return None
    return TimedRole(binding.role, binding.start, binding.end, binding.break_glass)


def _by_subject(
    tables: PolicyData, held: Callable[[str | Grant], _Held | None]
) -> tuple[Mapping[str, tuple[_Held, ...]], Mapping[str, tuple[_Held, ...]], Mapping[str, tuple[_Held, ...]]]:
    """Return what `held` makes of the bindings of each SPIFFE ID, of each team and of each kind."""
    by_id: dict[str, tuple[_Held, ...]] = {}
    by_team: dict[str, tuple[_Held, ...]] = {}
    by_kind: dict[str, tuple[_Held, ...]] = {}
    for subject, bindings in tables.bindings.items():
        kept = tuple(each for binding in bindings if (each := held(binding)) is not None)
        if not kept:
            continue
        if subject.startswith("spiffe://"):
            by_id[subject] = kept
        elif subject.startswith("team:"):
            by_team[subject.removeprefix("team:")] = kept
        else:
            by_kind[subject.removeprefix("kind:")] = kept
    return by_id, by_team, by_kind
