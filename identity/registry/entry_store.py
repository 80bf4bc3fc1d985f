"""Registration entries as the inventory keeps them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from identity.entries import Entry, validate
from identity.errors import EntryError
from identity.registry import schema
from identity.registry.database import Database, current_generation
from identity.registry.lifecycle import check_actor
from identity.spiffe_id import SpiffeId

SETTABLE = frozenset(field.name for field in fields(Entry)) - {"entry_id", "revision", "created_at"}
"""Fields that whoever writes an entry decides on."""


class EntryStore:
    """Creates, changes and deletes entries. Each call is one change of the inventory."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, entry: Entry, *, by: str) -> Entry:
        """Add an entry; an empty `entry_id` gets a new one. Revision and creation time are set here.

        Raises:
            EntryError: a field is not allowed, or there is an entry of that id, or one that says the same.
        """
        return self.create_all([entry], by=by)[0]

    def create_all(self, entries: Iterable[Entry], *, by: str) -> list[Entry]:
        """Add entries, all or none. See `create`."""
        check_actor(by)
        with self._database.change() as connection:
            return insert_entries(connection, self._database.now(), entries)

    def update(self, entry_id: str, changes: Mapping[str, Any], *, by: str) -> Entry:
        """Change fields of an entry; its revision rises.

        Raises:
            EntryError: unknown, or a field is not allowed.
        """
        check_actor(by)
        with self._database.change() as connection:
            return update_entry(connection, entry_id, changes)

    def delete(self, entry_id: str, *, by: str) -> Entry:
        """Delete an entry; certificates issued through it stay good until they end or are revoked.

        Raises:
            EntryError: unknown.
        """
        check_actor(by)
        with self._database.change() as connection:
            return delete_entry(connection, entry_id)

    def get(self, entry_id: str) -> Entry:
        """Return one entry.

        Raises:
            EntryError: unknown.
        """
        with self._database.read() as connection:
            return load_entry(connection, entry_id)

    def all(self, spiffe_id: str | None = None, parent_id: str | None = None) -> list[Entry]:
        """Return the entries, by SPIFFE ID, creation and entry id; only those of an ID or parent if given."""
        table = schema.entries
        query = select(table).order_by(table.c.spiffe_id, table.c.created_at, table.c.entry_id)
        if spiffe_id is not None:
            query = query.where(table.c.spiffe_id == str(SpiffeId.parse(spiffe_id)))
        if parent_id is not None:
            query = query.where(table.c.parent_id == str(SpiffeId.parse(parent_id)))
        with self._database.read() as connection:
            return [entry_of(row) for row in connection.execute(query)]


def insert_entries(connection: Connection, now: int, entries: Iterable[Entry]) -> list[Entry]:
    """Add entries inside a change. See `EntryStore.create`."""
    added = [
        replace(
            validate(entry, SpiffeId.parse(entry.parent_id).trust_domain.name),
            entry_id=_uuid(entry.entry_id) if entry.entry_id else str(uuid4()),
            revision=0,
            created_at=now,
        )
        for entry in entries
    ]
    if not added:
        return added
    generation = current_generation(connection)
    try:
        with connection.begin_nested():
            connection.execute(insert(schema.entries), [_row(entry) | {"generation": generation} for entry in added])
    except IntegrityError:
        raise EntryError(_twice(connection, added)) from None
    return added


def update_entry(connection: Connection, entry_id: str, changes: Mapping[str, Any]) -> Entry:
    """Change an entry inside a change. See `EntryStore.update`."""
    unknown = set(changes) - SETTABLE
    if unknown:
        raise EntryError(f"{', '.join(sorted(unknown))} cannot be changed; these can: {', '.join(sorted(SETTABLE))}")
    before = load_entry(connection, entry_id)
    after = replace(before, **changes, revision=before.revision + 1)
    after = validate(after, SpiffeId.parse(before.parent_id).trust_domain.name)
    table = schema.entries
    values = _row(after) | {"generation": current_generation(connection)}
    try:
        with connection.begin_nested():
            connection.execute(update(table).where(table.c.entry_id == before.entry_id).values(values))
    except IntegrityError:
        raise EntryError(_same(after, "another")) from None
    return after


def delete_entry(connection: Connection, entry_id: str) -> Entry:
    """Delete an entry inside a change. See `EntryStore.delete`."""
    entry = load_entry(connection, entry_id)
    connection.execute(delete(schema.entries).where(schema.entries.c.entry_id == entry.entry_id))
    return entry


def load_entry(connection: Connection, entry_id: str) -> Entry:
    """Return one entry.

    Raises:
        EntryError: unknown.
    """
    row = connection.execute(select(schema.entries).where(schema.entries.c.entry_id == _uuid(entry_id))).one_or_none()
    if row is None:
        raise EntryError(f"there is no entry {entry_id}; see: govctl entry list")
    return entry_of(row)


def all_entries(connection: Connection, since_generation: int = -1) -> list[Entry]:
    """Return the entries that changed after a generation."""
    query = select(schema.entries)
    if since_generation >= 0:
        query = query.where(schema.entries.c.generation > since_generation)
    return [entry_of(row) for row in connection.execute(query)]


def entry_of(row: Row[Any]) -> Entry:
    """Return the entry in a row of the table."""
    return Entry(
        row.entry_id,
        row.spiffe_id,
        row.parent_id,
        frozenset(json.loads(row.selectors)),
        row.x509_ttl_seconds,
        row.jwt_ttl_seconds,
        tuple(json.loads(row.federates_with)),
        tuple(json.loads(row.dns_names)),
        row.hint,
        row.admin,
        row.downstream,
        row.expires_at,
        row.revision,
        row.created_at,
    )


def _row(entry: Entry) -> dict[str, Any]:
    return {field.name: getattr(entry, field.name) for field in fields(Entry)} | {
        "selectors": json.dumps(sorted(entry.selectors)),
        "federates_with": json.dumps(entry.federates_with),
        "dns_names": json.dumps(entry.dns_names),
    }


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise EntryError(f"{text!r} is not the id of an entry, a UUID; see: govctl entry list") from None


def _twice(connection: Connection, entries: Iterable[Entry]) -> str:
    """Say which entry is there already."""
    table = schema.entries
    seen: dict[tuple[str, str, str], str] = {}
    ids: set[str] = set()
    for entry in entries:
        if (
            entry.entry_id in ids
            or connection.execute(select(table.c.entry_id).where(table.c.entry_id == entry.entry_id)).one_or_none()
        ):
            return f"there is an entry {entry.entry_id} already; see: govctl entry show {entry.entry_id}"
        key = (entry.parent_id, entry.spiffe_id, json.dumps(sorted(entry.selectors)))
        found = connection.execute(
            select(table.c.entry_id).where(
                table.c.parent_id == key[0], table.c.spiffe_id == key[1], table.c.selectors == key[2]
            )
        ).scalar_one_or_none() or seen.get(key)
        if found is not None:
            return _same(entry, found)
        seen[key] = entry.entry_id
        ids.add(entry.entry_id)
    return "an entry is there already; see: govctl entry list"


def _same(entry: Entry, found: str) -> str:
    return f"an entry for {entry.spiffe_id} with this parent and these selectors is there already: {found}"
