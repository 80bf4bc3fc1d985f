"""Revisions of the policies that were put in force, and the grants in them."""

from collections.abc import Iterator, Mapping
from typing import Any

from compliance.populations.base import Entry, Value
from compliance.populations.collectors.base import Surroundings, base_of, made, part, texts

TYPES = ("policy.activated", "policy.activation_failed", "gateway.started")


class Policies:
    """Follows which revision was in force."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._changes: list[dict[str, Value]] = []
        self._in_force: list[tuple[int, str]] = []

    def take(self, entry: Entry) -> None:
        """Take a record."""
        if "unwritable" in entry.document:
            return
        if entry.type == "policy.activation_failed":
            for row in reversed(self._changes):
                if row["bundle_digest"] == entry.document.get("bundle_digest"):
                    row["failed"] = True
                    break
            return
        digest = str(part(entry.document, "policy").get("data_digest", ""))
        if entry.time_ns < self._around.period.end_ns:
            self._in_force.append((entry.time_ns, digest))
        if entry.type == "policy.activated" and self._around.period.contains(entry.time_ns):
            self._changes.append(_change(entry, digest))

    def finish(self) -> None:
        """Give out changes and grants."""
        for row in self._changes:
            self._around.emit("policy_changes", row)
        for grant in self._grants():
            self._around.emit("grants", grant)

    def _grants(self) -> Iterator[dict[str, Value]]:
        """Yield each binding once, with the time in which revisions with it were in force in the period."""
        found: dict[tuple[str, str], dict[str, Value]] = {}
        in_force = sorted(self._in_force)
        for place, (since, digest) in enumerate(in_force):
            until = in_force[place + 1][0] if place + 1 < len(in_force) else self._around.end_ns
            if until <= self._around.period.start_ns:
                continue
            tables = self._around.context.tables_of(digest) or {}
            begin = max(since, self._around.period.start_ns)
            for subject, bindings in (tables.get("bindings") or {}).items():
                for binding in bindings if isinstance(bindings, list) else [bindings]:
                    row = _grant(subject, binding, begin)
                    key = (subject, repr(binding))
                    found.setdefault(key, row)["last_in_force"] = until
        yield from (found[key] for key in sorted(found))


def _change(entry: Entry, digest: str) -> dict[str, Value]:
    document = entry.document
    change = part(document, "change")
    author, approvers, checks = (
        str(change.get("author", "")),
        texts(change.get("approvers")),
        texts(change.get("checks")),
    )
    return {
        **base_of(entry),
        "revision": str(part(document, "policy").get("revision", "")),
        "data_digest": digest,
        "bundle_digest": str(document.get("bundle_digest", "")),
        "author": author,
        "approvers": approvers,
        "approver_is_other": bool(author) and any(_person(each) != _person(author) for each in approvers),
        "commit": str(change.get("commit", "")),
        "commit_signed": bool(change.get("commit_signed")),
        "checks": checks,
        "checks_passed": bool(checks),
        "rollback": bool(document.get("rollback")),
        "reason": str(document.get("reason", "")),
        "source": str(document.get("source", "")),
        "activated_by": str(document.get("principal", "")),
        "failed": False,
    }


def _grant(subject: str, binding: Any, since_ns: int) -> dict[str, Value]:
    given: Mapping[str, Any] = binding if isinstance(binding, dict) else {"role": str(binding)}
    approver = str(given.get("approved_by", ""))
    return {
        **made(since_ns),
        "subject": subject,
        "role": str(given.get("role", "")),
        "first_in_force": since_ns,
        "last_in_force": since_ns,
        "not_before": str(given.get("not_before") or ""),
        "not_after": str(given.get("not_after") or ""),
        "approved_by": approver,
        "reason": str(given.get("reason", "")),
        "break_glass": bool(given.get("break_glass")),
        "standing": "not_after" not in given,
        "self_approved": bool(approver) and _person(approver) == _person(subject),
    }


def _person(name: str) -> str:
    """Compare people without regard to case and spaces."""
    return name.strip().casefold()
