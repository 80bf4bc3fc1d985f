"""Records of calls as the pipeline writes them, for tests of what reads them."""

from typing import Any

_REQUEST = {"bytes": 2, "digest": "0" * 64}
_RISK = {"agent": "limited", "status": "active", "system": ""}


def call_fields(record_type: str, principal: str, policy_input: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the fields of `access.intent` or `access.denied`, those given in place of what is usual."""
    known: dict[str, Any] = {
        "principal": principal,
        "delegation": [],
        "action": policy_input.get("action", ""),
        "resource": {},
        "operation": "",
        "system": "",
        "policy": {"revision": "before", "data_digest": "0" * 64},
        "policy_input": policy_input,
        "reasons": [],
        "request": _REQUEST,
        "risk": _RISK,
        "trace_id": "",
    }
    if record_type == "access.intent":
        known |= {"decision": "allow", "obligations": [], "quota": {"reserved_tokens": 0, "limits": []}}
    return {**known, **fields}
