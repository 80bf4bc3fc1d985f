"""Opens whatever store the configuration names."""

from pathlib import Path

from audit.store.base import AuditStore
from audit.store.sqlite import SqliteStore


def open_store(where: str | Path, log: str, *, heads: Path | None = None) -> AuditStore:
    """Return the store at a directory, or at a `postgresql://` URL.

    Args:
        where: a directory of SQLite files, or the URL of a database.
        log: name of the log.
        heads: directory for the noted ends of chains kept in a database; SQLite notes them beside its files.

    Raises:
        AuditStoreError: the URL cannot be used.
    """
    if isinstance(where, str) and "://" in where:
        # The driver costs memory and a moment; a gateway on SQLite has no use for it.
        from audit.store.postgres import PostgresStore  # noqa: PLC0415

        return PostgresStore(where, log, heads=heads)
    return SqliteStore(Path(where), log)
