"""Where chains are kept: one Protocol, SQLite files beside the gateway or a PostgreSQL of many gateways."""

from audit.store.base import AuditStore, ChainReader, ChainWriter, StoredRecord
from audit.store.copying import copy
from audit.store.opening import open_store
from audit.store.sqlite import SqliteStore

__all__ = ["AuditStore", "ChainReader", "ChainWriter", "SqliteStore", "StoredRecord", "copy", "open_store"]
