"""Chains with their writer's epoch, and their records."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "audit_chains",
        sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
        sa.Column("log", sa.Text, nullable=False),
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("holder", sa.Text, nullable=False, server_default=""),
        sa.Column("noted_seq", sa.BigInteger, nullable=False, server_default="-1"),
        sa.Column("noted_hash", sa.Text, nullable=False, server_default=""),
        sa.UniqueConstraint("log", "chain", name="audit_chains_name"),
        # Room for the head that is noted every second, so that a row's next version stays on its page.
        postgresql_with={"fillfactor": "20"},
    )
    op.create_table(
        "audit_records",
        # No foreign key: it would be looked up for each record, and a writer takes the id from the row it locks.
        sa.Column("chain_id", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("time_ns", sa.BigInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "seq"),
    )
    op.create_index("audit_records_event_id", "audit_records", ["event_id"])
