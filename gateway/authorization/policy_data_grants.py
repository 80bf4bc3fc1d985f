"""Grants of a bounded length that follow each other: those without a pause between them count as one."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from gateway.authorization.policy_data_roles import BREAK_GLASS_SECONDS, Grant

if TYPE_CHECKING:
    from gateway.authorization.policy_data import PolicyData

_HOUR, _DAY = 3600, 86_400


def problems_of_following_grants(tables: "PolicyData", bindings: Sequence[str | Grant]) -> Iterator[str]:
    """Yield each run of grants of one role to one subject that together last longer than one of them may.

    A grant that is alone too long is a problem of its own, and not named here again.

    Args:
        tables: the policy tables.
        bindings: what is bound to the subject.
    """
    pause = tables.separation.grant_pause_hours
    grants = sorted((each for each in bindings if isinstance(each, Grant) and each.not_before), key=_place)
    for name, same in groupby(grants, key=lambda grant: grant.role):
        held = list(same)
        role = tables.roles.get(name)
        if role is not None and role.max_grant_days is not None:
            yield from _too_long(held, role.max_grant_days * _DAY, pause, f"grants of {name!r}")
        broken = [grant for grant in held if grant.break_glass]
        yield from _too_long(broken, BREAK_GLASS_SECONDS, pause, f"break-glass grants of {name!r}")


def _place(grant: Grant) -> tuple[str, int, int]:
    return grant.role, grant.start, grant.end


def _too_long(grants: Sequence[Grant], longest: int, pause: int, what: str) -> Iterator[str]:
    for run in _runs(grants, pause * _HOUR):
        held = _covered(run)
        if len(run) > 1 and held > longest and all(grant.end - grant.start <= longest for grant in run):
            periods = ", ".join(f"{grant.not_before} to {grant.not_after}" for grant in run)
            yield (
                f"the {what} ({periods}) count as one, with less than {pause} h between them "
                f"(separation: grant_pause_hours); together they last {_hours(held)} h, longer than the "
                f"{_hours(longest)} h that one may. End them sooner, or have the role granted in the ordinary way"
            )


def _runs(grants: Sequence[Grant], pause: int) -> Iterator[list[Grant]]:
    """Yield the grants, which are in order of their start, in runs with less than `pause` seconds inside."""
    run: list[Grant] = []
    end = 0
    for grant in grants:
        if run and grant.start - end >= pause:
            yield run
            run = []
        run.append(grant)
        end = max(end, grant.end) if len(run) > 1 else grant.end
    if run:
        yield run


def _covered(run: Sequence[Grant]) -> int:
    """Return for how long one of the grants holds (seconds); what overlaps counts once."""
    total = end = 0
    for grant in run:
        total += max(0, grant.end - max(grant.start, end))
        end = max(end, grant.end)
    return total


def _hours(seconds: int) -> str:
    return f"{seconds / _HOUR:.2f}".rstrip("0").rstrip(".")
