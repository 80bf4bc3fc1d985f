"""Records as events of the Open Cybersecurity Schema Framework, version 1.8.0.

`raw_data` is the canonical record itself, so nothing is lost by the mapping: `SHA-256(0x00 || raw_data)` is the hash
that the log's tree holds, given as `unmapped.record_hash`. What no attribute of the class means is under `unmapped`, by
the names that the record gives it.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

import orjson

from audit.sinks.formats import Origin
from audit.sinks.formats.documents import document, severity
from audit.sinks.formats.ocsf_classes import (
    API_ACTIVITY,
    APPLICATION_LIFECYCLE,
    AUTHENTICATION,
    CLASSES,
    DETECTION_FINDING,
    ENTITY_MANAGEMENT,
    OTHER,
    UNKNOWN,
    VERSION,
    EventClass,
    Mapped,
)
from audit.store.base import StoredRecord

PRODUCT = "govgateway"

_NANOSECONDS = re.compile("[0-9]{1,20}")
_SEVERITY_IDS = {"informational": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
_OUTCOMES = {"completed": (1, "Success"), "failed": (2, "Failure")}
_DECISIONS = {"allow": (1, "Allowed"), "deny": (2, "Denied")}
_DISPOSITIONS = {"allow": (1, "Allowed"), "deny": (2, "Blocked")}

Fields = dict[str, Any]


def ocsf_event(record: StoredRecord, origin: Origin) -> dict[str, Any]:
    """Return a record as an event.

    Args:
        record: the record.
        origin: where it comes from.

    Raises:
        ValueError: the record is not a JSON object.
    """
    fields = document(record)
    mapped = CLASSES.get(record.type, UNKNOWN)
    event = _classified(record, mapped, fields)
    event |= _occurred(record, origin, fields)
    event |= _ended(mapped, fields)
    event |= _decided(fields)
    event |= _BUILDERS.get(mapped.event_class.uid, _nothing)(record, origin, mapped, fields)
    event["metadata"]["profiles"] = ["security_control", "trace"] if "trace" in event else ["security_control"]
    event["unmapped"] = {**_rest(fields, mapped.event_class), "record_hash": record.hash}
    return event


def _classified(record: StoredRecord, mapped: Mapped, fields: Fields) -> Fields:
    of = mapped.event_class
    named = of.activities.get(mapped.activity) or _text(fields.get("action")) or record.type
    level = severity(record.type)
    return {
        "category_uid": of.category_uid,
        "category_name": of.category,
        "class_uid": of.uid,
        "class_name": of.name,
        "activity_id": mapped.activity,
        "activity_name": named,
        "type_uid": of.uid * 100 + mapped.activity,
        "type_name": f"{of.name}: {of.activities.get(mapped.activity, 'Other')}",
        "severity_id": _SEVERITY_IDS[level],
        "severity": level.capitalize(),
    }


def _occurred(record: StoredRecord, origin: Origin, fields: Fields) -> Fields:
    """Say when and where, and which record it is."""
    happened = _text(fields.get("delayed_from"))
    metadata = {
        "version": VERSION,
        "product": {"name": PRODUCT, "vendor_name": PRODUCT, "version": origin.version},
        "uid": record.event_id,
        "correlation_uid": _text(fields.get("intent") or fields.get("of")) or record.event_id,
        "event_code": record.type,
        "sequence": record.sequence,
        "log_name": _text(fields.get("log")) or record.chain,
        "log_provider": record.chain,
        "logged_time": _milliseconds(record.time_ns),
        "original_time": happened or str(record.time_ns),
        "reporter": {"name": PRODUCT, "hostname": origin.host},
    }
    return {
        "time": _milliseconds(int(happened) if _NANOSECONDS.fullmatch(happened) else record.time_ns),
        "message": " ".join(filter(None, (record.type, _text(fields.get("principal"))))),
        "metadata": metadata,
        "raw_data": record.record.decode(),
        "raw_data_size": len(record.record),
        "raw_data_hash": {
            "algorithm_id": 3, "algorithm": "SHA-256", "value": sha256(record.record).hexdigest(),
        },
    }  # fmt: skip


def _ended(mapped: Mapped, fields: Fields) -> Fields:
    """Say what came of it."""
    ended: Fields = {}
    if mapped.event_class is DETECTION_FINDING:
        ended["status_id"], ended["status"] = (4, "Resolved") if mapped.activity == 3 else (1, "New")
    elif "result" in fields:
        result = _text(fields["result"])
        ended["status_id"], ended["status"] = _OUTCOMES.get(result, (OTHER, result or "Other"))
    elif mapped.failed or fields.get("decision") == "deny" or fields.get("state") == "failed":
        ended["status_id"], ended["status"] = 2, "Failure"
    elif fields.get("type") == "access.intent":
        ended["status_id"], ended["status"] = 0, "Unknown"
    else:
        ended["status_id"], ended["status"] = 1, "Success"
    if type(fields.get("status")) is int:
        ended["status_code"] = str(fields["status"])
    elif fields.get("problem"):
        ended["status_code"] = _text(fields["problem"])
    if detail := _text(fields.get("cause") or fields.get("reasons")):
        ended["status_detail"] = detail
    return ended


def _decided(fields: Fields) -> Fields:
    """Say what was decided, by which policies (profile Security Control)."""
    decision = _text(fields.get("decision"))
    if decision not in _DECISIONS:
        return {}
    action, disposition = _DECISIONS[decision], _DISPOSITIONS[decision]
    decided: Fields = {
        "action_id": action[0], "action": action[1], "disposition_id": disposition[0], "disposition": disposition[1],
    }  # fmt: skip
    if (policy := _policy(fields)) is not None:
        decided["policy"] = policy
    return decided


def _policy(fields: Fields) -> Fields | None:
    policy = fields.get("policy")
    if not isinstance(policy, dict) or "revision" not in policy:
        return None
    return {"name": _text(policy["revision"]), "uid": _text(policy.get("data_digest")), "is_applied": True}


def _actor(fields: Fields) -> Fields:
    principal = _text(fields.get("principal"))
    actor: Fields = {"user": _user(principal)} if principal else {"app_name": PRODUCT}
    if decision := _text(fields.get("decision")):
        policy = _policy(fields)
        actor["authorizations"] = [{"decision": decision, **({"policy": policy} if policy else {})}]
    if (delegation := fields.get("delegation")) and isinstance(delegation, list):
        # The one for whom the actor acts at last; the whole chain is unmapped.
        actor["invoked_by"] = _text(delegation[0])
    return actor


def _user(identity: str) -> Fields:
    """Return an identity: a person where an operator acts, else a service."""
    kind = (1, "User") if identity.startswith("operator:") else (4, "Service")
    return {"uid": identity, "name": identity, "type_id": kind[0], "type": kind[1]}


def _api_activity(record: StoredRecord, origin: Origin, _mapped: Mapped, fields: Fields) -> Fields:
    principal = _text(fields.get("principal"))
    built: Fields = {
        "actor": _actor(fields),
        "api": {
            "operation": _text(fields.get("operation") or fields.get("action")) or record.type,
            "service": {"name": PRODUCT, "version": origin.version},
            "request": {"uid": _text(fields.get("intent")) or record.event_id},
        },
        # The network address is not in the log: the workload identity names the other end.
        "src_endpoint": {"svc_name": principal or PRODUCT},
        "dst_endpoint": {"hostname": origin.host, "svc_name": PRODUCT},
    }
    if type(fields.get("status")) is int:
        built["api"]["response"] = {"code": fields["status"]}
    resource = fields.get("resource")
    if isinstance(resource, dict) and resource.get("id"):
        built["resources"] = [{"uid": _text(resource["id"]), "type": _text(resource.get("type")) or "Unknown"}]
    if trace := _text(fields.get("trace_id")):
        built["trace"] = {"uid": trace}
    return built


def _authentication(_record: StoredRecord, origin: Origin, mapped: Mapped, fields: Fields) -> Fields:
    return {
        "actor": _actor(fields),
        "user": _user(_text(fields.get(mapped.name)) or "unknown"),
        "service": {"name": PRODUCT, "version": origin.version},
        "dst_endpoint": {"hostname": origin.host, "svc_name": PRODUCT},
    }


def _entity_management(record: StoredRecord, _origin: Origin, mapped: Mapped, fields: Fields) -> Fields:
    return {
        "actor": _actor(fields),
        "entity": {
            "type_id": OTHER, "type": mapped.entity, "name": _text(fields.get(mapped.name)) or record.event_id,
        },
    }  # fmt: skip


def _application_lifecycle(_record: StoredRecord, origin: Origin, _mapped: Mapped, _fields: Fields) -> Fields:
    return {"app": {"name": PRODUCT, "vendor_name": PRODUCT, "version": origin.version}}


def _detection_finding(record: StoredRecord, _origin: Origin, _mapped: Mapped, fields: Fields) -> Fields:
    finding: Fields = {"uid": record.event_id, "title": record.type, "types": [record.type]}
    if detail := _text(fields.get("cause") or fields.get("option")):
        finding["desc"] = detail
    return {"finding_info": finding, "is_alert": True}


def _nothing(_record: StoredRecord, _origin: Origin, _mapped: Mapped, _fields: Fields) -> Fields:
    return {}


_BUILDERS: Mapping[int, Callable[[StoredRecord, Origin, Mapped, Fields], Fields]] = {
    API_ACTIVITY.uid: _api_activity,
    AUTHENTICATION.uid: _authentication,
    ENTITY_MANAGEMENT.uid: _entity_management,
    APPLICATION_LIFECYCLE.uid: _application_lifecycle,
    DETECTION_FINDING.uid: _detection_finding,
}

_ALWAYS_MAPPED = frozenset({"event_id", "seq", "time", "type", "chain"})
_HAVE_AN_ACTOR = frozenset({API_ACTIVITY.uid, AUTHENTICATION.uid, ENTITY_MANAGEMENT.uid})


def _rest(fields: Fields, of: EventClass) -> Fields:
    """Return what the event says nowhere else as a value of its own."""
    taken = _ALWAYS_MAPPED | ({"principal"} if of.uid in _HAVE_AN_ACTOR else set())
    return {name: value for name, value in fields.items() if name not in taken}


def _milliseconds(time_ns: int) -> int:
    return time_ns // 1_000_000


def _text(value: Any) -> str:
    """Return a value as text; a changed store may hold anything in any field."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return orjson.dumps(value).decode()
