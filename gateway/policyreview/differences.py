"""What changed between two revisions, in the words of the policies: roles, subjects, systems, limits, rules."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.authorization.policy_data import PolicyData
from gateway.authorization.policy_data_roles import role_of
from gateway.authorization.policy_set import LoadedPolicySet
from gateway.policyreview.grants import Access, Granted, accesses, binding_text, grants_of
from gateway.policyreview.rego_rules import rules_of
from gateway.policyreview.revisions import Revision

ADDED, REMOVED, CHANGED = "added", "removed", "changed"

_COMPARED_OTHERWISE = frozenset({"roles", "bindings"})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A value of an entry that changed; None stands for one that is not there."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class RoleChange:
    """A role that changed.

    Attributes:
        role: its name.
        change: `added`, `removed` or `changed`.
        gained: permissions that only the candidate gives it.
        lost: permissions that only the base gives it.
        fields: what else changed, for instance `max_output_tokens`.
    """

    role: str
    change: str
    gained: tuple[Access, ...] = ()
    lost: tuple[Access, ...] = ()
    fields: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True)
class SubjectChange:
    """A subject whose bindings changed, or whose roles did.

    Attributes:
        subject: a SPIFFE ID, `team:NAME` or `kind:NAME`.
        gained: bindings that only the candidate has; those of a grant with its dates.
        lost: bindings that only the base has.
        access_gained: what it may do after and might not do before, through whichever role.
        access_lost: what it might do before and may not after.
    """

    subject: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    access_gained: tuple[Access, ...]
    access_lost: tuple[Access, ...]


@dataclass(frozen=True, slots=True)
class EntryChange:
    """An entry of a table that changed.

    Attributes:
        table: for instance `systems`, `limits.quota` or `reasons`.
        entry: its name.
        change: `added`, `removed` or `changed`.
        fields: the values that changed; all of them for an entry added or removed.
    """

    table: str
    entry: str
    change: str
    fields: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleChange:
    """A Rego rule that changed.

    Attributes:
        file: the file.
        rule: full name, for instance `govgateway.authz.objections`; imports are `import NAME`.
        change: `added`, `removed` or `changed`.
        line: where it begins, in the candidate or, if removed, in the base.
    """

    file: str
    rule: str
    change: str
    line: int


@dataclass(frozen=True, slots=True)
class Differences:
    """What changed between two revisions; everything sorted, nothing left out.

    Attributes:
        base, candidate: what names the revisions (`Revision.document`).
        new_access: what a subject is granted and was not before, with the role that grants it.
    """

    base: Mapping[str, str]
    candidate: Mapping[str, str]
    roles: tuple[RoleChange, ...]
    subjects: tuple[SubjectChange, ...]
    entries: tuple[EntryChange, ...]
    rules: tuple[RuleChange, ...]
    new_access: tuple[Granted, ...]

    def __bool__(self) -> bool:
        return bool(self.roles or self.subjects or self.entries or self.rules)


def differences(base: Revision, candidate: Revision) -> Differences:
    """Compare two revisions."""
    one, other = base.policies, candidate.policies
    roles = tuple(_role_changes(one.tables, other.tables))
    subjects, new_access = _subject_changes(one.tables, other.tables, {change.role for change in roles})
    return Differences(
        base=base.document(),
        candidate=candidate.document(),
        roles=roles,
        subjects=subjects,
        entries=tuple(_entry_changes(one, other)),
        rules=tuple(_rule_changes(one, other)),
        new_access=new_access,
    )


def _role_changes(base: PolicyData, candidate: PolicyData) -> Iterator[RoleChange]:
    for name in sorted(base.roles.keys() | candidate.roles.keys()):
        before, after = base.roles.get(name), candidate.roles.get(name)
        had = accesses(before.permissions) if before else set()
        has = accesses(after.permissions) if after else set()
        fields = tuple(
            _field_changes(
                before.model_dump(exclude={"permissions"}, exclude_none=True) if before else {},
                after.model_dump(exclude={"permissions"}, exclude_none=True) if after else {},
            )
        )
        change = CHANGED if before and after else ADDED if after else REMOVED
        if change != CHANGED or had != has or fields:
            yield RoleChange(name, change, tuple(sorted(has - had)), tuple(sorted(had - has)), fields)


def _subject_changes(
    base: PolicyData, candidate: PolicyData, changed_roles: set[str]
) -> tuple[tuple[SubjectChange, ...], tuple[Granted, ...]]:
    changes: list[SubjectChange] = []
    new_access: list[Granted] = []
    for subject in sorted(base.bindings.keys() | candidate.bindings.keys()):
        before, after = base.bindings.get(subject, []), candidate.bindings.get(subject, [])
        had, has = set(map(binding_text, before)), set(map(binding_text, after))
        if had == has and changed_roles.isdisjoint(map(role_of, after)):
            continue
        granted_before, granted_after = grants_of(base, [subject]), grants_of(candidate, [subject])
        could = {(each.action, each.resource) for each in granted_before}
        can = {(each.action, each.resource) for each in granted_after}
        if had == has and could == can:
            continue
        changes.append(
            SubjectChange(
                subject,
                tuple(sorted(has - had)),
                tuple(sorted(had - has)),
                tuple(sorted(can - could)),
                tuple(sorted(could - can)),
            )
        )
        new_access += sorted(each for each in granted_after if (each.action, each.resource) not in could)
    return tuple(changes), tuple(new_access)


def _entry_changes(base: LoadedPolicySet, candidate: LoadedPolicySet) -> Iterator[EntryChange]:
    one, other = _entries(base), _entries(candidate)
    for table, name in sorted(one.keys() | other.keys()):
        before, after = one.get((table, name)), other.get((table, name))
        if before != after:
            change = CHANGED if before is not None and after is not None else ADDED if before is None else REMOVED
            yield EntryChange(table, name, change, tuple(_field_changes(before, after)))


def _entries(policies: LoadedPolicySet) -> dict[tuple[str, str], Any]:
    """Return the entries of all tables but those of roles and bindings, by table and name."""
    document = orjson.loads(policies.data_json)
    found: dict[tuple[str, str], Any] = {}
    for root, tables in document.items():
        for table, content in tables.items() if isinstance(tables, dict) else [("", tables)]:
            if root == "govgateway" and table in _COMPARED_OTHERWISE:
                continue
            place = table if root == "govgateway" else ".".join(filter(None, (root, table)))
            for name, entry in content.items() if isinstance(content, dict) else [("", content)]:
                found.update(_named(place, name, entry))
    return found


def _named(table: str, name: str, entry: Any) -> Iterator[tuple[tuple[str, str], Any]]:
    """Yield an entry, or those within it where the table only groups them: `limits.quota`, `regions.data_classes`."""
    if isinstance(entry, list) and entry and all(isinstance(item, dict) and "name" in item for item in entry):
        for item in entry:
            yield (f"{table}.{name}", str(item["name"])), item
    elif isinstance(entry, dict) and entry and all(isinstance(item, dict) for item in entry.values()):
        for key, item in entry.items():
            yield (f"{table}.{name}", key), item
    elif entry != []:
        yield (table, name), entry


def _field_changes(before: Any, after: Any, place: str = "") -> Iterator[FieldChange]:
    if not isinstance(before, dict | None) or not isinstance(after, dict | None):
        if before != after:
            yield FieldChange(place, before, after)
        return
    before, after = before or {}, after or {}
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        inner = f"{place}.{key}" if place else key
        if one == other:
            if key not in before or key not in after:
                yield FieldChange(inner, one, other)
        elif isinstance(one, dict) or isinstance(other, dict):
            yield from _field_changes(one, other, inner)
        else:
            yield FieldChange(inner, one, other)


def _rule_changes(base: LoadedPolicySet, candidate: LoadedPolicySet) -> Iterator[RuleChange]:
    one, other = rules_of(base.modules), rules_of(candidate.modules)
    for file, rule in sorted(one.keys() | other.keys()):
        before, after = one.get((file, rule)), other.get((file, rule))
        if before is None:
            yield RuleChange(file, rule, ADDED, after.line if after else 0)
        elif after is None:
            yield RuleChange(file, rule, REMOVED, before.line)
        elif before.content != after.content:
            yield RuleChange(file, rule, CHANGED, after.line)
