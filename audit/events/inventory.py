"""Records of the inventory: identities, registration entries, access reviews."""

from typing import Literal

from pydantic import Field

from audit.events.base import Count, EventDefinition, Id, Name, Object, Principal, Record, Text, absent, define

Status = Literal["pending", "active", "suspended", "quarantined", "retired"]


class AgentRegistered(Record):
    """Written when an identity is registered."""

    type: Literal["agent.registered"]
    principal: Principal
    agent: Id
    kind: Literal["agent", "service", "pipeline", "human"]
    status: Status
    team: Text
    owner: Text
    risk_tier: Name
    system: Text
    environment: Text


class AgentUpdated(Record):
    """Written when what is known of an identity is changed."""

    type: Literal["agent.updated"]
    principal: Principal
    agent: Id
    changes: Object = Field(description="The new values, by field.")


class AgentStatusChanged(Record):
    """Written when an identity moves from one state to another."""

    type: Literal["agent.status_changed"]
    principal: Principal
    agent: Id
    status: Status
    cause: Text


class _Entry(Record):
    principal: Principal
    entry_id: Name
    spiffe_id: Id
    parent_id: Id
    selectors: list[Text]
    selectors_left_out: Count = absent("Selectors that the record has no room for.")
    x509_ttl_seconds: Count
    jwt_ttl_seconds: Count
    federates_with: list[Name]
    dns_names: list[Name]
    hint: Text
    admin: bool
    downstream: bool
    expires_at: Count
    revision: Count
    created_at: Count


class EntryCreated(_Entry):
    """Written when a registration entry is created: which workload is issued which identity."""

    type: Literal["entry.created"]


class EntryUpdated(_Entry):
    """Written when a registration entry is changed; it is shown as it is then."""

    type: Literal["entry.updated"]
    changed: list[Name] = absent()


class EntryDeleted(_Entry):
    """Written when a registration entry is deleted; it is shown as it was."""

    type: Literal["entry.deleted"]


class ReviewStarted(Record):
    """Written when an access review begins."""

    type: Literal["review.started"]
    principal: Principal
    review: Text
    deadline: Count
    identities: Count


class ReviewDecided(Record):
    """Written when somebody decides on one identity of a review."""

    type: Literal["review.decided"]
    principal: Principal
    review: Text
    agent: Id
    review_decision: Literal["keep", "suspend", "retire"]
    cause: Text


class ReviewClosed(Record):
    """Written when an access review is closed."""

    type: Literal["review.closed"]
    principal: Principal
    review: Text
    identities: Count
    undecided: Count


DEFINITIONS: tuple[EventDefinition, ...] = (
    define(AgentRegistered, "change"),
    define(AgentUpdated, "change"),
    define(AgentStatusChanged, "change", "medium"),
    define(EntryCreated, "change"),
    define(EntryUpdated, "change"),
    define(EntryDeleted, "change"),
    define(ReviewStarted, "change"),
    define(ReviewDecided, "change"),
    define(ReviewClosed, "change"),
)
