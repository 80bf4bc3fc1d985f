"""Keeps sealed content in a SQL database: the same code on SQLite and PostgreSQL."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Engine, Row, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from audit.sealing import tables
from audit.sealing.engines import reason
from audit.sealing.errors import KeyGoneError, SealingError, SealingUnavailableError
from audit.sealing.store import DataKey, Scope, StoredItem

_P = ParamSpec("_P")
_R = TypeVar("_R")
_AT_ONCE = 500
"""Values in one IN list."""


class Kept:
    """What every part of the store has: an engine, and the log whose rows it reads."""

    def __init__(self, engine: Engine, log: str) -> None:
        self.engine = engine
        self.log = log


_K = TypeVar("_K", bound=Kept)


def translated(method: Callable[Concatenate[_K, _P], _R]) -> Callable[Concatenate[_K, _P], _R]:
    """Turn what the database raises into SealingUnavailableError, without any value of a statement."""

    @functools.wraps(method)
    def call(self: _K, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(self, *args, **kwargs)
        except SQLAlchemyError as error:
            raise SealingUnavailableError(f"the store of sealed content fails: {reason(error)}") from None

    return call


class SqlItems(Kept):
    """Data keys and the items under them."""

    @translated
    def live_key(self, scope: Scope) -> DataKey | None:
        """Return the key that content of this scope is sealed under now."""
        table = tables.data_keys
        query = (
            select(table).where(*self._of(scope), table.c.erasure == "").order_by(table.c.generation.desc()).limit(1)
        )
        with self.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return _key(row) if row is not None else None

    @translated
    def add_key(self, scope: Scope, key_id: str, wrapped: bytes, wrapper: str, created_ns: int) -> DataKey:
        """Keep a new key; return the one that is in use, which another process may have added first."""
        table = tables.data_keys
        try:
            with self.engine.begin() as connection:
                last = connection.execute(select(func.max(table.c.generation)).where(*self._of(scope))).scalar() or 0
                live = connection.execute(select(table).where(*self._of(scope), table.c.erasure == "")).one_or_none()
                if live is not None:
                    return _key(live)
                key = DataKey(key_id, scope, last + 1, wrapped, wrapper, created_ns)
                values = {"kind": scope.kind, "pseudonym": scope.pseudonym, "generation": last + 1, "erasure": ""}
                connection.execute(
                    insert(table).values(
                        key_id=key_id, log=self.log, wrapped=wrapped, wrapper=wrapper, created_ns=created_ns, **values
                    )
                )
        except IntegrityError:
            added = self.live_key(scope)
            if added is None:
                raise
            return added
        return key

    @translated
    def keys(self, key_ids: Sequence[str]) -> dict[str, DataKey]:
        """Return these keys by their ids."""
        table = tables.data_keys
        with self.engine.connect() as connection:
            rows = connection.execute(select(table).where(table.c.log == self.log, table.c.key_id.in_(key_ids))).all()
        return {row.key_id: _key(row) for row in rows}

    @translated
    def add_items(self, items: Sequence[StoredItem]) -> None:
        """Keep items, all or none; on disk when this returns.

        Raises:
            KeyGoneError: one of their keys is being destroyed, or is gone.
            SealingError: something is sealed under one of these names already.
        """
        wanted = sorted({key_id for item in items for key_id in item.key_ids})
        table = tables.data_keys
        try:
            with self.engine.begin() as connection:
                # Held until the commit: an erasure that begins meanwhile waits, and counts these items.
                query = (
                    select(table.c.key_id)
                    .where(table.c.log == self.log, table.c.key_id.in_(wanted), table.c.erasure == "")
                    .order_by(table.c.key_id)
                    .with_for_update(read=True)
                )
                found = set(connection.execute(query).scalars())
                gone = [key_id for key_id in wanted if key_id not in found]
                if gone:
                    raise KeyGoneError(f"the data key {gone[0]} was destroyed meanwhile")
                connection.execute(insert(tables.items), [self._row(item) for item in items])
        except IntegrityError:
            raise SealingError("content of this call is sealed already") from None

    @translated
    def item(self, event_id: str, part: str) -> StoredItem | None:
        """Return one item."""
        table = tables.items
        query = select(table).where(table.c.log == self.log, table.c.event_id == event_id, table.c.part == part)
        with self.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return _item(row, row.seed, row.blob) if row is not None else None

    @translated
    def items_of(self, scope: Scope) -> list[StoredItem]:
        """Return the items of a subject or case without their sealed bytes, oldest first."""
        table, keys = tables.items, tables.data_keys
        columns = [column for column in table.c if column.name not in {"seed", "blob"}]
        if scope.kind == "subject":
            chosen = table.c.subject == scope.pseudonym
        else:
            chosen = table.c.case_key_id.in_(select(keys.c.key_id).where(*self._of(scope)))
        query = select(*columns).where(table.c.log == self.log, chosen).order_by(table.c.sealed_ns, table.c.item_id)
        with self.engine.connect() as connection:
            return [_item(row, b"", b"") for row in connection.execute(query)]

    @translated
    def remove_items(self, event_ids: Sequence[str]) -> int:
        """Remove the items of these calls, and keys that nothing is left under; return how many items."""
        table, keys = tables.items, tables.data_keys
        removed = 0
        touched: set[str] = set()
        with self.engine.begin() as connection:
            for begin in range(0, len(event_ids), _AT_ONCE):
                chosen = (table.c.log == self.log, table.c.event_id.in_(event_ids[begin : begin + _AT_ONCE]))
                for row in connection.execute(select(table.c.key_id, table.c.case_key_id).where(*chosen)):
                    touched |= set(row)
                removed += connection.execute(delete(table).where(*chosen)).rowcount
            for key_id in sorted(touched - {""}):
                connection.execute(select(keys.c.key_id).where(keys.c.key_id == key_id).with_for_update())
                used = select(table.c.item_id).where(or_(table.c.key_id == key_id, table.c.case_key_id == key_id))
                if connection.execute(used.limit(1)).first() is None:
                    connection.execute(update(keys).where(keys.c.key_id == key_id).values(wrapped=b""))
                    connection.execute(delete(keys).where(keys.c.key_id == key_id, keys.c.erasure == ""))
        return removed

    def _of(self, scope: Scope) -> tuple[Any, ...]:
        columns = tables.data_keys.c
        return columns.log == self.log, columns.kind == scope.kind, columns.pseudonym == scope.pseudonym

    def _row(self, item: StoredItem) -> dict[str, Any]:
        return {"log": self.log, **{name: getattr(item, name) for name in StoredItem.__slots__}}


def _key(row: Row[Any]) -> DataKey:
    return DataKey(
        row.key_id,
        Scope(row.kind, row.pseudonym),
        row.generation,
        bytes(row.wrapped),
        row.wrapper,
        row.created_ns,
        row.erasure,
    )


def _item(row: Row[Any], seed: bytes, blob: bytes) -> StoredItem:
    return StoredItem(
        row.item_id,
        row.event_id,
        row.part,
        row.subject,
        row.key_id,
        row.case_key_id,
        row.size,
        row.commitment,
        bytes(seed),
        bytes(blob),
        row.sealed_ns,
    )
