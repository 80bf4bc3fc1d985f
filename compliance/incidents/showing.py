"""Incidents as JSON shows them, deadlines counted. Times are UNIX seconds. Pure."""

from dataclasses import asdict
from typing import Any

from compliance.incidents.duties import Duties
from compliance.incidents.state import DutyState, Incident


def to_do(incident: Incident) -> str:
    """Return what has to be done next, in a few words; empty for nothing."""
    if incident.closed_at:
        return ""
    if not incident.assessed_at:
        return "assess"
    return ", ".join(f"report {each.duty}" for each in incident.duties if each.outstanding) or "close"


def incident_view(incident: Incident, table: Duties, now: int) -> dict[str, Any]:
    """Return an incident as it stands at `now`; `seconds_left` is negative once a deadline has passed."""
    deadline = incident.next_deadline(table)
    return {
        "incident": incident.incident,
        "status": incident.status,
        "system": incident.system,
        "title": incident.title,
        "classes": list(incident.classes),
        "aware_at": incident.aware_at,
        "aware_text": incident.aware_text,
        "opened_at": incident.opened_at,
        "opened_by": incident.opened_by,
        "assessed_at": incident.assessed_at,
        "closed_at": incident.closed_at,
        "hold": incident.hold,
        "calls": list(incident.calls),
        "to_do": to_do(incident),
        "next_deadline": deadline,
        "seconds_left": deadline - now if deadline else None,
        "overdue": incident.overdue(table, now),
        "duties": [_duty(each, now) for each in incident.duties],
        "reports": [asdict(each) for each in incident.reports],
    }


def _duty(duty: DutyState, now: int) -> dict[str, Any]:
    return {
        "duty": duty.duty,
        "must_report": duty.must_report,
        "deadline": duty.deadline,
        "cause": duty.cause,
        "reported_at": duty.reported_at,
        "in_time": None if duty.outstanding else duty.in_time,
        "complete": duty.complete,
        "overdue": duty.overdue(now),
    }
