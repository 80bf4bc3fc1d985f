"""Identities, what was revoked, and access reviews: what needs the past to be told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compliance.populations.base import Entry, Value
from compliance.populations.collectors.base import DAY_NS, SECOND, Surroundings, base_of

TYPES = ("agent.registered", "agent.updated", "agent.status_changed", "review.decided", "review.started",
         "review.closed", "identity.inventory", "identity.revoked", "identity.revocation_lifted")  # fmt: skip

REVIEW_DAYS = 90
"""How often an identity has to be reviewed (days); ours."""

_OUT = frozenset({"suspended", "quarantined", "retired"})


@dataclass(slots=True)
class _Identity:
    base: dict[str, Value]
    fields: dict[str, str]
    registered_ns: int
    status: str
    older: bool = False
    reviewed_ns: int = 0
    longest_ns: int = 0
    retired_ns: int = 0

    def seen(self, until_ns: int, start_ns: int) -> None:
        """Take the time without a review up to a moment into account, as far as it reaches into the period."""
        since = max(self.registered_ns, self.reviewed_ns)
        if until_ns >= start_ns and until_ns > since:
            self.longest_ns = max(self.longest_ns, until_ns - since)


@dataclass(slots=True)
class _Review:
    base: dict[str, Value]
    deadline_ns: int
    identities: int
    closed_ns: int | None = None
    undecided: int = field(default=0)


class Inventory:
    """Follows the inventory from its beginning."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._identities: dict[str, _Identity] = {}
        self._reviews: dict[str, _Review] = {}
        self._revoked: dict[tuple[str, str], list[dict[str, Value]]] = {}

    def take(self, entry: Entry) -> None:
        """Take a record."""
        if entry.time_ns >= self._around.period.end_ns or "unwritable" in entry.document:
            return
        match entry.type:
            case "agent.registered":
                self._register(entry)
            case "agent.updated":
                self._update(entry)
            case "identity.inventory":
                for state in entry.document.get("identities", ()):
                    self._remember(entry, state)
            case "agent.status_changed":
                self._change(entry)
            case "review.decided":
                self._decide(entry)
            case "review.started":
                deadline = int(entry.document["deadline"]) * SECOND
                review = _Review(base_of(entry), deadline, int(entry.document["identities"]))
                self._reviews[str(entry.document["review"])] = review
            case "review.closed":
                known = self._reviews.get(str(entry.document["review"]))
                if known is not None:
                    known.closed_ns, known.undecided = entry.time_ns, int(entry.document["undecided"])
            case "identity.revoked":
                self._revoke(entry, str(entry.document["kind"]), str(entry.document["subject"]))
            case "identity.revocation_lifted":
                self._lift(entry, str(entry.document["kind"]), str(entry.document["subject"]))

    def _known(self, entry: Entry) -> "_Identity":
        """Return an identity; one whose registration the log does not go back to is as old as the log at least."""
        agent = str(entry.document["agent"])
        known = self._identities.get(agent)
        if known is None:
            fields = dict.fromkeys(("kind", "owner", "team", "risk_tier"), "")
            known = self._identities[agent] = _Identity(base_of(entry), fields, self._around.oldest(), "", True)
        return known

    def finish(self) -> None:
        """Give out identities, reviews and what is still revoked."""
        for name, identity in self._identities.items():
            self._tell(name, identity)
        for name, review in self._reviews.items():
            self._tell_review(name, review)
        for rows in self._revoked.values():
            for row in rows:
                self._give(row)

    def _register(self, entry: Entry) -> None:
        document = entry.document
        fields = {name: str(document.get(name, "")) for name in ("kind", "owner", "team", "risk_tier")}
        identity = _Identity(base_of(entry, str(document.get("system", ""))), fields, entry.time_ns, document["status"])
        self._identities[str(document["agent"])] = identity

    def _remember(self, entry: Entry, state: Mapping[str, Any]) -> None:
        """Take in how an identity stands that the log does not say more of: its registration was deleted."""
        name = str(state["agent"])
        known = self._identities.get(name)
        if known is not None and not known.older:
            return
        if known is None:
            base = base_of(entry, str(state.get("system", "")))
            known = self._identities[name] = _Identity(base, {}, 0, str(state["status"]), True)
        known.fields = {field_: str(state.get(field_, "")) for field_ in ("kind", "owner", "team", "risk_tier")}
        known.registered_ns, known.older = int(state["registered_at"]) * SECOND, False
        known.reviewed_ns = max(known.reviewed_ns, int(state.get("reviewed_at", 0)) * SECOND)

    def _update(self, entry: Entry) -> None:
        known, changes = self._known(entry), entry.document.get("changes")
        if isinstance(changes, dict):
            known.fields |= {name: str(value) for name, value in changes.items() if name in known.fields}

    def _change(self, entry: Entry) -> None:
        agent, status = str(entry.document["agent"]), str(entry.document["status"])
        known = self._known(entry)
        known.status = status
        if status == "retired" and not known.retired_ns:
            known.seen(entry.time_ns, self._around.period.start_ns)
            known.retired_ns = entry.time_ns
        if status in _OUT:
            self._revoke(entry, "status", agent)
        else:
            self._lift(entry, "status", agent)

    def _decide(self, entry: Entry) -> None:
        known = self._known(entry)
        known.seen(entry.time_ns, self._around.period.start_ns)
        known.reviewed_ns = entry.time_ns

    def _revoke(self, entry: Entry, kind: str, subject: str) -> None:
        document = entry.document
        row: dict[str, Value] = {
            **base_of(entry),
            "kind": kind,
            "subject": subject,
            "cause": str(document.get("cause", "")),
            "principal": str(document.get("principal", "")),
            "lifted_at": None,
            "accepted_after": 0,
            "seconds_to_last_accepted_call": 0,
        }
        self._revoked.setdefault((kind, subject), []).append(row)

    def _lift(self, entry: Entry, kind: str, subject: str) -> None:
        for row in self._revoked.pop((kind, subject), ()):
            row["lifted_at"] = entry.time_ns
            self._give(row)

    def _give(self, row: dict[str, Value]) -> None:
        lifted = row["lifted_at"]
        if not isinstance(lifted, int) or lifted >= self._around.period.start_ns:
            self._around.emit("revocations", row)

    def _tell(self, name: str, identity: _Identity) -> None:
        if identity.retired_ns and identity.retired_ns < self._around.period.start_ns:
            return
        if not identity.retired_ns:
            identity.seen(self._around.end_ns, self._around.period.start_ns)
        days = identity.longest_ns // DAY_NS
        row: dict[str, Value] = {
            **identity.base,
            "agent": name,
            **identity.fields,
            "registered_at": None if identity.older else identity.registered_ns,
            "status_at_end": identity.status,
            "owner_present": bool(identity.fields["owner"].strip()),
            "last_review_at": identity.reviewed_ns or None,
            "days_without_review": days,
            "reviewed_in_time": identity.longest_ns <= REVIEW_DAYS * DAY_NS,
        }
        self._around.emit("identities", row)

    def _tell_review(self, name: str, review: _Review) -> None:
        closed = review.closed_ns
        if closed is not None and closed < self._around.period.start_ns:
            return
        late = (closed if closed is not None else self._around.end_ns) > review.deadline_ns or review.undecided > 0
        self._around.emit(
            "reviews",
            {
                **review.base,
                "review": name,
                "deadline": review.deadline_ns,
                "closed_at": closed,
                "identities": review.identities,
                "undecided": review.undecided,
                "late": late,
            },
        )
