"""Revisions of the policies that were put in force, and the grants in them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from typing import Any

from compliance.populations.base import Entry, Value
from compliance.populations.collectors.base import SECOND, Surroundings, base_of, made, part, texts

TYPES = ("policy.activated", "policy.activation_failed", "gateway.started")


@dataclass(slots=True)
class _Stretch:
    """A time in which one revision was in force."""

    since_ns: int
    revision: str
    data_digest: str
    bundle_digest: str
    until_ns: int = 0


class Policies:
    """Follows which revision was in force."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._changes: list[dict[str, Value]] = []
        self._in_force: list[_Stretch] = []

    def take(self, entry: Entry) -> None:
        """Take a record."""
        if "unwritable" in entry.document:
            return
        bundle = str(entry.document.get("bundle_digest", ""))
        if entry.type == "policy.activation_failed":
            if bundle:
                self._fail(bundle)
            return
        policy = part(entry.document, "policy")
        digest, revision = str(policy.get("data_digest", "")), str(policy.get("revision", ""))
        if entry.time_ns < self._around.period.end_ns:
            self._in_force.append(_Stretch(entry.time_ns, revision, digest, bundle))
        if entry.type == "policy.activated" and self._around.period.contains(entry.time_ns):
            self._changes.append(_change(entry, digest))

    def finish(self) -> None:
        """Give out changes, what was in force, and the grants in it."""
        for row in self._changes:
            self._around.emit("policy_changes", row)
        stretches = self._stretches()
        start = self._around.period.start_ns
        for each in stretches:
            if each.until_ns >= start and each.data_digest:
                self._around.emit("revisions", self._revision(each))
        for grant in self._grants(stretches):
            self._around.emit("grants", grant)

    def _fail(self, bundle: str) -> None:
        """The last activation of a bundle did not come about: neither its row nor its time in force is so."""
        for row in reversed(self._changes):
            if row["bundle_digest"] == bundle:
                row["failed"] = True
                break
        for place in range(len(self._in_force) - 1, -1, -1):
            if self._in_force[place].bundle_digest == bundle:
                del self._in_force[place]
                break

    def _stretches(self) -> list[_Stretch]:
        """Return the times in force in order; a start that goes on with the revision before begins no new one."""
        ordered = sorted(self._in_force, key=lambda each: each.since_ns)
        merged = [next(same) for _, same in groupby(ordered, key=lambda each: (each.revision, each.data_digest))]
        for each, after in pairwise(merged):
            each.until_ns = after.since_ns
        if merged:
            merged[-1].until_ns = self._around.end_ns
        return merged

    def _revision(self, each: _Stretch) -> dict[str, Value]:
        return {
            **made(max(each.since_ns, self._around.period.start_ns)),
            "revision": each.revision,
            "data_digest": each.data_digest,
            "since": each.since_ns,
            "until": each.until_ns,
            "held": self._around.context.tables_of(each.data_digest) is not None,
        }

    def _grants(self, stretches: list[_Stretch]) -> Iterator[dict[str, Value]]:
        """Yield each binding once for each time without a break in which revisions with it were in force."""
        found: list[tuple[str, str, dict[str, Value]]] = []
        going_on: dict[tuple[str, str], dict[str, Value]] = {}
        for each in stretches:
            tables = self._around.context.tables_of(each.data_digest) or {}
            here: dict[tuple[str, str], dict[str, Value]] = {}
            for subject, bindings in sorted((tables.get("bindings") or {}).items()):
                for binding in bindings if isinstance(bindings, list) else [bindings]:
                    key = (str(subject), repr(binding))
                    row = going_on.get(key) or here.get(key)
                    if row is None:
                        row = self._grant(str(subject), binding, each.since_ns)
                        found.append((*key, row))
                    row["last_in_force"] = each.until_ns
                    here[key] = row
            going_on = here
        start = self._around.period.start_ns
        for _, _, row in sorted(found, key=lambda each: (each[0], each[1], str(each[2]["first_in_force"]))):
            last, end = row["last_in_force"], _moment(str(row["not_after"]))
            if isinstance(last, int) and last >= start:
                yield {**row, "expired": end is not None and end < last}

    def _grant(self, subject: str, binding: Any, since_ns: int) -> dict[str, Value]:
        given: Mapping[str, Any] = binding if isinstance(binding, dict) else {"role": str(binding)}
        approver = str(given.get("approved_by", ""))
        return {
            **made(max(since_ns, self._around.period.start_ns)),
            "subject": subject,
            "role": str(given.get("role", "")),
            "first_in_force": since_ns,
            "last_in_force": since_ns,
            "not_before": str(given.get("not_before") or ""),
            "not_after": str(given.get("not_after") or ""),
            "approved_by": approver,
            "reason": str(given.get("reason", "")),
            "break_glass": bool(given.get("break_glass")),
            "standing": not given.get("not_after"),
            "self_approved": bool(approver) and _person(approver) == _person(subject),
            "expired": False,
        }


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


def _person(name: str) -> str:
    """Compare people without regard to case and spaces."""
    return name.strip().casefold()


def _moment(text: str) -> int | None:
    """Return a time of RFC 3339 as UNIX nanoseconds; None where there is none, or it is no such time."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int(read.timestamp()) * SECOND if read.tzinfo is not None else None
