"""What is wrong with the inventory: identities that nobody uses, owns, reviews or trims. Plain functions, no I/O.

| finding         | means                                                                     |
| --------------- | ------------------------------------------------------------------------- |
| dormant         | stands, and did not call for long                                         |
| orphaned        | its owner is not among those known                                        |
| over-privileged | may do what it never did; a binding to what it does is proposed           |
| expiring        | it, or an entry for it, ends soon                                         |
| unreviewed      | nobody confirmed in time that it is still needed                          |
| unknown-caller  | called, and is not registered                                             |
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from identity.entries import Entry
from identity.registry.inventory import Agent
from identity.registry.usage import Usage

FINDINGS = ("unknown-caller", "orphaned", "over-privileged", "dormant", "expiring", "unreviewed")

_DAY = 86_400
_STANDING = frozenset({"active", "pending"})

_NOT_COUNTED = frozenset({"identity.renew"})
"""Actions that are no calls: calls do not tell whether they are used, so a proposal leaves them as they are."""


@dataclass(frozen=True, slots=True)
class Rules:
    """From when on something is a finding, in seconds.

    Attributes:
        dormant: without a call for so long, or since it was registered.
        expiring: ends within so long.
        review: a review is due so long after the last, where no date is set.
        observation: an identity is watched for so long before what it does not use counts against it.
    """

    dormant: int = 30 * _DAY
    expiring: int = 14 * _DAY
    review: int = 180 * _DAY
    observation: int = 14 * _DAY


@dataclass(frozen=True, slots=True)
class Permission:
    """Something an identity may do: actions on resources, in which * stands for any text, granted by a role."""

    role: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnknownCaller:
    """A caller that is not registered. `last_seen` is UNIX seconds."""

    id: str
    calls: int
    last_seen: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        finding: one of `FINDINGS`.
        id: SPIFFE ID.
        detail: what was found, in words.
        remedy: what to do about it.
        proposal: for an over-privileged identity, a role and its binding that allow what it uses and no more.
        unused: for an over-privileged identity, the permissions it never used, as `action resource`.
    """

    finding: str
    id: str
    detail: str
    remedy: str
    proposal: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()


def find(
    agents: Iterable[Agent],
    usage: Iterable[Usage],
    permissions: Mapping[str, Sequence[Permission]],
    now: int,
    *,
    owners: Collection[str] | None = None,
    entries: Iterable[Entry] = (),
    unknown: Iterable[UnknownCaller] = (),
    rules: Rules | None = None,
) -> list[Finding]:
    """Return every finding, by kind in the order of `FINDINGS`, then by SPIFFE ID.

    Args:
        agents: the inventory.
        usage: what was called; calls of IDs that are not in the inventory are unknown callers.
        permissions: what each identity may do, by SPIFFE ID.
        now: UNIX seconds.
        owners: the known owners; None where nobody keeps such a list, and then nothing is orphaned.
        entries: registration entries.
        unknown: callers that were refused because they are not registered.
        rules: from when on something is a finding.
    """
    rules = rules or Rules()
    known = {agent.id: agent for agent in agents}
    used: dict[str, list[Usage]] = {}
    for row in usage:
        used.setdefault(row.id, []).append(row)
    standing = [agent for agent in known.values() if agent.status in _STANDING]
    found = [
        *unknown_callers(known, used, unknown),
        *([] if owners is None else orphaned(known.values(), owners)),
        *over_privileged(standing, used, permissions, now, rules),
        *dormant(standing, now, rules),
        *expiring(standing, entries, now, rules),
        *unreviewed(standing, now, rules),
    ]
    return sorted(found, key=lambda each: (FINDINGS.index(each.finding), each.id, each.detail))


def dormant(agents: Iterable[Agent], now: int, rules: Rules) -> list[Finding]:
    """Return the active identities that did not call for `rules.dormant` seconds."""
    found = []
    for agent in agents:
        quiet = now - max(agent.last_seen, agent.created_at)
        if agent.status == "active" and quiet >= rules.dormant:
            since = f"for {quiet // _DAY} days" if agent.last_seen else "since it was registered"
            found.append(
                Finding(
                    "dormant", agent.id, f"no call {since}", f"ask {agent.owner}; or: govctl agent suspend {agent.id}"
                )
            )
    return found


def orphaned(agents: Iterable[Agent], owners: Collection[str]) -> list[Finding]:
    """Return the identities, except retired ones, whose owner is not among `owners`."""
    known = {owner.strip().casefold() for owner in owners}
    return [
        Finding(
            "orphaned",
            agent.id,
            f"its owner {agent.owner} is not known",
            f"govctl agent update {agent.id} --owner NAME, or retire it",
        )
        for agent in agents
        if agent.status != "retired" and agent.owner.strip().casefold() not in known
    ]


def over_privileged(
    agents: Iterable[Agent],
    used: Mapping[str, Sequence[Usage]],
    permissions: Mapping[str, Sequence[Permission]],
    now: int,
    rules: Rules,
) -> list[Finding]:
    """Return the identities that may do what they never did, each with a binding to what they do.

    Those registered less than `rules.observation` seconds ago are left out, and so are those that never called: they
    are dormant.
    """
    found = []
    for agent in agents:
        calls = used.get(agent.id, ())
        if now - agent.created_at < rules.observation or not calls:
            continue
        granted = permissions.get(agent.id, ())
        unused = unused_permissions(granted, calls)
        if unused:
            found.append(
                Finding(
                    "over-privileged",
                    agent.id,
                    f"{len(unused)} of its permissions were never used",
                    "bind it to a role that grants what it uses",
                    tighter_binding(agent.id, granted, calls),
                    unused,
                )
            )
    return found


def unused_permissions(granted: Iterable[Permission], calls: Iterable[Usage]) -> tuple[str, ...]:
    """Return each granted `action resource` that no call used, sorted."""
    seen = {(call.action, call.resource) for call in calls}
    return tuple(
        sorted(
            {
                f"{action} {pattern}"
                for permission in granted
                for action in permission.actions
                if action not in _NOT_COUNTED
                for pattern in permission.resources
                if not any(action == done and _covers(pattern, resource) for done, resource in seen)
            }
        )
    )


def tighter_binding(spiffe_id: str, granted: Iterable[Permission], calls: Iterable[Usage]) -> dict[str, Any]:
    """Return a role and its binding that allow the calls that are granted, and nothing else.

    Calls that nothing grants any more are not brought back.
    """
    granted = list(granted)
    resources: dict[str, set[str]] = {}
    for call in calls:
        if any(
            call.action in permission.actions
            and any(_covers(pattern, call.resource) for pattern in permission.resources)
            for permission in granted
        ):
            resources.setdefault(call.action, set()).add(call.resource)
    for permission in granted:
        for action in _NOT_COUNTED.intersection(permission.actions):
            resources.setdefault(action, set()).update(permission.resources)
    together: dict[tuple[str, ...], list[str]] = {}
    for action, names in sorted(resources.items()):
        together.setdefault(tuple(sorted(names)), []).append(action)
    role = re.sub("[^A-Za-z0-9._-]+", "-", spiffe_id.partition("://")[2].partition("/")[2])[:95].strip("-.") + "-used"
    return {
        "roles": {
            role: {
                "description": f"What {spiffe_id} uses.",
                "permissions": [{"actions": actions, "resources": list(names)} for names, actions in together.items()],
            }
        },
        "bindings": {spiffe_id: [role]},
    }


def expiring(agents: Iterable[Agent], entries: Iterable[Entry], now: int, rules: Rules) -> list[Finding]:
    """Return what ends within `rules.expiring` seconds, or has ended and was not taken away."""
    found = [
        Finding(
            "expiring",
            agent.id,
            _ending("its registration", agent.expires_at, now),
            f"govctl agent update {agent.id} --expires 90d",
        )
        for agent in agents
        if agent.expires_at and agent.expires_at - now <= rules.expiring
    ]
    return found + [
        Finding(
            "expiring",
            entry.spiffe_id,
            _ending(f"the entry {entry.entry_id}", entry.expires_at, now),
            f"govctl entry update {entry.entry_id} --expires 90d, or delete it",
        )
        for entry in entries
        if entry.expires_at and entry.expires_at - now <= rules.expiring
    ]


def unreviewed(agents: Iterable[Agent], now: int, rules: Rules) -> list[Finding]:
    """Return the identities whose review is due."""
    found = []
    for agent in agents:
        due = agent.review_due or max(agent.created_at, agent.last_reviewed) + rules.review
        if now >= due:
            last = f"{(now - agent.last_reviewed) // _DAY} days ago" if agent.last_reviewed else "never"
            found.append(
                Finding("unreviewed", agent.id, f"a review is due; the last was: {last}", "govctl agent review start")
            )
    return found


def unknown_callers(
    known: Collection[str], used: Mapping[str, Sequence[Usage]], unknown: Iterable[UnknownCaller]
) -> list[Finding]:
    """Return the callers that are not registered, each once."""
    calls: dict[str, int] = {}
    for caller in unknown:
        calls[caller.id] = calls.get(caller.id, 0) + caller.calls
    for spiffe_id, rows in used.items():
        calls[spiffe_id] = calls.get(spiffe_id, 0) + sum(row.calls for row in rows)
    return [
        Finding(
            "unknown-caller", spiffe_id, f"called {count} times and is not registered", "register it, or find out why"
        )
        for spiffe_id, count in calls.items()
        if spiffe_id not in known
    ]


def _ending(what: str, end: int, now: int) -> str:
    return f"{what} has ended" if end <= now else f"{what} ends in {(end - now) // _DAY} days"


def _covers(pattern: str, resource: str) -> bool:
    return pattern == resource or ("*" in pattern and _compiled(pattern).fullmatch(resource) is not None)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)
