"""Incidents: opened, assessed, reported, closed."""

from dataclasses import dataclass, field

from compliance.populations.base import Entry, Value
from compliance.populations.collectors.base import SECOND, Surroundings, base_of, texts

TYPES = ("incident.opened", "incident.assessed", "incident.reported", "incident.closed")

BREACH = "personal-data-breach"


@dataclass(slots=True)
class _Incident:
    base: dict[str, Value]
    title: str
    aware_ns: int
    classes: list[str]
    hold: str
    assessed: bool = False
    deadlines: dict[str, int] = field(default_factory=dict)
    reports: dict[str, tuple[int, bool]] = field(default_factory=dict)
    closed_ns: int | None = None


class Incidents:
    """Follows incidents from their beginning."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._incidents: dict[str, _Incident] = {}

    def take(self, entry: Entry) -> None:
        """Take a record; what is later than the period belongs to another one, but for reports of what was due."""
        document = entry.document
        if "unwritable" in document or entry.time_ns >= self._around.period.end_ns:
            return
        name = str(document["incident"])
        if entry.type == "incident.opened":
            aware = int(document["aware_at"]) * SECOND
            base = base_of(entry, str(document.get("system", "")))
            classes, hold = texts(document.get("classes")), str(document.get("hold", ""))
            self._incidents[name] = _Incident(base, str(document["title"]), aware, classes, hold)
            return
        known = self._incidents.get(name)
        if known is None:
            return
        if entry.type == "incident.assessed":
            known.assessed, known.classes = True, texts(document.get("classes"))
            duties = document.get("duties", ())
            known.deadlines = {str(each["duty"]): int(each["deadline"]) for each in duties if each.get("must_report")}
        elif entry.type == "incident.reported":
            report = (int(document["reported_at"]) * SECOND, bool(document["in_time"]))
            known.reports.setdefault(str(document["duty"]), report)
        else:
            known.closed_ns = entry.time_ns

    def finish(self) -> None:
        """Give out every incident that was open in the period."""
        for name, each in sorted(self._incidents.items()):
            if each.closed_ns is None or each.closed_ns >= self._around.period.start_ns:
                self._around.emit("incidents", self._row(name, each))

    def _row(self, name: str, each: _Incident) -> dict[str, Value]:
        first = min(each.deadlines.values(), default=0) * SECOND
        reported = min((time for time, _ in each.reports.values()), default=0)
        return {
            **each.base,
            "incident": name,
            "title": each.title,
            "classes": each.classes,
            "aware_at": each.aware_ns,
            "deadline": first or None,
            "reported_at": reported or None,
            "closed_at": each.closed_ns,
            "assessed": each.assessed,
            "must_report": bool(each.deadlines),
            "personal_data_breach": BREACH in each.classes,
            "reported_in_time": all(self._kept(each, duty) for duty in each.deadlines),
            "closed": each.closed_ns is not None,
            "hold": each.hold,
        }

    def _kept(self, each: _Incident, duty: str) -> bool:
        report = each.reports.get(duty)
        return report[1] if report is not None else self._around.end_ns <= each.deadlines[duty] * SECOND
