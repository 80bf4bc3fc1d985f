"""The signed checkpoint of the last segment that retention deleted, as the journal of retention keeps it."""

from audit.retention import Journal
from gateway.clock import system_clock
from gateway.config import GatewayConfig
from gateway.retention import JOURNAL


def last_deleted(config: GatewayConfig) -> bytes | None:
    """Return it; None if nothing was deleted.

    Raises:
        audit.retention.RetentionError: the journal was changed.
    """
    if not (config.audit_dir / JOURNAL).exists():
        return None
    book = Journal(config.audit_dir / JOURNAL, config.audit_log, system_clock).read()
    return book.segments[book.deleted - 1].note if book.deleted else None
