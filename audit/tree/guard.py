"""Whether a chain still has what the tree took from it: an older copy is found before anything is appended to it."""

from audit.chain import Head, record_hash
from audit.errors import AuditBrokenError
from audit.store.base import AuditStore


def check_chain(store: AuditStore, chain: str, head: Head) -> None:
    """Check that a chain still has the record that the tree took last from it.

    Raises:
        AuditBrokenError: it does not.
    """
    found = None
    if chain in store.chains():
        with store.reader(chain) as reader:
            found = next(reader.records(head.sequence, stop=head.sequence + 1), None)
    if found is None or found.hash != head.hash or record_hash(found.record) != head.hash:
        raise AuditBrokenError(
            f"the chain {chain} is an older or a changed copy: the tree has its record {head.sequence}, and the chain "
            f"does not. Restore the newest copy of the log; keep this one as evidence."
        )
