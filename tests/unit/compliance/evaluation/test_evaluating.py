"""Controls are decided as their file says: each planted fault turns its own control red, and days without data do."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from compliance.catalogue.loading import load_catalogue
from compliance.catalogue.model import Framework, parse_framework
from compliance.errors import ComplianceError
from compliance.evaluation.attestations import Statement, load_statements
from compliance.evaluation.evaluating import evaluate
from compliance.evaluation.result import ControlResult
from compliance.period import Period
from compliance.populations.registry import POPULATIONS
from compliance.register import Register, load_register
from tests.support.planted_log import AGENT, SYSTEM, PlantedLog, intent

MARCH = Period(date(2027, 3, 1), date(2027, 3, 2))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PlantedLog]:
    with PlantedLog(tmp_path) as planted:
        planted.write("2027-03-01T00:00:00", "control", (
            "gateway.started",
            {"version": "1", "trust_domain": "example.org", "workers": 1, "config_digest": "c" * 64,
             "policy": {"revision": "r1", "data_digest": "d" * 64}},
        ))  # fmt: skip
        planted.call("2027-03-01T10:00:00")
        planted.call("2027-03-02T10:00:00")
        planted.alive("2027-03-01", "2027-03-02")
        yield planted


def framework(**control: Any) -> Framework:
    return parse_framework(
        {
            "framework": "ours",
            "title": "Ours",
            "version": "1",
            "source": "https://example.org",
            "checked": "2027-01-01",
            "controls": [{"id": "C-1", "title": "T", "paraphrase": "P", "source": "S", **control}],
        }
    )


def register(**changed: Any) -> Register:
    return load_register({"systems": {"hiring": {**SYSTEM, **changed}}})


def decided(
    log: PlantedLog,
    of: Framework,
    *statements: Statement,
    system: str = "hiring",
    period: Period = MARCH,
    **changed: Any,
) -> ControlResult:
    known = register(**changed)
    return evaluate(log.populations(period, known), [of], known, period, system, statements).controls[0]


SHARE = {"id": "t", "says": "s", "population": "calls", "of": {"decision": "allow"}, "good": {"closed": True}}
CLOSED = framework(populations=["calls"], tests=[SHARE])


def statement(**changed: Any) -> Statement:
    fields = {"control": "C-1", "item": "plan", "statement": "done", "by": "ada", "date": "2027-03-01", **changed}
    return Statement.model_validate(fields)


def test_a_test_that_holds_passes_with_its_figures_and_every_day(log):
    result = decided(log, CLOSED)
    assert (result.status, result.tests[0].measured) == ("pass", "100.00 % (0 exceptions of 2)")
    assert [(day.day, day.status, day.rows) for day in result.tests[0].days] == [
        ("2027-03-01", "pass", 1),
        ("2027-03-02", "pass", 1),
    ]


def test_an_exception_is_named_with_its_record_and_its_day_fails(log):
    (event,) = log.write("2027-03-02T11:00:00", "worker-1", intent())
    test = decided(log, CLOSED).tests[0]
    assert (test.status, test.measured) == ("fail", "66.66 % (1 exceptions of 3)")
    assert [name for _, name in test.exceptions] == [event]
    assert [day.status for day in test.days] == ["pass", "fail"]


def test_a_share_may_be_partial(log):
    log.write("2027-03-02T11:00:00", "worker-1", intent())
    of = framework(populations=["calls"], tests=[{**SHARE, "partial_at_least": "0.5"}])
    assert decided(log, of).status == "partial"


def test_a_day_without_data_fails_whatever_the_other_days_say(log):
    result = decided(log, CLOSED, period=Period(date(2027, 3, 1), date(2027, 3, 3)))
    assert result.status == "fail"
    assert [day.status for day in result.tests[0].days] == ["pass", "pass", "no-data"]
    assert "no data for 2027-03-03" in result.tests[0].reason


@pytest.mark.parametrize(
    ("bound", "status"), [({"at_most": 2}, "pass"), ({"at_most": 1}, "fail"), ({"at_least": 3}, "fail")]
)
def test_rows_are_counted(log, bound, status):
    of = framework(
        populations=["calls"], tests=[{"id": "t", "says": "s", "population": "calls", "count": True, **bound}]
    )
    result = decided(log, of)
    assert (result.status, result.tests[0].value) == (status, 2)


@pytest.mark.parametrize(("bound", "status"), [(1000, "pass"), (999, "fail")])
def test_the_highest_value_is_measured(log, bound, status):
    test = {"id": "t", "says": "s", "population": "calls", "highest": "duration_ms", "at_most": bound}
    result = decided(log, framework(populations=["calls"], tests=[test]))
    assert (result.status, result.tests[0].value) == (status, 1000)
    assert len(result.tests[0].exceptions) == (0 if status == "pass" else 2)


@pytest.mark.parametrize("outcome", ["pass", "fail", "not-applicable"])
def test_no_rows_mean_what_the_test_says(log, outcome):
    test = {"id": "t", "says": "s", "population": "incidents", "good": {"assessed": True}, "when_empty": outcome}
    assert decided(log, framework(populations=["incidents"], tests=[test])).status == outcome


def test_an_auditor_gets_the_same_figures_by_the_query(log):
    known = register()
    data = log.populations(MARCH, known)
    test = evaluate(data, [CLOSED], known, MARCH, "hiring", ()).controls[0].tests[0]
    assert data.query(test.query) == [(2, 2)]
    assert "system = 'hiring'" in test.query


APPLIES = [
    ({"roles": ["provider"]}, {}, "not-applicable"),
    ({"roles": ["deployer"]}, {}, "pass"),
    ({"roles": ["deployer"]}, {"roles": []}, "pass"),
    ({"roles": ["provider"]}, {"roles": []}, "not-applicable"),
    ({"risk": ["high"]}, {}, "pass"),
    ({"risk": ["high"]}, {"risk": "limited", "annex_iii": None}, "not-applicable"),
    ({"risk": ["high"]}, {"risk": "limited"}, "pass"),
    ({"annex_iii": ["biometrics"]}, {}, "not-applicable"),
    ({"deployer": "public"}, {}, "not-applicable"),
    ({"deployer": "public"}, {"deployer": "public"}, "pass"),
    ({"transparency": True}, {}, "not-applicable"),
    ({"personal_data": True}, {"data_classes": ["personal"]}, "pass"),
    ({"personal_data": True}, {}, "not-applicable"),
]


@pytest.mark.parametrize(("applies", "entry", "status"), APPLIES)
def test_a_control_applies_by_the_register(log, applies, entry, status):
    result = decided(log, framework(populations=["calls"], tests=[SHARE], applies=applies), **entry)
    assert result.status == status
    assert bool(result.reason) is (status == "not-applicable")


def test_a_control_that_is_not_in_force_yet_is_decided_as_preparation(log):
    applies = {"in_force": "2027-12-02", "in_force_annex_i": "2028-08-02"}
    result = decided(log, framework(populations=["calls"], tests=[SHARE], applies=applies))
    assert (result.status, result.binding, result.in_force) == ("pass", False, "2027-12-02")
    of_annex_i = decided(
        log, framework(populations=["calls"], tests=[SHARE], applies=applies), annex_i=True, annex_iii=None
    )
    assert of_annex_i.in_force == "2028-08-02"


def test_what_a_person_supplies_makes_the_difference_between_partial_attested_and_pass(log):
    person = [{"id": "plan", "asks": "A plan."}]
    alone, both = framework(person=person), framework(person=person, populations=["calls"], tests=[SHARE])
    assert decided(log, alone).status == "partial"
    assert decided(log, alone, statement()).status == "attested"
    assert decided(log, both).status == "partial"
    assert decided(log, both, statement()).status == "pass"


STATEMENTS = [
    ({"date": "2027-03-03"}, {}, "missing"),
    ({"date": "2027-02-01"}, {}, "expired"),
    ({"date": "2027-02-01", "valid_until": "2027-03-01"}, {}, "expired"),
    ({"date": "2027-02-01", "valid_until": "2027-03-02"}, {}, "given"),
    ({"date": "2027-02-01"}, {"valid_days": 366}, "given"),
    ({"date": "2026-01-01"}, {"valid_days": 366}, "expired"),
    ({"date": "2027-02-01", "valid_until": "2029-01-01"}, {"valid_days": 10}, "expired"),
    ({"system": "other"}, {}, "missing"),
    ({"system": "hiring"}, {}, "given"),
]


@pytest.mark.parametrize(("said", "item", "status"), STATEMENTS)
def test_a_statement_holds_as_long_as_it_and_the_control_say(log, said, item, status):
    of = framework(person=[{"id": "plan", "asks": "A plan.", **item}])
    assert decided(log, of, statement(**said)).person[0].status == status


def test_the_register_answers_what_it_has(log):
    of = framework(person=[{"id": "plan", "asks": "A plan.", "register_key": "oversight.overseers"}])
    assert decided(log, of).person[0].status == "given"
    assert decided(log, of, oversight={"overseers": []}).person[0].status == "missing"


def test_a_statement_about_what_nobody_asks_is_refused(log):
    with pytest.raises(ComplianceError, match="C-1 asks for no 'paln'"):
        decided(log, framework(person=[{"id": "plan", "asks": "A plan."}]), statement(item="paln"))


def test_an_unknown_system_is_refused(log):
    with pytest.raises(ComplianceError, match="no AI system 'hirng'; it has: hiring"):
        decided(log, CLOSED, system="hirng")


def test_files_of_statements_are_read_and_every_fault_is_named(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "- {control: C-1, item: plan, statement: done, by: ada, date: '2027-03-01'}\n"
        "- {control: C-1, item: plan, statement: done, by: ada, date: 1 March, sing: 2}\n"
    )
    (tmp_path / "b.yaml").write_text("control: C-1\n")
    with pytest.raises(ComplianceError) as refused:
        load_statements(tmp_path)
    assert "a.yaml: 1.date: '1 March' is not a day" in str(refused.value)
    assert "a.yaml: 1.sing: Extra inputs" in str(refused.value)
    assert "b.yaml: a file of statements is a list" in str(refused.value)
    with pytest.raises(ComplianceError, match="is no directory"):
        load_statements(tmp_path / "gone")


def red(log: PlantedLog, **changed: Any) -> set[str]:
    """Return the tests of the whole catalogue that do not hold."""
    known = register(roles=["provider", "deployer"], data_classes=["personal"], **changed)
    catalogue = load_catalogue([], POPULATIONS)
    found = evaluate(log.populations(MARCH, known), catalogue.chosen([]), known, MARCH, "hiring", ())
    return {
        f"{result.control.id}/{test.test.id}"
        for result in found.controls
        for test in result.tests
        if test.status == "fail"
    }


def test_every_control_of_the_catalogue_is_decided_and_a_planted_fault_turns_its_own_red(log):
    before = red(log)
    log.call("2027-03-01T12:00:00", policy_input={"resource": {"region": "us"}, "action": "model.infer"})
    assert red(log) - before == {"GDPR-44/in-allowed-regions"}
    log.call("2027-03-01T12:01:00", request={"bytes": 3})
    assert red(log) - before == {
        "GDPR-44/in-allowed-regions",
        "AIA-12.1/payload-commitments",
        "PI1.1/payload-commitments",
    }


def test_what_holds_over_the_period_but_not_on_every_day_is_no_pass(log):
    log.write("2027-03-02T11:00:00", "worker-1", intent())
    for minute in range(10, 30):
        log.call(f"2027-03-01T12:{minute}:00")
    result = decided(log, framework(populations=["calls"], tests=[{**SHARE, "share_at_least": "0.9"}]))
    assert (result.status, [day.status for day in result.tests[0].days]) == ("partial", ["pass", "fail"])
    assert result.tests[0].reason == "it held over the period as a whole, but not on 2027-03-02"


def test_what_began_before_the_period_counts_on_its_first_day(log):
    log.write("2027-01-01T10:00:00", "control", ("review.started", {
        "principal": "operator:ada", "review": "q1", "deadline": 1_800_000_000, "identities": 1}))  # fmt: skip
    test = {"id": "t", "says": "s", "population": "reviews", "good": {"late": False}}
    result = decided(log, framework(scope="organisation", populations=["reviews"], tests=[test])).tests[0]
    assert [(day.status, day.rows, day.exceptions) for day in result.days] == [("fail", 1, 1), ("pass", 0, 0)]


@pytest.mark.parametrize("bound", [{"at_most": 89}, {"at_least": 91}])
def test_only_rows_beyond_the_bound_are_exceptions_also_where_rows_have_no_record_of_their_own(log, bound):
    test = {"id": "t", "says": "s", "population": "coverage", "highest": "records", **bound}
    measured = {"2027-03-01": 27, "2027-03-02": 26}
    result = decided(log, framework(scope="organisation", populations=["coverage"], tests=[test])).tests[0]
    assert result.value == max(measured.values())
    bad = [number < 91 if "at_least" in bound else number > 89 for number in measured.values()]
    assert [day.exceptions for day in result.days] == bad
    assert len(result.exceptions) == sum(bad)


def test_a_key_that_stands_twice_in_a_statement_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("- {control: C-1, item: plan, statement: done, statement: not done, by: ada}\n")
    with pytest.raises(ComplianceError, match="the key 'statement' stands twice"):
        load_statements(tmp_path)


def _late_review(log: PlantedLog) -> None:
    review = {"principal": "operator:ada", "review": "q1", "identities": 1}
    log.write("2027-02-01T10:00:00", "control", ("review.started", {**review, "deadline": 1_802_000_000}))
    log.write("2027-03-02T10:00:00", "control", ("review.closed", {**review, "undecided": 0}))


def _self_approved(log: PlantedLog) -> None:
    change = {"author": "Ada", "approvers": ["ada"], "checks": ["test"], "commit_signed": True}
    log.write("2027-03-02T10:00:00", "control", ("policy.activated", {
        "principal": "operator:ada", "policy": {"revision": "r2", "data_digest": "e" * 64}, "bundle_digest": "b" * 64,
        "replaced": {}, "source": "push", "rollback": False, "reason": "", "change": change,
    }))  # fmt: skip


def _used_after_revocation(log: PlantedLog) -> None:
    revoked = {"principal": "operator:ada", "kind": "id", "subject": AGENT, "cause": "stolen"}
    log.write("2027-02-01T10:00:00", "control", ("identity.revoked", revoked))


def _killed(log: PlantedLog) -> None:
    started = {"version": "1", "trust_domain": "example.org", "workers": 1, "config_digest": "c" * 64,
               "policy": {"revision": "r1", "data_digest": "d" * 64}}  # fmt: skip
    log.write("2027-03-02T12:00:00", "control", ("gateway.started", started))


def _old_secret(log: PlantedLog) -> None:
    secret = {"reference": "env:KEY", "purpose": "backends.gpu.credential", "kind": "static", "readable": True,
              "age_seconds": 91 * 86_400, "max_age_seconds": 90 * 86_400}  # fmt: skip
    log.write("2027-03-02T12:00:00", "control", ("secret.inventory", {"secrets": [secret]}))


def _unlisted_model(log: PlantedLog) -> None:
    log.call("2027-03-02T12:00:00", model={"name": "other", "upstream": "o"})


def _another_region(log: PlantedLog) -> None:
    log.call("2027-03-02T12:00:00", policy_input={"resource": {"region": "us"}})


PLANTED: list[tuple[Callable[[PlantedLog], None], dict[str, Any], set[str]]] = [
    (_late_review, {}, {"CC6.2/reviews-complete"}),
    (_self_approved, {}, {"CC8.1/second-person"}),
    (_used_after_revocation, {}, {"CC6.3/no-use-after-revocation"}),
    (_killed, {}, {f"{each}/gaps-explained" for each in ("A1.1", "AIA-12.1", "CC2.1", "CC7.2")}),
    (_old_secret, {}, {"CC6.1/secrets-rotated", "GDPR-32/secrets-rotated"}),
    (_unlisted_model, {}, {"AIA-11/documented-models", "AIA-26.1/declared-models"}),
    (_another_region, {}, {"GDPR-44/in-allowed-regions"}),
    (lambda _: None, {"oversight": {"overseers": []}}, {"AIA-14/calls-overseen", "AIA-26.2/calls-overseen"}),
]


@pytest.mark.parametrize(("plant", "entry", "controls"), PLANTED, ids=range(len(PLANTED)))
def test_a_fault_is_found_in_its_controls_and_nothing_else_is_red(log, plant, entry, controls):
    before = red(log)
    plant(log)
    assert red(log, **entry) - before == controls


@pytest.mark.parametrize(("day", "status"), [("2027-03-02", "pass"), ("2026-12-03", "pass"), ("2026-12-01", "fail")])
def test_a_drill_counts_for_90_days_also_where_the_period_is_shorter(log, day, status):
    drilled = {"principal": "operator:ada", "system": "hiring", "cause": "a drill", "result": "passed", "workers": 1}
    log.write(f"{day}T23:59:59", "control", ("oversight.drilled", {**drilled, "milliseconds": 5}))
    known = register(roles=["deployer"])
    (control,) = [
        each for each in load_catalogue([], POPULATIONS).chosen(["eu-ai-act"])[0].controls if each.id == "AIA-14"
    ]
    of = load_catalogue([], POPULATIONS).chosen(["eu-ai-act"])[0].model_copy(update={"controls": [control]})
    found = evaluate(log.populations(MARCH, known), [of], known, MARCH, "hiring", ()).controls[0]
    assert {each.test.id: each.status for each in found.tests}["stop-drilled"] == status
