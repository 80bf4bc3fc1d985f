"""The tables of the inventory, and the number of their version."""

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, UniqueConstraint

SCHEMA_VERSION = 2
"""Kept in the file (PRAGMA user_version); a file of another version is refused."""

metadata = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, String, nullable=False, default="")


def _number(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, default=0)


generation = Table("generation", metadata, Column("one", Integer, primary_key=True), _number("value"))

agents = Table(
    "agents",
    metadata,
    Column("id", String, primary_key=True),
    _text("kind"),
    _text("team"),
    _text("owner"),
    _text("purpose"),
    _text("status"),
    _text("status_reason"),
    _text("risk_tier"),
    _text("system"),
    _text("environment"),
    Column("attributes", String, nullable=False, default="{}"),
    _text("created_by"),
    _number("created_at"),
    _number("changed_at"),
    _number("review_due"),
    _number("last_reviewed"),
    _number("expires_at"),
    _number("first_seen"),
    _number("last_seen"),
    _number("calls"),
    _number("generation"),
)

transitions = Table(
    "transitions",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, index=True),
    _number("at"),
    _text("by"),
    _text("before"),
    _text("after"),
    _text("reason"),
)

usage = Table(
    "usage",
    metadata,
    Column("id", String, primary_key=True),
    Column("resource", String, primary_key=True),
    Column("action", String, primary_key=True),
    _number("calls"),
    _number("last_used"),
    sqlite_with_rowid=False,
)

entries = Table(
    "entries",
    metadata,
    Column("entry_id", String, primary_key=True),
    Column("spiffe_id", String, nullable=False, index=True),
    Column("parent_id", String, nullable=False, index=True),
    Column("selectors", String, nullable=False),
    _number("x509_ttl_seconds"),
    _number("jwt_ttl_seconds"),
    Column("federates_with", String, nullable=False, default="[]"),
    Column("dns_names", String, nullable=False, default="[]"),
    _text("hint"),
    Column("admin", Boolean, nullable=False, default=False),
    Column("downstream", Boolean, nullable=False, default=False),
    _number("expires_at"),
    _number("revision"),
    _number("created_at"),
    _number("generation"),
    UniqueConstraint("parent_id", "spiffe_id", "selectors", name="one_entry_each"),
)

svids = Table(
    "svids",
    metadata,
    Column("serial", String, primary_key=True),
    Column("id", String, nullable=False, index=True),
    _number("issued_at"),
    _number("not_after"),
    _text("entry_id"),
    _text("node_id"),
    _text("authority_id"),
    Index("svids_by_entry", "entry_id"),
    Index("svids_by_node", "node_id"),
    Index("svids_by_end", "not_after"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("kind", String, primary_key=True),
    Column("subject", String, primary_key=True),
    _text("reason"),
    _text("by"),
    _number("at"),
    _number("not_after"),
)

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("digest", String, primary_key=True),
    _text("node_id"),
    _text("by"),
    _number("created_at"),
    _number("expires_at"),
    Column("used_at", Integer),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", String, primary_key=True),
    _text("method"),
    Column("selectors", String, nullable=False, default="[]"),
    _text("serial"),
    _number("first_attested"),
    _number("last_attested"),
)

used_tokens = Table(
    "used_tokens",
    metadata,
    Column("jti", String, primary_key=True),
    Column("expires_at", Integer, nullable=False, index=True),
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("name", String, primary_key=True),
    _number("deadline"),
    _text("started_by"),
    _number("started_at"),
    _text("closed_by"),
    _number("closed_at"),
)

review_items = Table(
    "review_items",
    metadata,
    Column("campaign", String, ForeignKey("campaigns.name"), primary_key=True),
    Column("id", String, primary_key=True),
    _text("decision"),
    _text("by"),
    _number("at"),
    _text("reason"),
)
