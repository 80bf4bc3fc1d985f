"""A person did not follow the output of a call (Article 14(4)(d)): said of a call that is in the log."""

from typing import Any, Literal

import orjson

from audit.store import AuditStore
from gateway.approvals.deciding import Record, checked_reason
from gateway.errors import NotFoundError

How = Literal["disregarded", "reversed", "corrected"]


def override(
    store: AuditStore, record: Record, call: str, how: How, by: str, reason: str, peer: dict[str, str] | None = None
) -> dict[str, Any]:
    """Put on record that a person did not follow the output of a call; return the record's fields.

    Args:
        store: the audit log.
        record: writes to it.
        call: event id of the call, its x-request-id.
        how: whether the output was disregarded, what came of it reversed, or it was corrected.
        by, reason, peer: who says so, why, and by which certificate.

    Raises:
        NotFoundError: the log has no such call.
        RequestError: there is no reason.
        AuditError: the log cannot be read or written.
    """
    text = checked_reason(reason)
    found = store.find(call)
    document = orjson.loads(found.record) if found is not None else {}
    if document.get("type") != "access.intent":
        raise NotFoundError(f"The log has no allowed call {call}.", remedy="Its id is the x-request-id of the answer.")
    fields = {
        "principal": by,
        "of": call,
        "agent": document["principal"],
        "system": document["system"],
        "how": how,
        "cause": text,
        **({"peer": peer} if peer is not None else {}),
    }
    record("oversight.overridden", fields)
    return fields
