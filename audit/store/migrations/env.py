"""What Alembic runs: the migrations on the connection that was handed in, in its transaction."""

from alembic import context

from audit.store.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
