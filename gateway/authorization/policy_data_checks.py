"""The checks between the policy tables: what one of them says must make sense beside the others."""

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from gateway.authorization.policy_data_base import KINDS, did_you_mean
from gateway.authorization.policy_data_grants import problems_of_following_grants
from gateway.authorization.policy_data_roles import Duties, Grant, role_of
from gateway.authorization.policy_data_systems import RegisteredSystem
from gateway.people import as_written, person
from identity.spiffe_id import SpiffeId, SpiffeIdError

if TYPE_CHECKING:
    from gateway.authorization.policy_data import PolicyData

Problem = tuple[str, str, str]
"""Table, place in it, and what is wrong there."""

_DAY = 86_400


def problems_between(tables: "PolicyData") -> Iterator[Problem]:
    """Yield every contradiction between the tables."""
    for subject, bindings in tables.bindings.items():
        problem = _subject_problem(subject)
        if problem:
            yield "bindings", subject, problem
        for binding in bindings:
            for text in _binding_problems(tables, subject, binding):
                yield "bindings", subject, text
        for text in (*_conflicts(tables, bindings), *problems_of_following_grants(tables, bindings)):
            yield "bindings", subject, text
    yield from _separation_problems(tables)
    yield from _class_problems(tables)
    for system, entry in tables.systems.items():
        for key, text in _act_problems(tables, entry):
            yield "systems", f"{system}.{key}", text
    yield from _model_problems(tables)


def _subject_problem(subject: str) -> str:
    if subject.startswith("spiffe://"):
        try:
            SpiffeId.parse(subject)
        except SpiffeIdError as error:
            return str(error)
        return ""
    prefix, _, name = subject.partition(":")
    if prefix == "team" and name:
        plain = f"team:{as_written(name)}"
        return "" if subject == plain else f"{subject!a} is not written plainly; write {plain!a}"
    if prefix == "kind" and name:
        return "" if name in KINDS else f"{name!r} is not a kind; kinds are {', '.join(KINDS)}"
    return "a subject is a SPIFFE ID (spiffe://…), team:<name> or kind:<kind>"


def _binding_problems(tables: "PolicyData", subject: str, binding: str | Grant) -> Iterator[str]:
    name = role_of(binding)
    role = tables.roles.get(name)
    if role is None:
        yield f"there is no role {name!r}; {did_you_mean(name, tables.roles, 'roles')}"
        return
    kind = subject.removeprefix("kind:")
    if subject.startswith("kind:") and role.kinds is not None and kind not in role.kinds:
        yield f"the role {name!r} is for {', '.join(role.kinds)} and grants nothing to {kind}"
    if isinstance(binding, Grant) and person(binding.approved_by) == person(subject):
        yield f"the grant of {name!r} is approved by its own subject; somebody else approves it"
    if role.max_grant_days is None:
        return
    days = f"{role.max_grant_days} day{'s' if role.max_grant_days > 1 else ''}"
    if isinstance(binding, str):
        yield (
            f"the role {name!r} is granted for at most {days}, so this grant needs an end: "
            f"{{role: {name}, not_before, not_after, reason, approved_by}}"
        )
    elif binding.not_before is None:
        yield f"the grant of {name!r} needs not_before: the role is granted for at most {days}"
    elif binding.end - binding.start > role.max_grant_days * _DAY:
        yield f"the grant of {name!r} lasts longer than the {days} its role allows; end it sooner"


def _conflicts(tables: "PolicyData", bindings: list[str | Grant]) -> Iterator[str]:
    """Yield each pair of roles that the subject may not hold at one time."""
    for duties in tables.separation.duties:
        for one, other in combinations(bindings, 2):
            if _conflict(duties, one, other):
                yield (
                    f"the roles {role_of(one)!r} and {role_of(other)!r} are kept apart ({duties.name}): "
                    f"{duties.why.rstrip('.')}. Bind one of them to somebody else"
                )


def _conflict(duties: Duties, one: str | Grant, other: str | Grant) -> bool:
    if role_of(one) == role_of(other) or not {role_of(one), role_of(other)} <= set(duties.roles):
        return False
    if isinstance(one, str) or isinstance(other, str):
        # A past grant beside a role for good: whoever had it then held both.
        return True
    return one.start < other.end and other.start < one.end


def _separation_problems(tables: "PolicyData") -> Iterator[Problem]:
    names = [duties.name for duties in tables.separation.duties]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "separation", "duties", f"{name} is given twice"
    for duties in tables.separation.duties:
        if len(set(duties.roles)) != len(duties.roles):
            yield "separation", f"duties.{duties.name}", "a role is named twice"
        for role in duties.roles:
            if role not in tables.roles:
                hint = did_you_mean(role, tables.roles, "roles")
                yield "separation", f"duties.{duties.name}", f"there is no role {role!r}; {hint}"


def _class_problems(tables: "PolicyData") -> Iterator[Problem]:
    known = tables.regions.data_classes
    for system, entry in tables.systems.items():
        for name in entry.data_classes:
            if name not in known:
                yield "systems", system, f"data_classes: {name!r} is not in the table of regions; add it there"


def _act_problems(tables: "PolicyData", system: RegisteredSystem) -> Iterator[tuple[str, str]]:
    """Yield key and text of what an entry says of itself that cannot be true at one time."""
    for practice in system.practices:
        if practice not in tables.ai_act.practices:
            hint = did_you_mean(practice, tables.ai_act.practices, "practices")
            yield "practices", f"{practice!r} is not a practice of the table ai_act; {hint}"
    if system.annex_iii is None:
        if system.exception is not None:
            yield "exception", "there is nothing to except: annex_iii names no area"
        return
    if system.annex_iii not in tables.ai_act.annex_iii:
        hint = did_you_mean(system.annex_iii, tables.ai_act.annex_iii, "areas")
        yield "annex_iii", f"{system.annex_iii!r} is not an area of the table ai_act; {hint}"
    if system.exception is not None:
        if system.profiling:
            yield "exception", "a system that profiles people is never excepted (Article 6(3)); remove the exception"
    elif system.risk in {"minimal", "limited"}:
        text = (
            f"{system.risk!r} understates it: annex_iii names the area {system.annex_iii!r}, so the system is "
            "high-risk; write risk: high, or an exception with article, reason and assessed_by"
        )
        yield "risk", text


def _model_problems(tables: "PolicyData") -> Iterator[Problem]:
    for model, bounds in tables.models.items():
        for name in bounds.data_classes or ():
            if name not in tables.regions.data_classes:
                yield "models", model, f"data_classes: {name!r} is not in the table of regions; add it there"
        for name in bounds.systems or ():
            if name not in tables.systems:
                hint = did_you_mean(name, tables.systems, "systems")
                yield "models", model, f"systems: there is no system {name!r}; {hint}"
