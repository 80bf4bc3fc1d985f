"""Access reviews: a campaign asks of each identity, by a deadline, whether it is still needed."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from identity.errors import RegistryError
from identity.registry import schema
from identity.registry.database import Database
from identity.registry.inventory import canonical, load_agent, move_agent, one_of, review_agent
from identity.registry.lifecycle import check_actor

DECISIONS = ("keep", "suspend", "retire")
_BECOMES = {"suspend": "suspended", "retire": "retired"}


@dataclass(frozen=True, slots=True)
class Campaign:
    """A review. Times are UNIX seconds; 0 is not yet.

    Attributes:
        name: its name.
        deadline: until when decisions are taken.
        started_by: who started it.
        started_at: when.
        closed_by: who closed it.
        closed_at: when.
    """

    name: str
    deadline: int
    started_by: str
    started_at: int
    closed_by: str = ""
    closed_at: int = 0


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One identity in a campaign; `decision` is keep, suspend, retire, or empty while nobody decided.

    Attributes:
        id: SPIFFE ID.
        decision: what was decided.
        by: who decided.
        at: when (UNIX seconds).
        reason: why.
        overdue: nobody decided by the deadline.
    """

    id: str
    decision: str
    by: str
    at: int
    reason: str
    overdue: bool


class Reviews:
    """Starts, decides and closes campaigns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, name: str, deadline: int, identities: Collection[str], *, by: str) -> Campaign:
        """Ask of each of the identities whether it is still needed.

        Args:
            name: unique name of the campaign.
            deadline: UNIX seconds.
            identities: SPIFFE IDs; those retired are left out.
            by: who asks.

        Raises:
            RegistryError: the name is taken, the deadline has passed, or there is nothing to review.
        """
        check_actor(by)
        if not name.strip():
            raise RegistryError("a review needs a name, for instance 2030-q1")
        with self._database.change() as connection:
            now = self._database.now()
            if deadline <= now:
                raise RegistryError("the deadline of a review lies in the future")
            if _load(connection, name) is not None:
                raise RegistryError(f"there is a review {name} already; see: govctl agent review list")
            agents = [load_agent(connection, canonical(identity)) for identity in sorted(set(identities))]
            asked = [agent.id for agent in agents if agent.status != "retired"]
            if not asked:
                raise RegistryError("there is no identity to review; see: govctl agent list")
            connection.execute(
                insert(schema.campaigns).values(name=name, deadline=deadline, started_by=by, started_at=now)
            )
            connection.execute(insert(schema.review_items), [{"campaign": name, "id": each} for each in asked])
        return Campaign(name, deadline, by, now)

    def decide(self, name: str, spiffe_id: str, decision: str, reason: str, review_due: int, *, by: str) -> ReviewItem:
        """Decide on one identity; it is carried out at once. Deciding again replaces the decision.

        Args:
            name: the campaign.
            spiffe_id: the identity.
            decision: keep, suspend or retire.
            reason: why.
            review_due: when the next review of a kept identity is due (UNIX seconds, 0: not set).
            by: who decides.

        Raises:
            RegistryError: not in the campaign, the campaign is over, or the change of state is not allowed.
        """
        one_of("decision", decision, DECISIONS)
        check_actor(by)
        if not reason.strip():
            raise RegistryError("a decision needs a reason")
        spiffe_id, items = canonical(spiffe_id), schema.review_items
        with self._database.change() as connection:
            now = self._database.now()
            campaign = _open(connection, name, now)
            where = (items.c.campaign == name) & (items.c.id == spiffe_id)
            if connection.execute(select(items.c.id).where(where)).one_or_none() is None:
                raise RegistryError(f"{spiffe_id} is not part of the review {name}")
            status = _BECOMES.get(decision)
            if status is not None and load_agent(connection, spiffe_id).status != status:
                move_agent(connection, now, spiffe_id, status, f"review {name}: {reason}", by)
            review_agent(connection, now, spiffe_id, review_due)
            connection.execute(update(items).where(where).values(decision=decision, by=by, at=now, reason=reason))
        return ReviewItem(spiffe_id, decision, by, now, reason, now > campaign.deadline)

    def close(self, name: str, *, by: str) -> list[ReviewItem]:
        """End a campaign; return its identities. What nobody decided stays undecided, and says so.

        Raises:
            RegistryError: unknown, or closed already.
        """
        check_actor(by)
        with self._database.change() as connection:
            now = self._database.now()
            _open(connection, name, now, late=True)
            table = schema.campaigns
            connection.execute(update(table).where(table.c.name == name).values(closed_by=by, closed_at=now))
        return self.items(name)

    def get(self, name: str) -> Campaign:
        """Return one campaign.

        Raises:
            RegistryError: unknown.
        """
        with self._database.read() as connection:
            return _known(connection, name)

    def all(self) -> list[Campaign]:
        """Return the campaigns, latest first."""
        table = schema.campaigns
        query = select(table).order_by(table.c.started_at.desc(), table.c.name)
        with self._database.read() as connection:
            return [_campaign(row) for row in connection.execute(query)]

    def items(self, name: str) -> list[ReviewItem]:
        """Return the identities of a campaign, by ID.

        Raises:
            RegistryError: unknown.
        """
        table = schema.review_items
        with self._database.read() as connection:
            campaign = _known(connection, name)
            over = bool(campaign.closed_at) or self._database.now() >= campaign.deadline
            rows = connection.execute(select(table).where(table.c.campaign == name).order_by(table.c.id))
            return [
                ReviewItem(row.id, row.decision, row.by, row.at, row.reason, over and not row.decision) for row in rows
            ]


def _open(connection: Connection, name: str, now: int, *, late: bool = False) -> Campaign:
    campaign = _known(connection, name)
    if campaign.closed_at:
        raise RegistryError(f"the review {name} is closed; start another with: govctl agent review start")
    if not late and now >= campaign.deadline:
        raise RegistryError(f"the deadline of the review {name} has passed; start another for what is undecided")
    return campaign


def _known(connection: Connection, name: str) -> Campaign:
    campaign = _load(connection, name)
    if campaign is None:
        raise RegistryError(f"there is no review {name}; see: govctl agent review list")
    return campaign


def _load(connection: Connection, name: str) -> Campaign | None:
    row = connection.execute(select(schema.campaigns).where(schema.campaigns.c.name == name)).one_or_none()
    return None if row is None else _campaign(row)


def _campaign(row: Row[Any]) -> Campaign:
    return Campaign(row.name, row.deadline, row.started_by, row.started_at, row.closed_by, row.closed_at)
