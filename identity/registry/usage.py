"""Who called what, how often and when last: counted in batches, beside the inventory's generation."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import bindparam, case, func, select, update
from sqlalchemy.dialects.sqlite import insert

from identity.registry import schema
from identity.registry.database import Database


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls of one identity. Given to `record`, `calls` is what to add; read back, it is the sum.

    Attributes:
        id: SPIFFE ID.
        resource: what was called, for instance a model.
        action: for instance `model.infer`.
        calls: number of calls.
        last_used: the latest of them, UNIX seconds.
    """

    id: str
    resource: str
    action: str
    calls: int
    last_used: int


class UsageStore:
    """Adds up calls. No snapshot shows them, so counting raises no generation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, rows: Iterable[Usage]) -> None:
        """Add calls in one transaction, also of callers that are not registered: `identity.findings` tells them apart.

        Raises:
            RegistryError: the inventory cannot be written.
        """
        rows = list(rows)
        if not rows:
            return
        table, agents = schema.usage, schema.agents
        upsert = insert(table)
        upsert = upsert.on_conflict_do_update(
            index_elements=[table.c.id, table.c.resource, table.c.action],
            set_={
                "calls": table.c.calls + upsert.excluded.calls,
                "last_used": func.max(table.c.last_used, upsert.excluded.last_used),
            },
        )
        seen = (
            update(agents)
            .where(agents.c.id == bindparam("agent"))
            .values(
                calls=agents.c.calls + bindparam("more"),
                last_seen=func.max(agents.c.last_seen, bindparam("latest")),
                first_seen=case((agents.c.first_seen == 0, bindparam("earliest")), else_=agents.c.first_seen),
            )
        )
        with self._database.write() as connection:
            connection.execute(upsert, [{name: getattr(row, name) for name in Usage.__slots__} for row in rows])
            connection.execute(seen, _by_agent(rows))

    def all(self, spiffe_id: str | None = None) -> list[Usage]:
        """Return what everybody called, or one identity, by identity, resource and action."""
        table = schema.usage
        query = select(table).order_by(table.c.id, table.c.resource, table.c.action)
        if spiffe_id is not None:
            query = query.where(table.c.id == spiffe_id)
        with self._database.read() as connection:
            return [
                Usage(row.id, row.resource, row.action, row.calls, row.last_used) for row in connection.execute(query)
            ]

    def of(self, spiffe_id: str) -> list[Usage]:
        """Return what one identity called, by resource and action."""
        return self.all(spiffe_id)


def _by_agent(rows: list[Usage]) -> list[dict[str, object]]:
    calls: dict[str, int] = {}
    latest: dict[str, int] = {}
    earliest: dict[str, int] = {}
    for row in rows:
        calls[row.id] = calls.get(row.id, 0) + row.calls
        latest[row.id] = max(latest.get(row.id, 0), row.last_used)
        earliest[row.id] = min(earliest.get(row.id, row.last_used), row.last_used)
    return [
        {"agent": agent, "more": calls[agent], "latest": latest[agent], "earliest": earliest[agent]} for agent in calls
    ]
