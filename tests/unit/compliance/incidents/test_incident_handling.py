"""From step to step: what an incident's records make of it, what is due, and what is refused."""

from typing import Any

import pytest

from audit.event_id import uuid7
from audit.events import validate_record
from compliance.errors import ComplianceError
from compliance.incidents import incidents_of, load_duties
from compliance.incidents.handling import Handling
from compliance.incidents.showing import incident_view, to_do

DAY, HOUR = 86_400, 3600
AWARE = 1_000_000


class Log:
    """A log in memory, with a clock that a test moves."""

    def __init__(self) -> None:
        self.now = AWARE + HOUR
        self.records: list[dict[str, Any]] = []
        self.holds: list[str] = []
        self.table = load_duties()
        self.handling = Handling(self.table, lambda: self.records, self.record, lambda: self.now)

    def record(self, kind: str, fields: dict[str, Any]) -> None:
        chain = {
            "v": 1, "log": "example.org/audit", "chain": "govctl", "seq": len(self.records), "prev": "0" * 64,
            "event_id": uuid7(), "time": str(self.now * 10**9), "type": kind,
        }  # fmt: skip
        self.records.append({**chain, **fields})
        assert validate_record(self.records[-1]) == []

    def set_hold(self, cause: str) -> str:
        assert not any(each["type"] == "incident.opened" for each in self.records), "the hold comes first"
        self.holds.append(cause)
        return "hold-1"

    def open(self, **changes: Any) -> str:
        given = {
            "title": "Applicants ranked by age", "system": "hiring", "aware": (AWARE, "1970-01-12T13:46:40+00:00"),
            "classes": [], "calls": [], "by": "operator:alex", "cause": "a complaint", "set_hold": self.set_hold,
        }  # fmt: skip
        return self.handling.open(**{**given, **changes}).incident

    def assess(self, incident: str, *classes: str, **not_reported: str) -> None:
        excepted = {name.replace("_", "-"): why for name, why in not_reported.items()}
        self.handling.assess(incident, classes=classes, not_reported=excepted, by="operator:sam", cause="looked at it")

    def report(self, incident: str, **changes: Any) -> None:
        given = {
            "duty": "ai-act-73", "to": "an authority", "reported_at": self.now, "complete": True, "reference": "",
            "late_cause": "", "by": "operator:sam",
        }  # fmt: skip
        self.handling.report(incident, **{**given, **changes})

    def due(self, incident: str) -> tuple[str, int, bool]:
        found = self.handling.get(incident)
        return to_do(found), found.next_deadline(self.table), found.overdue(self.table, self.now)


@pytest.fixture
def log() -> Log:
    return Log()


def test_an_incident_goes_from_opened_to_closed_and_its_evidence_is_held_first(log):
    incident = log.open()
    assert incident.startswith("INC-19700112-")
    assert log.holds == [f"incident {incident}: Applicants ranked by age"]
    assert log.due(incident) == ("assess", AWARE + 2 * DAY, False)
    log.assess(incident, "serious-harm")
    assert log.due(incident) == ("report ai-act-73", AWARE + 15 * DAY, False)
    log.report(incident)
    assert log.due(incident) == ("close", 0, False)
    closed = log.handling.close(incident, by="operator:sam", cause="retrained")
    assert (closed.status, closed.hold, closed.must_report, closed.reported_in_time) == ("closed", "hold-1", True, True)
    assert [each["type"].partition(".")[2] for each in log.records] == ["opened", "assessed", "reported", "closed"]
    assert list(closed.records) == [each["event_id"] for each in log.records]


def test_before_an_assessment_the_shortest_deadline_that_may_hold_counts(log):
    assert log.due(log.open(classes=["death"]))[1] == AWARE + 10 * DAY
    log.records.clear()
    assert log.due(log.open(classes=["security"]))[1] == AWARE + 2 * DAY


def test_a_deadline_is_overdue_from_the_second_after_it(log):
    incident = log.open()
    log.assess(incident, "personal-data-breach")
    log.now = AWARE + 72 * HOUR
    assert not log.due(incident)[2]
    log.now += 1
    assert log.due(incident)[2]
    view = incident_view(log.handling.get(incident), log.table, log.now)
    assert (view["overdue"], view["seconds_left"], view["duties"][0]["in_time"]) == (True, -1, None)


def test_a_first_incomplete_report_in_time_is_in_time_and_later_ones_do_not_undo_it(log):
    incident = log.open()
    log.assess(incident, "personal-data-breach")
    log.report(incident, duty="gdpr-33", complete=False)
    log.now = AWARE + 30 * DAY
    duty = log.handling.get(incident).duty("gdpr-33")
    assert (duty.in_time, duty.complete) == (True, False)
    log.report(incident, duty="gdpr-33")
    duty = log.handling.get(incident).duty("gdpr-33")
    assert (duty.in_time, duty.complete) == (True, True)
    assert [each["in_time"] for each in log.records if each["type"] == "incident.reported"] == [True, True]


def test_a_late_report_needs_its_reason_and_stays_late(log):
    incident = log.open()
    log.assess(incident, "personal-data-breach")
    log.now = AWARE + 73 * HOUR
    with pytest.raises(ComplianceError, match="late by 1 hour"):
        log.report(incident, duty="gdpr-33")
    log.report(incident, duty="gdpr-33", late_cause="the processor told us late")
    found = log.handling.get(incident)
    assert not found.reported_in_time
    assert found.reports[0].late_cause == "the processor told us late"
    assert not log.records[-1]["in_time"]


def test_a_new_assessment_changes_the_duties_and_keeps_the_reports(log):
    incident = log.open()
    log.assess(incident, "serious-harm")
    log.now = AWARE + 5 * DAY
    log.report(incident)
    log.assess(incident, "critical-infrastructure", "personal-data-breach", gdpr_33="no risk for anybody")
    found = log.handling.get(incident)
    assert not found.duty("ai-act-73").in_time, "two days held, as is known now"
    assert (found.duty("gdpr-33").must_report, found.duty("gdpr-33").cause) == (False, "no risk for anybody")
    assert log.due(incident)[0] == "close"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aware": (AWARE + 2 * HOUR, "later")}, "lies ahead by 1 hour"),
        ({"classes": ["deth"]}, "unknown class"),
        ({"title": " "}, "a title is missing"),
        ({"cause": "…"}, "a reason is missing"),
    ],
)
def test_an_incident_that_cannot_be_is_not_opened_and_holds_nothing(log, changes, said):
    with pytest.raises(ComplianceError, match=said):
        log.open(**changes)
    assert (log.records, log.holds) == ([], [])


def test_steps_that_cannot_be_are_refused_and_leave_no_record(log):
    incident = log.open()
    steps = {
        "there is no incident INC-0": lambda: log.assess("INC-0", "death"),
        "is not assessed": lambda: log.handling.close(incident, by="operator:sam", cause="done"),
        "Assess it first": lambda: log.report(incident),
        "name what it is": lambda: log.assess(incident),
        "bring no duty gdpr-33": lambda: log.assess(incident, "death", gdpr_33="no"),
        "why a duty need not be done is missing": lambda: log.assess(incident, "death", ai_act_73="-"),
    }
    for said, step in steps.items():
        with pytest.raises(ComplianceError, match=said):
            step()
    log.assess(incident, "death")
    steps = {
        "has no duty gdpr-33": lambda: log.report(incident, duty="gdpr-33"),
        "to whom": lambda: log.report(incident, to=""),
        "it was reported lies ahead": lambda: log.report(incident, reported_at=log.now + 60),
        "before anybody became aware": lambda: log.report(incident, reported_at=AWARE - 1),
        "has to be reported yet": lambda: log.handling.close(incident, by="operator:sam", cause="done"),
    }
    for said, step in steps.items():
        with pytest.raises(ComplianceError, match=said):
            step()
    log.assess(incident, "none")
    log.handling.close(incident, by="operator:sam", cause="a false alarm")
    with pytest.raises(ComplianceError, match="was closed"):
        log.assess(incident, "death")
    assert len(log.records) == 4


def test_records_of_an_incident_whose_opening_is_gone_are_passed_over(log):
    incident = log.open()
    log.assess(incident, "death")
    assert incidents_of(log.records[1:]) == {}
