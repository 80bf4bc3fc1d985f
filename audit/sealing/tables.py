"""The tables of sealed content, the same on SQLite and PostgreSQL."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text, UniqueConstraint

metadata = MetaData()

data_keys = Table(
    "content_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("log", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("pseudonym", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("wrapper", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("erasure", Text, nullable=False, default=""),
    UniqueConstraint("log", "kind", "pseudonym", "generation"),
)

items = Table(
    "content_items",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("log", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("part", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("key_id", Text, nullable=False, index=True),
    Column("case_key_id", Text, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("commitment", Text, nullable=False),
    Column("seed", LargeBinary, nullable=False),
    Column("blob", LargeBinary, nullable=False),
    Column("sealed_ns", BigInteger, nullable=False),
    UniqueConstraint("log", "event_id", "part"),
    Index("content_items_subject", "log", "subject"),
)

requests = Table(
    "content_requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("log", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("part", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
    Column("approver", Text, nullable=False),
    Column("used_ns", BigInteger, nullable=False),
    Column("mac", Text, nullable=False),
)

erasures = Table(
    "content_erasures",
    metadata,
    Column("erasure_id", Text, primary_key=True),
    Column("log", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("pseudonym", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("key_ids", Text, nullable=False),
    Column("contents", Integer, nullable=False),
    Column("begun_ns", BigInteger, nullable=False),
    Column("destroyed_ns", BigInteger, nullable=False),
    Column("recorded_ns", BigInteger, nullable=False),
)
