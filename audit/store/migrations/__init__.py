"""The tables of the PostgreSQL store, brought to the version of this code by Alembic."""

from pathlib import Path

from sqlalchemy import Connection

from audit.errors import AuditStoreError
from audit.store.database import Database

CURRENT = "0001"
"""Revision that this code reads and writes; the newest of `versions/`."""

VERSION_TABLE = "audit_version"

_LOCK = 0x676F7661756469  # "govaudi": one migration at a time in a database


def version(database: Database) -> str | None:
    """Return the revision of the tables; None if there are none.

    Raises:
        AuditStoreError: the database cannot be read.
    """
    if database.rows("SELECT to_regclass(%s)", (VERSION_TABLE,))[0][0] is None:
        return None
    rows = database.rows(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant
    return str(rows[0][0]) if rows else None


def check_known(database: Database, found: str | None) -> None:
    """Refuse tables that a newer gateway made.

    Raises:
        AuditStoreError: they are newer than this code.
    """
    if found is not None and found > CURRENT:
        raise AuditStoreError(
            f"the tables of {database.address.shown} have version {found}, this gateway knows {CURRENT}: "
            f"they are a newer gateway's. Upgrade this one."
        )


def migrate(database: Database) -> tuple[str | None, str]:
    """Bring the tables to this code's version, one process at a time; return the version before and after.

    Raises:
        AuditStoreError: they are newer than this code, or the role may not change them.
    """
    before = version(database)
    check_known(database, before)
    if before != CURRENT:
        try:
            database.run(_upgrade)
        except AuditStoreError as error:
            raise AuditStoreError(
                f"{error}. The tables are made by `govctl audit migrate`, run with a role that owns the schema."
            ) from error
        check_known(database, version(database))
    return before, CURRENT


def _upgrade(connection: Connection) -> None:
    # Only a migration needs Alembic; a worker that finds current tables saves its start the import.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, CURRENT)
