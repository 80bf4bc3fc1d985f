"""What a declarative file would change, field by field, and changing it in one transaction.

Entries are recognised by their id, else by parent, SPIFFE ID and selectors. What the file does not name is left
alone; with `prune`, such entries are deleted and such identities retired, which is final.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from identity.entries import Entry
from identity.errors import ManifestError
from identity.manifest.document import Manifest
from identity.registry.entry_store import SETTABLE, delete_entry, insert_entries, update_entry
from identity.registry.inventory import DESCRIPTION, Agent, describe_agent, insert_agents, move_agent
from identity.registry.registry import Contents, Registry


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that changes."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that changes.

    Attributes:
        action: create, update, or delete (of an identity: retire).
        kind: agent or entry.
        key: SPIFFE ID of an agent, id of an entry; empty for an entry that gets one.
        name: what to call it before a person.
        fields: what changes.
        desired: what is asked for; None for a deletion.
    """

    action: str
    kind: str
    key: str
    name: str
    fields: tuple[FieldChange, ...]
    desired: Agent | Entry | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying a file would do.

    Attributes:
        generation: of the inventory that it was made for; on any other it is refused.
        changes: in the order in which they are carried out.
        unchanged: number of things that are as the file says.
        left_alone: names of what the file does not name and nothing is done to.
    """

    generation: int
    changes: tuple[Change, ...]
    unchanged: int
    left_alone: tuple[str, ...]


def plan(current: Contents, desired: Manifest, *, prune: bool = False) -> Plan:
    """Compare what is with what is asked for. The same input gives the same plan.

    Raises:
        ManifestError: the file names a retired identity, or an id of an entry that is not there for something else.
    """
    agents, same_agents = _plan_agents(current.agents, desired.agents)
    entries, same_entries, kept = _plan_entries(current.entries, desired.entries)
    wanted = {agent.id for agent in desired.agents}
    other_agents = [agent for agent in current.agents if agent.id not in wanted and agent.status != "retired"]
    other_entries = [entry for entry in current.entries if entry.entry_id not in kept]
    left_alone: list[str] = []
    deletions: list[Change] = []
    if prune:
        deletions += [Change("delete", "entry", each.entry_id, _name(each), (), None) for each in other_entries]
        deletions += [Change("delete", "agent", each.id, each.id, (), None) for each in other_agents]
    else:
        left_alone = [each.id for each in other_agents] + [_name(each) for each in other_entries]
    # Deletions come first, creations last: an entry may take the place of one that goes or changes.
    return Plan(
        current.generation,
        (*deletions, *sorted([*agents, *entries], key=lambda change: change.action, reverse=True)),
        same_agents + same_entries,
        tuple(sorted(left_alone)),
    )


def apply(registry: Registry, plan: Plan, *, by: str) -> None:
    """Carry out a plan in one transaction, raising the generation once; all of it or nothing.

    Raises:
        RegistryError: the inventory changed since the plan was made, or refuses a change.
    """
    if not plan.changes:
        return

    new = [change.desired for change in plan.changes if change.action == "create"]

    def act(connection: Connection, now: int) -> None:
        for change in plan.changes:
            if change.action != "create":
                _carry_out(connection, now, change, by)
        insert_agents(connection, now, [each for each in new if isinstance(each, Agent)], by)
        insert_entries(connection, now, [each for each in new if isinstance(each, Entry)])

    registry.consistent(plan.generation, act)


def _carry_out(connection: Connection, now: int, change: Change, by: str) -> None:
    changes = {field.name: field.after for field in change.fields}
    if change.kind == "entry":
        if change.action == "delete":
            delete_entry(connection, change.key)
        else:
            update_entry(connection, change.key, changes)
    elif change.action == "delete":
        move_agent(connection, now, change.key, "retired", "no longer in the file of identities", by)
    else:
        describe_agent(connection, now, change.key, changes, by)


def _plan_agents(current: Iterable[Agent], desired: Iterable[Agent]) -> tuple[list[Change], int]:
    known = {agent.id: agent for agent in current}
    changes, same = [], 0
    for agent in desired:
        before = known.get(agent.id)
        if before is None:
            changes.append(
                Change("create", "agent", agent.id, agent.id, _all_fields(agent, (*DESCRIPTION, "status")), agent)
            )
            continue
        if before.status == "retired":
            raise ManifestError(f"{agent.id} is retired, which is final; take it out of the file")
        fields = _differences(before, agent, DESCRIPTION)
        if fields:
            changes.append(Change("update", "agent", agent.id, agent.id, fields, agent))
        else:
            same += 1
    return changes, same


def _plan_entries(current: Iterable[Entry], desired: Iterable[Entry]) -> tuple[list[Change], int, set[str]]:
    names = tuple(sorted(SETTABLE))
    known = {entry.entry_id: entry for entry in current}
    by_sense: Mapping[object, Entry] = {_sense(entry): entry for entry in known.values()}
    changes, same, kept = [], 0, set()
    for entry in desired:
        before = known.get(entry.entry_id) or by_sense.get(_sense(entry))
        if before is None:
            changes.append(Change("create", "entry", entry.entry_id, _name(entry), _all_fields(entry, names), entry))
            continue
        if before.entry_id in kept:
            raise ManifestError(f"the entry {before.entry_id} is named twice, once by its id and once by its selectors")
        kept.add(before.entry_id)
        fields = _differences(before, entry, names)
        if fields:
            changes.append(Change("update", "entry", before.entry_id, _name(entry), fields, entry))
        else:
            same += 1
    return changes, same, kept


def _differences(before: Agent | Entry, after: Agent | Entry, names: Iterable[str]) -> tuple[FieldChange, ...]:
    return tuple(
        FieldChange(name, getattr(before, name), getattr(after, name))
        for name in names
        if getattr(before, name) != getattr(after, name)
    )


def _all_fields(after: Agent | Entry, names: Iterable[str]) -> tuple[FieldChange, ...]:
    """Return what is worth telling of something new: the fields that say anything."""
    return tuple(FieldChange(name, None, value) for name in names if (value := getattr(after, name)))


def _sense(entry: Entry) -> object:
    return entry.parent_id, entry.spiffe_id, entry.selectors


def _name(entry: Entry) -> str:
    return f"{entry.spiffe_id} ({', '.join(sorted(entry.selectors))})"
