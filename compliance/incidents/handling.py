"""The steps of an incident: opened, assessed, reported, closed. Each is checked against the log, and then a record."""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from compliance.errors import ComplianceError
from compliance.incidents.duties import Duties
from compliance.incidents.state import Incident, incidents_of
from compliance.incidents.times import shown, span

Record = Callable[[str, dict[str, Any]], object]
"""Writes a record of a type with these fields; returns once it is durable, and raises if it will not be."""

SetHold = Callable[[str], str]
"""Sets a legal hold on the evidence for a cause; returns its id. It stands when this returns."""


class Handling:
    """Takes incidents from step to step.

    Args:
        table: the duties.
        records: returns the records of incidents, parsed, in the order of the log.
        record: writes to it.
        clock: UNIX seconds.
    """

    def __init__(
        self,
        table: Duties,
        records: Callable[[], Iterable[Mapping[str, Any]]],
        record: Record,
        clock: Callable[[], int],
    ) -> None:
        self.table = table
        self._records = records
        self._record = record
        self._clock = clock

    def all(self) -> dict[str, Incident]:
        """Return the incidents by id, in the order they were opened."""
        return incidents_of(self._records())

    def get(self, incident: str) -> Incident:
        """Return one incident.

        Raises:
            ComplianceError: there is none with this id.
        """
        known = self.all()
        if incident not in known:
            raise ComplianceError(f"there is no incident {incident}; list them with: govctl incident list --all")
        return known[incident]

    def open(
        self,
        *,
        title: str,
        system: str,
        aware: tuple[int, str],
        classes: Sequence[str],
        calls: Sequence[str],
        by: str,
        cause: str,
        set_hold: SetHold,
    ) -> Incident:
        """Open an incident, once a legal hold on its evidence stands.

        Args:
            title: what it is about, in a line.
            system: the AI system; empty: not one alone.
            aware: when somebody became aware of it, UNIX seconds and as it was given.
            classes: a first guess; may be empty.
            calls: event ids of calls that belong to it.
            by, cause: who opens it, and what is known.
            set_hold: sets the hold.

        Raises:
            ComplianceError: a class is unknown, or the time lies ahead.
        """
        now = self._clock()
        self.table.check_classes(classes)
        _check_said(title, "a title")
        _check_said(cause, "a reason")
        _check_past(aware[0], now, "somebody became aware of it")
        incident = self._fresh(now)
        hold = set_hold(f"incident {incident}: {title}")
        self._record(
            "incident.opened",
            {
                "principal": by,
                "incident": incident,
                "system": system,
                "title": title,
                "classes": list(dict.fromkeys(classes)),
                "aware_at": aware[0],
                "aware_text": aware[1],
                "calls": list(dict.fromkeys(calls)),
                "hold": hold,
                "cause": cause,
            },
        )
        return self.get(incident)

    def assess(
        self, incident: str, *, classes: Sequence[str], not_reported: Mapping[str, str], by: str, cause: str
    ) -> Incident:
        """Say what an incident is, and so what has to be reported until when. It may be assessed again.

        Args:
            incident: its id.
            classes: of incident, at least one.
            not_reported: duties that these classes bring and that need not be done all the same, and why.
            by, cause: who says so, and on what grounds.

        Raises:
            ComplianceError: a class or duty is unknown, or the incident is closed.
        """
        found = self._open(incident)
        if not classes:
            raise ComplianceError(f"name what it is with --class; there are: {', '.join(sorted(self.table.classes))}.")
        self.table.check_classes(classes)
        _check_said(cause, "a reason")
        brought = self.table.brought_by(classes, found.aware_at)
        stray = sorted(not_reported.keys() - brought.keys())
        if stray:
            raise ComplianceError(
                f"these classes bring no duty {', '.join(stray)}; they bring: {', '.join(sorted(brought)) or 'none'}."
            )
        for why in not_reported.values():
            _check_said(why, "why a duty need not be done")
        duties: list[dict[str, Any]] = []
        for name, deadline in brought.items():
            if name in not_reported:
                duties.append({"duty": name, "must_report": False, "deadline": 0, "cause": not_reported[name]})
            else:
                duties.append({"duty": name, "must_report": True, "deadline": deadline})
        self._record(
            "incident.assessed",
            {
                "principal": by,
                "incident": incident,
                "system": found.system,
                "classes": list(dict.fromkeys(classes)),
                "duties": duties,
                "table": self.table.version,
                "cause": cause,
            },
        )
        return self.get(incident)

    def report(
        self,
        incident: str,
        *,
        duty: str,
        to: str,
        reported_at: int,
        complete: bool,
        reference: str,
        late_cause: str,
        by: str,
    ) -> Incident:
        """Put on record that an incident was reported.

        Args:
            incident: its id.
            duty: which duty the report fulfils.
            to: the authority.
            reported_at: when, UNIX seconds.
            complete: whether nothing has to follow.
            reference: of the report; may be empty.
            late_cause: why it was late, where it was.
            by: who says so.

        Raises:
            ComplianceError: it is not assessed, has no such duty, lies ahead, or is late without a reason.
        """
        found = self._open(incident)
        state = found.duty(duty)
        if not found.assessed_at or state is None or not state.must_report:
            due = ", ".join(each.duty for each in found.duties if each.must_report)
            raise ComplianceError(
                f"{incident} has no duty {duty} to report: it has {due or 'none'}. "
                f"Assess it first: govctl incident assess {incident} --class …"
            )
        _check_said(to, "to whom it was reported")
        _check_past(reported_at, self._clock(), "it was reported")
        if reported_at < found.aware_at:
            raise ComplianceError("it cannot have been reported before anybody became aware of it.")
        late = reported_at > state.deadline and not state.reported_at
        if late and not late_cause.strip():
            raise ComplianceError(
                f"the report is late by {span(reported_at - state.deadline)} (it was due {shown(state.deadline)}); "
                "say why with --late-because."
            )
        fields: dict[str, Any] = {
            "principal": by,
            "incident": incident,
            "system": found.system,
            "duty": duty,
            "to": to,
            "reported_at": reported_at,
            "deadline": state.deadline,
            "in_time": min(reported_at, state.reported_at or reported_at) <= state.deadline,
            "complete": complete,
        }
        if reference:
            fields["reference"] = reference
        if late_cause.strip():
            fields["late_cause"] = late_cause.strip()
        self._record("incident.reported", fields)
        return self.get(incident)

    def close(self, incident: str, *, by: str, cause: str) -> Incident:
        """Close an incident. Its legal hold stays.

        Raises:
            ComplianceError: it is not assessed, or something has to be reported yet.
        """
        found = self._open(incident)
        _check_said(cause, "a reason: the cause of the incident, and what was done")
        if not found.assessed_at:
            raise ComplianceError(f"{incident} is not assessed: govctl incident assess {incident} --class …")
        outstanding = [each.duty for each in found.duties if each.outstanding]
        if outstanding:
            raise ComplianceError(
                f"{incident} has to be reported yet ({', '.join(outstanding)}); report it, or assess it again with "
                "--not-reported DUTY=WHY."
            )
        fields = {"principal": by, "incident": incident, "system": found.system, "hold": found.hold, "cause": cause}
        self._record("incident.closed", fields)
        return self.get(incident)

    def _open(self, incident: str) -> Incident:
        found = self.get(incident)
        if found.closed_at:
            raise ComplianceError(f"{incident} was closed at {shown(found.closed_at)}; open another one.")
        return found

    def _fresh(self, now: int) -> str:
        known = self.all()
        day = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d")
        while True:
            incident = f"INC-{day}-{secrets.token_hex(2)}"
            if incident not in known:
                return incident


def _check_said(text: str, what: str) -> None:
    if not any(each.isalnum() for each in text):
        raise ComplianceError(f"{what} is missing; it goes to the log.")


def _check_past(seconds: int, now: int, what: str) -> None:
    if seconds > now:
        raise ComplianceError(f"the time at which {what} lies ahead by {span(seconds - now)}; check it and its zone.")
