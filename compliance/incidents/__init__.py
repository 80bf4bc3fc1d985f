"""Incidents: what they are derived from (the log), which duties to report they bring, and until when."""

from compliance.incidents.duties import Deadline, Duties, Duty, load_duties
from compliance.incidents.state import DutyState, Incident, Report, incidents_of

__all__ = ["Deadline", "Duties", "Duty", "DutyState", "Incident", "Report", "incidents_of", "load_duties"]
