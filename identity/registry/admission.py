"""What lets a node or a caller in once: join tokens, the nodes that attested, and tokens that were shown before."""

import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from identity.errors import RegistryError
from identity.registry import schema
from identity.registry.database import Database
from identity.registry.inventory import canonical
from identity.registry.lifecycle import check_actor
from identity.registry.revocations import check_issuable

JOIN_TOKEN_SECONDS = (10, 86_400)
"""Shortest and longest life of a join token."""

MAX_USED_TOKENS = 1_000_000
"""Tokens remembered against replay; beyond it, new ones are refused rather than old ones forgotten."""


@dataclass(frozen=True, slots=True)
class AttestedNode:
    """A node that proved itself. Times are UNIX seconds.

    Attributes:
        id: SPIFFE ID.
        method: how it proved itself, for instance `join_token`.
        selectors: what is known of it.
        serial: serial number of its latest certificate (hex).
        first_attested: when it first did.
        last_attested: when it last did.
        banned: whether it is revoked.
    """

    id: str
    method: str
    selectors: frozenset[str]
    serial: str
    first_attested: int
    last_attested: int
    banned: bool = False


class JoinTokens:
    """Tokens that let one node join once. Only their SHA-256 is kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, node_id: str, ttl_seconds: int, *, by: str) -> tuple[str, int]:
        """Make a token for a node; return it and its end (UNIX seconds). It cannot be shown again.

        Raises:
            RegistryError: the lifetime is out of bounds, or the node is revoked.
            SpiffeIdError: not a SPIFFE ID.
        """
        check_actor(by)
        node_id = canonical(node_id)
        if node_id.count("/") < 3:
            raise RegistryError(f"{node_id} names a trust domain, not a node; add a path, for instance /node/name")
        shortest, longest = JOIN_TOKEN_SECONDS
        if not shortest <= ttl_seconds <= longest:
            raise RegistryError(f"a join token lives {shortest} to {longest} seconds, not {ttl_seconds}")
        token, now = secrets.token_urlsafe(32), self._database.now()
        with self._database.write() as connection:
            check_issuable(connection, node_id, "", "")
            connection.execute(delete(schema.join_tokens).where(schema.join_tokens.c.expires_at < now - longest))
            connection.execute(
                insert(schema.join_tokens).values(
                    digest=_digest(token), node_id=node_id, by=by, created_at=now, expires_at=now + ttl_seconds
                )
            )
        return token, now + ttl_seconds

    def use(self, token: str) -> str:
        """Use a token up; return the SPIFFE ID of the node that it lets in. Of several at once, one succeeds.

        Raises:
            RegistryError: unknown, used before, expired, or the node is revoked; the token is used up all the same.
        """
        table, now = schema.join_tokens, self._database.now()
        with self._database.write() as connection:
            row = connection.execute(
                update(table)
                .where(table.c.digest == _digest(token), table.c.used_at.is_(None))
                .values(used_at=now)
                .returning(table.c.node_id, table.c.expires_at)
            ).one_or_none()
        remedy = "make a new one with: govctl token create"
        if row is None:
            raise RegistryError(f"the join token is unknown, or was used before; {remedy}")
        if now >= row.expires_at:
            raise RegistryError(f"the join token has expired; {remedy}")
        with self._database.read() as connection:
            check_issuable(connection, row.node_id, "", "")
        return str(row.node_id)


class UsedTokens:
    """Remembers tokens that may be shown once only, until they expire."""

    def __init__(self, database: Database, capacity: int = MAX_USED_TOKENS) -> None:
        self._database = database
        self._capacity = capacity
        self._remembered = 0
        self._uncounted = self._count_every = max(1, capacity // 1000)

    def use(self, jti: str, expires_at: int) -> bool:
        """Note that a token was shown; False if it was shown before. Holds across processes and restarts.

        Args:
            jti: the token's id, with whatever tells its issuer apart.
            expires_at: end of the token (UNIX seconds); afterwards it is forgotten.

        Raises:
            RegistryError: too many tokens are remembered, or the inventory cannot be written.
        """
        table, now = schema.used_tokens, self._database.now()
        with self._database.write() as connection:
            connection.execute(delete(table).where(table.c.expires_at < now))
            # Counting a full table takes milliseconds, so it is done for one token in a thousandth of what fits.
            self._uncounted += 1
            if self._uncounted >= self._count_every:
                self._remembered = connection.execute(select(func.count()).select_from(table)).scalar_one()
                self._uncounted = 0
            if self._remembered >= self._capacity:
                raise RegistryError(
                    f"{self._capacity} tokens are remembered against replay, and no more fit; "
                    "shorten the life of the tokens, or ask for fewer of them"
                )
            done = connection.execute(insert(table).values(jti=jti, expires_at=expires_at).on_conflict_do_nothing())
            return bool(done.rowcount)


class Nodes:
    """The nodes that attested."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, node_id: str, method: str, selectors: Collection[str], serial: str) -> AttestedNode:
        """Note that a node attested.

        Raises:
            RegistryError: the node is revoked.
            SpiffeIdError: not a SPIFFE ID.
        """
        node_id, now = canonical(node_id), self._database.now()
        table = schema.nodes
        values = {
            "method": method,
            "selectors": json.dumps(sorted(selectors)),
            "serial": serial,
            "last_attested": now,
        }
        with self._database.write() as connection:
            check_issuable(connection, node_id, "", "")
            connection.execute(
                insert(table)
                .values(id=node_id, first_attested=now, **values)
                .on_conflict_do_update(index_elements=[table.c.id], set_=values)
            )
        return self.get(node_id)

    def get(self, node_id: str) -> AttestedNode:
        """Return one node.

        Raises:
            RegistryError: it never attested.
            SpiffeIdError: not a SPIFFE ID.
        """
        node_id = canonical(node_id)
        found = self.all(node_id)
        if not found:
            raise RegistryError(f"{node_id} never attested; make a join token with: govctl token create")
        return found[0]

    def all(self, node_id: str | None = None) -> list[AttestedNode]:
        """Return the nodes, by ID; only the one with an ID if given."""
        table, revoked = schema.nodes, schema.revocations
        banned = select(revoked.c.subject).where(revoked.c.kind.in_(["node", "id"]))
        query = select(table, table.c.id.in_(banned).label("banned")).order_by(table.c.id)
        if node_id is not None:
            query = query.where(table.c.id == canonical(node_id))
        with self._database.read() as connection:
            return [
                AttestedNode(
                    row.id,
                    row.method,
                    frozenset(json.loads(row.selectors)),
                    row.serial,
                    row.first_attested,
                    row.last_attested,
                    bool(row.banned),
                )
                for row in connection.execute(query)
            ]


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
