"""Populations whose rows are made of one record each, whatever came before."""

from collections.abc import Callable, Mapping
from typing import Any

from compliance.populations.base import Entry, Value
from compliance.populations.collectors.base import DAY_NS, SECOND, Surroundings, base_of, part, texts

Fields = dict[str, Value]
_Make = Callable[[Mapping[str, Any], Entry, Surroundings], Fields]


def _said(document: Mapping[str, Any], name: str) -> str:
    return str(document.get(name, ""))


def _issuance(document: Mapping[str, Any], entry: Entry, _around: Surroundings) -> Fields:
    return {
        "agent": _said(document, "agent"),
        "svid": _said(document, "svid"),
        "serial": _said(document, "serial"),
        "lifetime_seconds": int(document["not_after"]) - entry.time_ns // SECOND,
        "authority": _said(document, "authority"),
        "entry": _said(document, "entry"),
        "selectors": len(document.get("selectors") or ()),
    }


def _status(document: Mapping[str, Any], _entry: Entry, _around: Surroundings) -> Fields:
    return {name: _said(document, name) for name in ("agent", "status", "cause", "principal")}


def _refusal(document: Mapping[str, Any], _entry: Entry, _around: Surroundings) -> Fields:
    return {name: _said(document, name) for name in ("principal", "source", "cause")}


def _config(document: Mapping[str, Any], entry: Entry, _around: Surroundings) -> Fields:
    said = {name: _said(document, name) for name in ("principal", "config_digest", "cause")}
    return {**said, "refused": entry.type == "config.refused"}


def _start(document: Mapping[str, Any], entry: Entry, _around: Surroundings) -> Fields:
    started = entry.type == "gateway.started"
    return {
        "kind": "start" if started else "stop",
        "version": _said(document, "version"),
        "workers": document.get("workers"),
        "config_digest": _said(document, "config_digest"),
        "policy_revision": str(part(document, "policy").get("revision", "")),
        "exit_status": document.get("status"),
    }


def _admin(document: Mapping[str, Any], _entry: Entry, _around: Surroundings) -> Fields:
    policy = part(document, "policy")
    return {
        "principal": _said(document, "principal"),
        "action": _said(document, "action"),
        "resource": str(part(document, "resource").get("id", "")),
        "decision": _said(document, "decision"),
        "reasons": texts(document.get("reasons")),
        "policy_revision": str(policy.get("revision", "")),
        "data_digest": str(policy.get("data_digest", "")),
    }


def _hold(document: Mapping[str, Any], entry: Entry, _around: Surroundings) -> Fields:
    said = {name: _said(document, name) for name in ("hold", "principal", "cause")}
    return {"event": entry.type.rpartition("_")[2], **said}


def _access(document: Mapping[str, Any], entry: Entry, _around: Surroundings) -> Fields:
    approvers = texts(document.get("approved_by"))
    return {
        "event": entry.type.rpartition(".")[2],
        "principal": _said(document, "principal"),
        "reason": _said(document, "cause"),
        "approved_by": approvers,
        "two_people": any(each != document.get("principal") for each in approvers),
    }


_OVERSIGHT = {
    "requested": "request", "approved": "approval", "refused": "refusal", "used": "use", "overridden": "override",
    "stopped": "stop", "resumed": "resume", "drilled": "drill",
}  # fmt: skip


def _oversight(document: Mapping[str, Any], entry: Entry, around: Surroundings) -> Fields:
    kind = _OVERSIGHT[entry.type.rpartition(".")[2]]
    if kind == "drill" and document.get("result") == "failed":
        kind = "failed-drill"
    requested = kind in ("request", "use")
    return {
        "kind": kind,
        "approval": _said(document, "approval"),
        "principal": _said(document, "principal"),
        "agent": _said(document, "principal" if requested else "agent"),
        "reason": _said(document, "cause"),
        "seconds": document.get("seconds"),
        "days_before_end": max(0, around.end_ns - entry.time_ns) // DAY_NS,
    }


def _exported(document: Mapping[str, Any], entry: Entry, _around: Surroundings) -> Fields:
    return {
        "event": entry.type.rpartition(".")[2],
        "principal": _said(document, "principal"),
        "real_names": bool(document.get("real_names")),
        "package_sha256": _said(document, "package_sha256"),
    }


_MADE: dict[str, tuple[str, _Make]] = {
    "identity.issued": ("issuances", _issuance),
    "agent.status_changed": ("status_changes", _status),
    "policy.refused": ("policy_refusals", _refusal),
    "config.loaded": ("config_changes", _config),
    "config.refused": ("config_changes", _config),
    "gateway.started": ("starts", _start),
    "gateway.stopped": ("starts", _start),
    "admin.request": ("admin_actions", _admin),
    "log.legal_hold_set": ("holds", _hold),
    "log.legal_hold_lifted": ("holds", _hold),
    "content.opened": ("content_access", _access),
    "content.searched": ("content_access", _access),
    "evidence.exported": ("evidence_exports", _exported),
    "evidence.refused": ("evidence_exports", _exported),
    **{f"oversight.{each}": ("oversight", _oversight) for each in _OVERSIGHT},
}  # fmt: skip

TYPES = tuple(_MADE)

DRILL_DAYS = 90
"""How far back from the end of the period it is told that somebody stopped a system, so that a drill of a quarter shows
in a shorter period as well."""

_STOPPING = frozenset({"oversight.stopped", "oversight.drilled"})


class Plain:
    """Makes a row of each record of the period, and of each time that somebody stopped a system not long before."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def take(self, entry: Entry) -> None:
        """Take a record."""
        population, make = _MADE[entry.type]
        if self._told(entry) and "unwritable" not in entry.document:
            row = make(entry.document, entry, self._around)
            self._around.emit(population, {**base_of(entry, _said(entry.document, "system")), **row})

    def finish(self) -> None:
        """Nothing is left."""

    def _told(self, entry: Entry) -> bool:
        if self._around.period.contains(entry.time_ns):
            return True
        before = entry.time_ns < self._around.period.start_ns
        return before and entry.type in _STOPPING and self._around.end_ns - entry.time_ns <= DRILL_DAYS * DAY_NS
