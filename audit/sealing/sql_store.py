"""Keeps erasures and requests for access, and with the items the whole content store."""

import json
import secrets
from typing import Any

from sqlalchemy import Row, func, insert, or_, select, update

from audit.sealing import tables
from audit.sealing.engines import scrub
from audit.sealing.sql import SqlItems, translated
from audit.sealing.store import AccessRequest, ErasureEntry, Scope


class SqlContentStore(SqlItems):
    """A `ContentStore` on an engine whose tables `engines.prepare` made."""

    @translated
    def begin_erasure(self, erasure_id: str, scope: Scope, who: str, why: str, begun_ns: int) -> ErasureEntry | None:
        """Take the scope's keys out of use; None if none is in use."""
        keys, items = tables.data_keys, tables.items
        with self.engine.begin() as connection:
            query = select(keys.c.key_id).where(*self._of(scope), keys.c.erasure == "").with_for_update()
            taken = tuple(sorted(connection.execute(query).scalars()))
            if not taken:
                return None
            under = or_(items.c.key_id.in_(taken), items.c.case_key_id.in_(taken))
            contents = connection.execute(select(func.count()).select_from(items).where(under)).scalar_one()
            connection.execute(update(keys).where(keys.c.key_id.in_(taken)).values(erasure=erasure_id))
            connection.execute(
                insert(tables.erasures).values(
                    erasure_id=erasure_id,
                    log=self.log,
                    kind=scope.kind,
                    pseudonym=scope.pseudonym,
                    who=who,
                    why=why,
                    key_ids=json.dumps(taken),
                    contents=contents,
                    begun_ns=begun_ns,
                    destroyed_ns=0,
                    recorded_ns=0,
                )
            )
        return ErasureEntry(erasure_id, scope, who, why, taken, contents, begun_ns)

    @translated
    def erasures(self, scope: Scope | None = None, *, unfinished: bool = False) -> list[ErasureEntry]:
        """Return erasures, oldest first."""
        table = tables.erasures
        query = select(table).where(table.c.log == self.log).order_by(table.c.begun_ns, table.c.erasure_id)
        if scope is not None:
            query = query.where(table.c.kind == scope.kind, table.c.pseudonym == scope.pseudonym)
        if unfinished:
            query = query.where(table.c.recorded_ns == 0)
        with self.engine.connect() as connection:
            return [_erasure(row) for row in connection.execute(query)]

    @translated
    def destroy(self, erasure_id: str, destroyed_ns: int) -> None:
        """Overwrite and remove the keys of an erasure, and the seeds and ciphertexts under them, from the disk too."""
        keys, items, done = tables.data_keys, tables.items, tables.erasures
        with self.engine.begin() as connection:
            chosen = (keys.c.log == self.log, keys.c.erasure == erasure_id)
            under = select(keys.c.key_id).where(*chosen)
            of_keys = or_(items.c.key_id.in_(under), items.c.case_key_id.in_(under))
            # Same length first: the page is written over before it can become a free one.
            for row in connection.execute(select(keys.c.key_id, keys.c.wrapped).where(*chosen)).all():
                noise = secrets.token_bytes(len(row.wrapped))
                connection.execute(update(keys).where(keys.c.key_id == row.key_id).values(wrapped=noise))
            connection.execute(update(items).where(of_keys).values(seed=secrets.token_bytes(32)))
        with self.engine.begin() as connection:
            connection.execute(update(keys).where(*chosen).values(wrapped=b""))
            connection.execute(update(items).where(of_keys).values(seed=b"", blob=b""))
        scrub(self.engine)
        with self.engine.begin() as connection:
            connection.execute(update(done).where(done.c.erasure_id == erasure_id).values(destroyed_ns=destroyed_ns))

    @translated
    def confirm_erasure(self, erasure_id: str, recorded_ns: int) -> None:
        """Note that the erasure is on record."""
        table = tables.erasures
        with self.engine.begin() as connection:
            connection.execute(update(table).where(table.c.erasure_id == erasure_id).values(recorded_ns=recorded_ns))

    @translated
    def add_request(self, request: AccessRequest) -> None:
        """Keep a request."""
        with self.engine.begin() as connection:
            values = {name: getattr(request, name) for name in AccessRequest.__slots__}
            connection.execute(insert(tables.requests).values(log=self.log, **values))

    @translated
    def request(self, request_id: str) -> AccessRequest | None:
        """Return one request."""
        table = tables.requests
        query = select(table).where(table.c.log == self.log, table.c.request_id == request_id)
        with self.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return AccessRequest(*(getattr(row, name) for name in AccessRequest.__slots__)) if row is not None else None

    @translated
    def approve_request(self, request: AccessRequest) -> bool:
        """Keep an approval (`approver` and `mac`); False if another was faster."""
        table = tables.requests
        change = (
            update(table)
            .where(table.c.log == self.log, table.c.request_id == request.request_id, table.c.approver == "")
            .values(approver=request.approver, mac=request.mac)
        )
        with self.engine.begin() as connection:
            return connection.execute(change).rowcount == 1

    @translated
    def use_request(self, request_id: str, used_ns: int) -> bool:
        """Use a request up; False if it was used before."""
        table = tables.requests
        change = (
            update(table)
            .where(table.c.log == self.log, table.c.request_id == request_id, table.c.used_ns == 0)
            .values(used_ns=used_ns)
        )
        with self.engine.begin() as connection:
            return connection.execute(change).rowcount == 1


def _erasure(row: Row[Any]) -> ErasureEntry:
    return ErasureEntry(
        row.erasure_id,
        Scope(row.kind, row.pseudonym),
        row.who,
        row.why,
        tuple(json.loads(row.key_ids)),
        row.contents,
        row.begun_ns,
        row.destroyed_ns,
        row.recorded_ns,
    )
