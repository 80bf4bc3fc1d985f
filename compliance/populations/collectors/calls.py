"""Calls: what was decided, joined with what came of it."""

from collections.abc import Mapping
from typing import Any

from compliance.populations.base import Entry, Value
from compliance.populations.collectors.base import SECOND, Surroundings, base_of, part, texts

TYPES = ("access.intent", "access.outcome", "access.denied", "quota.exceeded", "worker.exited", "gateway.started",
         "access.denials_suppressed", "admin.denials_suppressed")  # fmt: skip

KEPT = frozenset({"access.intent", "access.outcome", "access.denied", "quota.exceeded"})
"""Types of which nothing has to be read again where `Calls.state` was kept."""

UNDER_WAY_NS = 600 * SECOND
"""A call that began so shortly before the log ends may still be under way."""

_NO_OUTCOME: dict[str, Value] = {
    "outcome_leaf": None,
    "result": "",
    "cause": "",
    "input_tokens": None,
    "output_tokens": None,
    "duration_ms": None,
    "backend": "",
    "response_digest": False,
}


class Calls:
    """Keeps the calls of the period that have no outcome yet; of others that have none, the event id."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._open: dict[str, dict[str, Value]] = {}
        self._chains: dict[str, str] = {}
        self._ends: dict[str, int] = {}
        self._restarted_ns = 0
        self._elsewhere: set[str] = set()
        self._alone: dict[str, dict[str, Any]] = {}
        self._regions = {name: backend.region for name, backend in around.context.backends.items()}

    def state(self) -> dict[str, Any]:
        """Return what is kept of calls, as plain data."""
        return {
            "open": self._open, "chains": self._chains, "elsewhere": sorted(self._elsewhere), "alone": self._alone
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._open, self._chains, self._alone = state["open"], state["chains"], state["alone"]
        self._elsewhere = set(state["elsewhere"])

    def pass_over(self, event_id: str) -> None:
        """Take note of a call that is not of the period, so that its outcome is known for what it is."""
        if self._alone.pop(event_id, None) is None:
            self._elsewhere.add(event_id)

    def take(self, entry: Entry) -> None:
        """Take a record; of an outcome of any time, since it may close a call of the period."""
        match entry.type:
            case "access.outcome":
                self._end(entry)
            case "worker.exited" | "gateway.started":
                self._lose(entry)
            case "access.denials_suppressed" | "admin.denials_suppressed":
                if self._around.period.contains(entry.time_ns):
                    row: dict[str, Value] = {
                        "principal": str(entry.document["principal"]),
                        "count": int(entry.document["count"]),
                    }
                    self._around.emit("suppressed_denials", {**base_of(entry), **row})
            case _:
                self._begin(entry)

    def finish(self) -> None:
        """Give out the calls that were never closed."""
        for event_id, row in self._open.items():
            cause = self._cause(event_id, row)
            row |= {"closed": bool(cause), "cause": cause}
            self._gap("open-call", row, cause)
            self._around.emit("calls", row)
        for outcome in self._alone.values():
            if self._around.period.contains(outcome["base"]["time"]):
                self._gap("outcome-alone", outcome["base"], "")

    def _begin(self, entry: Entry) -> None:
        row = self._row(entry)
        if entry.type != "access.intent":
            row["outcome_leaf"] = -1
            row["closed"] = True
            self._around.emit("calls", row)
            return
        self._open[entry.event_id] = row
        self._chains[entry.event_id] = str(entry.document.get("chain", ""))
        outcome = self._alone.pop(entry.event_id, None)
        if outcome is not None:
            self._close(entry.event_id, outcome)

    def _row(self, entry: Entry) -> dict[str, Value]:
        document = entry.document
        given = part(document, "policy_input")
        resource, context = part(given, "resource"), part(given, "context")
        risk, model, policy = part(document, "risk"), part(document, "model"), part(document, "policy")
        obligations = [str(each.get("type", "")) for each in document.get("obligations", ()) if isinstance(each, dict)]
        system, digest = str(document.get("system", "")), str(policy.get("data_digest", ""))
        row: dict[str, Value] = {
            **base_of(entry, system),
            **_NO_OUTCOME,
            "principal": str(document.get("principal", "")),
            "delegation": texts(document.get("delegation")),
            "team": str(document.get("team", "")),
            "action": str(document.get("action", "")),
            "operation": str(document.get("operation", "")),
            "model": str(model.get("name", "")),
            "upstream_model": str(model.get("upstream", "")),
            "protocol": str(part(given, "request").get("protocol", "")),
            "decision": str(document.get("decision", "allow" if entry.type == "access.intent" else "deny")),
            "reasons": texts(document.get("reasons")),
            "problem": str(document.get("problem", "")),
            "policy_revision": str(policy.get("revision", "")) if given else "",
            "data_digest": digest,
            "status": document.get("status"),
            "agent_status": str(risk.get("status", "")),
            "agent_risk": str(risk.get("agent", "")),
            "region": str(resource.get("region", "")),
            "gateway_region": str(context.get("region", "")),
            "data_classes": texts(resource.get("data_classes")),
            "obligations": obligations,
            "closed": False,
            "request_digest": bool(part(document, "request").get("digest")),
            "approval_required": "require_approval" in obligations or "approval" in document,
            "approval": str(document.get("approval", "")) if document.get("decision") == "allow" else "",
            "break_glass": "break_glass" in document.get("reasons", ()),
            "policy_input": bool(given),
            **_credential(entry),
        }
        row.update(self._registered(row, str(risk.get("system", "")), digest, system))
        return row

    def _registered(self, row: Mapping[str, Value], recorded: str, digest: str, system: str) -> dict[str, Value]:
        entry = self._around.registers.system(digest, system) if system else None
        if entry is None:
            return {
                "system_risk": recorded, "overseen": False, "in_register": False, "model_listed": False,
                "region_allowed": True, "purpose_listed": False,
            }  # fmt: skip
        return {
            "system_risk": entry.effective_risk,
            "overseen": bool(entry.oversight.overseers),
            "in_register": True,
            "model_listed": row["model"] in entry.models,
            "region_allowed": entry.regions is None or row["region"] in entry.regions,
            "purpose_listed": not entry.purposes or row["action"] in entry.purposes,
        }

    def _end(self, entry: Entry) -> None:
        intent = str(entry.document.get("intent", ""))
        if intent in self._elsewhere:
            self._elsewhere.discard(intent)
        elif intent:
            outcome = _outcome(entry)
            if intent in self._open:
                self._close(intent, outcome)
            else:
                self._alone[intent] = outcome

    def _close(self, intent: str, outcome: Mapping[str, Any]) -> None:
        row = self._open.pop(intent)
        self._chains.pop(intent, None)
        row |= outcome["fields"]
        time_ns = outcome["base"]["time"]
        row["duration_ms"] = max(0, time_ns - _whole(row["time"])) // 1_000_000
        region = self._regions.get(str(row["backend"]), "")
        if not row["region"] and region:
            row["region"] = region
            registered = self._around.registers.system(str(row["data_digest"]), str(row["system"]))
            row["region_allowed"] = registered is None or registered.regions is None or region in registered.regions
        self._around.emit("calls", row)

    def _lose(self, entry: Entry) -> None:
        """Note that a worker, or the whole gateway, ended. The tree may have it before what was under way then."""
        if entry.type == "worker.exited":
            chain = f"worker-{entry.document.get('worker', '')}"
            self._ends[chain] = max(self._ends.get(chain, 0), entry.time_ns)
        else:
            self._restarted_ns = max(self._restarted_ns, entry.time_ns)

    def _cause(self, event_id: str, row: Mapping[str, Value]) -> str:
        time_ns = _whole(row["time"])
        if self._ends.get(self._chains.get(event_id, ""), 0) >= time_ns:
            return "worker-exited"
        if self._restarted_ns > time_ns:
            return "gateway-ended"
        return "under-way" if self._around.now_ns - time_ns < UNDER_WAY_NS else ""

    def _gap(self, kind: str, row: Mapping[str, Value], cause: str) -> None:
        base: dict[str, Value] = {name: row[name] for name in ("leaf", "event_id", "time", "day", "system")}
        gap: dict[str, Value] = {
            "kind": kind,
            "since": row["time"],
            "until": None,
            "explained": bool(cause),
            "cause": cause,
        }
        self._around.emit("gaps", {**base, **gap})


def _outcome(entry: Entry) -> dict[str, Any]:
    """Return what an outcome adds to its call."""
    document = entry.document
    usage = part(document, "usage")
    fields: dict[str, Value] = {
        "outcome_leaf": entry.leaf,
        "closed": True,
        "result": str(document.get("result", "")),
        "cause": str(document.get("cause", "")),
        "status": document.get("status"),
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "backend": str(document.get("backend", "")),
        "response_digest": bool(part(document, "response").get("digest")),
    }
    return {"base": base_of(entry, str(document.get("system", ""))), "fields": fields}


def _credential(entry: Entry) -> dict[str, Value]:
    token, peer = part(entry.document, "token"), part(entry.document, "peer")
    if token:
        kind, name, end = "jwt-svid", str(token.get("jti", "")), token.get("not_after")
    elif peer.get("serial"):
        kind, name, end = "x509-svid", str(peer["serial"]), peer.get("not_after")
    else:
        kind, name, end = "", "", None
    left = end - entry.time_ns // SECOND if isinstance(end, int) and end else None
    return {
        "identity": kind if left is None or left >= 0 else "",
        "credential": name,
        "credential_expires_in_seconds": left,
        "credential_lifetime_seconds": None,
    }


def _whole(value: Value) -> int:
    return value if isinstance(value, int) else 0
