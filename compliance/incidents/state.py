"""The state of incidents, derived from their records in the log. Pure: no clock, the time is handed in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from compliance.incidents.duties import Duties

NANOSECONDS = 1_000_000_000

Status = Literal["open", "assessed", "reported", "closed"]


@dataclass(frozen=True, slots=True)
class Report:
    """One report to an authority. Times are UNIX seconds."""

    duty: str
    to: str
    reported_at: int
    complete: bool
    reference: str = ""
    late_cause: str = ""


@dataclass(frozen=True, slots=True)
class DutyState:
    """A duty to report, as it stands.

    Attributes:
        must_report: whether it has to be reported; `cause` says why not.
        deadline: UNIX seconds; 0 where nothing has to be reported.
        reported_at: the first report, also an incomplete one (UNIX seconds); 0 for none.
        complete: whether a report was complete.
    """

    duty: str
    must_report: bool
    deadline: int
    cause: str = ""
    reported_at: int = 0
    complete: bool = False

    @property
    def outstanding(self) -> bool:
        """Whether nobody has reported it yet, and somebody has to."""
        return self.must_report and not self.reported_at

    @property
    def in_time(self) -> bool:
        """Whether it was reported in time, or need not be."""
        return not self.must_report or 0 < self.reported_at <= self.deadline

    def overdue(self, now: int) -> bool:
        """Whether it is not reported and its deadline has passed at `now` (UNIX seconds)."""
        return self.outstanding and now > self.deadline


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident. Times are UNIX seconds, 0 where it has not happened.

    Attributes:
        aware_at: when somebody became aware of it; `aware_text` the same as it was given, with its offset from UTC.
        classes: by the last assessment; before, as guessed when it was opened.
        hold: id of the legal hold on its evidence.
        records: event ids of its records, in the order of the log.
    """

    incident: str
    system: str
    title: str
    opened_at: int
    opened_by: str
    aware_at: int
    aware_text: str
    cause: str
    classes: tuple[str, ...]
    calls: tuple[str, ...]
    hold: str
    assessed_at: int = 0
    assessed_by: str = ""
    assessment: str = ""
    table: str = ""
    duties: tuple[DutyState, ...] = ()
    reports: tuple[Report, ...] = ()
    closed_at: int = 0
    closed_by: str = ""
    closing: str = ""
    records: tuple[str, ...] = field(default=())

    @property
    def status(self) -> Status:
        """How far it is: `reported` once nothing that has to be reported is outstanding."""
        if self.closed_at:
            return "closed"
        if not self.assessed_at:
            return "open"
        due = [each for each in self.duties if each.must_report]
        return "reported" if due and not any(each.outstanding for each in due) else "assessed"

    @property
    def must_report(self) -> bool:
        """Whether anything has to be reported."""
        return any(each.must_report for each in self.duties)

    @property
    def reported_in_time(self) -> bool:
        """Whether everything that has to be reported was, in time."""
        return all(each.in_time for each in self.duties)

    def duty(self, name: str) -> DutyState | None:
        """Return one duty as it was assessed."""
        return next((each for each in self.duties if each.duty == name), None)

    def next_deadline(self, table: Duties) -> int:
        """Return by when something has to be done next (UNIX seconds); 0 for nothing.

        Before an assessment it is the shortest deadline that the guessed classes may bring, or any class if none was
        guessed: nobody can know yet that there is more time.
        """
        if self.closed_at:
            return 0
        if not self.assessed_at:
            brought = table.brought_by(self.classes, self.aware_at)
            return min(brought.values()) if brought else table.shortest(self.aware_at)
        return min((each.deadline for each in self.duties if each.outstanding), default=0)

    def overdue(self, table: Duties, now: int) -> bool:
        """Whether a deadline has passed at `now` (UNIX seconds) and what it was for is not done."""
        deadline = self.next_deadline(table)
        return bool(deadline) and now > deadline


def incidents_of(records: Iterable[Mapping[str, Any]]) -> dict[str, Incident]:
    """Return the incidents that parsed records of the log tell of, by id, in the order they were opened.

    Args:
        records: in the order of the log; those of other types are passed over, as are those of an incident whose
            opening is not among them.
    """
    found: dict[str, Incident] = {}
    for record in records:
        kind = record.get("type")
        if kind == "incident.opened":
            found.setdefault(str(record["incident"]), _opened(record))
        elif isinstance(kind, str) and kind in _STEPS and record.get("incident") in found:
            before = found[record["incident"]]
            after = _STEPS[kind](before, record)
            found[record["incident"]] = replace(after, records=(*before.records, str(record["event_id"])))
    return found


def _seconds(record: Mapping[str, Any]) -> int:
    return int(record["time"]) // NANOSECONDS


def _opened(record: Mapping[str, Any]) -> Incident:
    return Incident(
        incident=str(record["incident"]),
        system=record["system"],
        title=record["title"],
        opened_at=_seconds(record),
        opened_by=record["principal"],
        aware_at=record["aware_at"],
        aware_text=record["aware_text"],
        cause=record["cause"],
        classes=tuple(record["classes"]),
        calls=tuple(record["calls"]),
        hold=record["hold"],
        records=(str(record["event_id"]),),
    )


def _assessed(incident: Incident, record: Mapping[str, Any]) -> Incident:
    duties = tuple(
        DutyState(each["duty"], each["must_report"], each["deadline"], each.get("cause", ""))
        for each in record["duties"]
    )
    assessed = replace(
        incident,
        classes=tuple(record["classes"]),
        assessed_at=_seconds(record),
        assessed_by=record["principal"],
        assessment=record["cause"],
        table=record["table"],
        duties=duties,
    )
    return _with_reports(assessed)


def _reported(incident: Incident, record: Mapping[str, Any]) -> Incident:
    report = Report(
        record["duty"], record["to"], record["reported_at"], record["complete"], record.get("reference", ""),
        record.get("late_cause", ""),
    )  # fmt: skip
    return _with_reports(replace(incident, reports=(*incident.reports, report)))


def _closed(incident: Incident, record: Mapping[str, Any]) -> Incident:
    return replace(incident, closed_at=_seconds(record), closed_by=record["principal"], closing=record["cause"])


def _with_reports(incident: Incident) -> Incident:
    """Return it with the reports in its duties: a new assessment does not undo what was reported."""
    duties = []
    for duty in incident.duties:
        of_duty = [report for report in incident.reports if report.duty == duty.duty]
        first = min((report.reported_at for report in of_duty), default=0)
        duties.append(replace(duty, reported_at=first, complete=any(report.complete for report in of_duty)))
    return replace(incident, duties=tuple(duties))


_STEPS = {"incident.assessed": _assessed, "incident.reported": _reported, "incident.closed": _closed}
