"""What is planted in a log stands in the populations, each thing in its own."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from audit.export.source import open_source
from compliance.period import Period
from compliance.populations.base import Row
from compliance.populations.context import Context
from compliance.populations.dataset import Dataset
from compliance.populations.extraction import extract
from compliance.register import load_register
from tests.support.planted_log import AGENT, DIGEST, SYSTEM, PlantedLog, at, intent, only, outcome

MARCH = Period(date(2027, 3, 1), date(2027, 3, 3))
STARTED = (
    "gateway.started",
    {"version": "1", "trust_domain": "example.org", "workers": 1, "config_digest": "c" * 64,
     "policy": {"revision": "r1", "data_digest": DIGEST}},
)  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PlantedLog]:
    with PlantedLog(tmp_path) as planted:
        yield planted


def rows(data: Dataset, population: str, system: str = "") -> list[Row]:
    return list(data.rows(population, system))


def test_a_call_is_one_row_with_what_came_of_it(log):
    log.call("2027-03-01T10:00:00")
    row = only(rows(log.populations(MARCH), "calls"))
    assert (row["leaf"], row["outcome_leaf"], row["day"], row["system"]) == (0, 1, "2027-03-01", "hiring")
    assert (row["decision"], row["result"], row["closed"], row["backend"]) == ("allow", "completed", True, "gpu")
    assert (row["identity"], row["duration_ms"], row["input_tokens"]) == ("x509-svid", 1000, 3)
    assert (row["overseen"], row["in_register"], row["model_listed"], row["purpose_listed"]) == (True,) * 4
    assert row["data_classes"] == ["personal"]


def test_only_calls_of_the_period_are_rows_and_an_outcome_after_it_closes_a_call_of_it(log):
    log.call("2027-02-28T23:59:50")
    (of,) = log.write("2027-03-03T23:59:59", "worker-0", intent())
    log.write("2027-03-04T00:00:05", "worker-0", outcome(of))
    log.call("2027-03-04T10:00:00")
    row = only(rows(log.populations(MARCH), "calls"))
    assert (row["day"], row["closed"], row["event_id"]) == ("2027-03-03", True, of)


def test_a_call_without_an_outcome_is_a_gap_and_one_that_a_worker_lost_is_an_explained_one(log):
    log.write("2027-03-01T10:00:00", "worker-0", intent())
    log.write("2027-03-01T10:00:05", "control", ("worker.exited", {"worker": 0, "pid": 7, "exit_code": -9}))
    log.write("2027-03-01T11:00:00", "worker-1", intent())
    log.call("2027-03-01T11:10:00")
    data = log.populations(MARCH)
    assert [row["closed"] for row in sorted(rows(data, "calls"), key=lambda row: row["time"])] == [True, False, True]
    gaps = {row["cause"]: row["explained"] for row in rows(data, "gaps") if row["kind"] == "open-call"}
    assert gaps == {"worker-exited": True, "": False}


def test_an_outcome_that_the_tree_has_after_the_end_of_its_worker_still_closes_the_call(log):
    (of,) = log.write("2027-03-01T10:00:00", "worker-0", intent())
    log.world.sequence()
    log.write("2027-03-01T10:00:02", "control", ("worker.exited", {"worker": 0, "pid": 7, "exit_code": 1}))
    log.world.sequence()
    log.write("2027-03-01T10:00:01", "worker-0", outcome(of))
    data = log.populations(MARCH)
    assert only(rows(data, "calls"))["result"] == "completed"
    assert [row["kind"] for row in rows(data, "gaps")] == ["worker"]


def test_what_the_register_does_not_have_shows_in_the_calls(log):
    log.call("2027-03-01T10:00:00", model={"name": "other", "upstream": "o"}, action="model.embed")
    log.call("2027-03-01T10:01:00", policy_input={"resource": {"region": "us"}})
    log.call("2027-03-01T10:02:00", system="unheard-of")
    found = rows(log.populations(MARCH), "calls")
    assert [row["model_listed"] for row in found] == [False, True, False]
    assert [row["purpose_listed"] for row in found] == [False, True, False]
    assert [row["region_allowed"] for row in found] == [True, False, True]
    assert [row["in_register"] for row in found] == [True, True, False]


def test_the_register_of_the_revision_that_decided_counts_and_not_the_one_of_today(log):
    log.call("2027-03-01T10:00:00")
    then = {"systems": {"hiring": {**SYSTEM, "oversight": {"overseers": []}}}}
    assert only(rows(log.populations(MARCH, tables=then), "calls"))["overseen"] is False


def test_calls_after_a_revocation_are_counted_until_it_is_lifted(log):
    log.call("2027-03-01T09:00:00")
    log.write(
        "2027-03-01T10:00:00",
        "control",
        ("identity.revoked", {"principal": "operator:ada", "kind": "id", "subject": AGENT, "cause": "stolen"}),
    )
    log.call("2027-03-01T10:00:03")
    log.call("2027-03-01T10:00:10")
    log.write(
        "2027-03-01T11:00:00",
        "control",
        ("identity.revocation_lifted", {"principal": "operator:ada", "kind": "id", "subject": AGENT, "cause": "found"}),
    )
    log.call("2027-03-01T12:00:00")
    row = only(rows(log.populations(MARCH), "revocations"))
    assert (row["accepted_after"], row["seconds_to_last_accepted_call"]) == (2, 10)


def test_a_late_review_and_an_identity_without_one_are_found(log):
    registered = {
        "principal": "operator:ada",
        "kind": "agent",
        "status": "active",
        "team": "t",
        "owner": "bob",
        "risk_tier": "low",
        "system": "hiring",
        "environment": "production",
    }
    log.write(
        "2026-11-01T10:00:00",
        "control",
        ("agent.registered", {**registered, "agent": AGENT}),
        ("agent.registered", {**registered, "agent": AGENT + "/2", "owner": ""}),
    )
    deadline = at("2027-03-01T00:00:00") // 10**9
    log.write(
        "2027-02-20T10:00:00",
        "control",
        ("review.started", {"principal": "operator:ada", "review": "q1", "deadline": deadline, "identities": 2}),
        (
            "review.decided",
            {
                "principal": "operator:ada",
                "review": "q1",
                "agent": AGENT + "/2",
                "review_decision": "keep",
                "cause": "",
            },
        ),
    )
    log.write(
        "2027-03-02T10:00:00",
        "control",
        ("review.closed", {"principal": "operator:ada", "review": "q1", "identities": 2, "undecided": 1}),
    )
    data = log.populations(MARCH)
    assert only(rows(data, "reviews"))["late"] is True
    found = {row["agent"]: row for row in rows(data, "identities")}
    assert (found[AGENT]["reviewed_in_time"], found[AGENT]["days_without_review"]) == (False, 121)
    assert (found[AGENT + "/2"]["reviewed_in_time"], found[AGENT + "/2"]["owner_present"]) == (True, False)


def test_a_policy_that_its_author_approved_is_told_from_one_that_another_person_approved(log):
    def activated(revision: str, approvers: list[str]) -> tuple[str, dict[str, object]]:
        return "policy.activated", {
            "principal": "operator:ada", "policy": {"revision": revision, "data_digest": DIGEST},
            "bundle_digest": "b" * 64, "replaced": {}, "source": "push", "rollback": False, "reason": "",
            "change": {"author": "Ada", "approvers": approvers, "checks": ["test"], "commit_signed": True},
        }  # fmt: skip

    log.write("2027-03-01T10:00:00", "control", activated("r1", ["ada "]), activated("r2", ["bob"]))
    grants = {
        "bindings": {
            "team:t": ["chat-user"],
            AGENT: [{"role": "admin", "not_after": "2027-04-01T00:00:00Z", "reason": "x", "approved_by": AGENT}],
        }
    }
    data = log.populations(MARCH, tables=grants)
    assert [row["approver_is_other"] for row in rows(data, "policy_changes")] == [False, True]
    found = {row["role"]: row for row in rows(data, "grants")}
    assert (found["chat-user"]["standing"], found["chat-user"]["self_approved"]) == (True, False)
    assert (found["admin"]["standing"], found["admin"]["self_approved"]) == (False, True)


def test_a_gateway_that_was_killed_leaves_an_unexplained_gap_and_one_that_was_stopped_an_explained_one(log):
    log.write("2027-03-01T10:00:00", "control", STARTED)
    log.write("2027-03-01T12:00:00", "control", STARTED)
    log.write("2027-03-01T13:00:00", "control", ("gateway.stopped", {"status": 0}))
    log.write("2027-03-01T14:00:00", "control", STARTED)
    found = {row["kind"]: row["explained"] for row in rows(log.populations(MARCH), "gaps")}
    assert found == {"ended": False, "downtime": True}


def test_a_day_without_a_record_is_not_covered(log):
    log.write("2027-03-01T00:00:00", "control", STARTED)
    log.alive("2027-03-01")
    log.write("2027-03-01T23:50:00", "control", ("gateway.stopped", {"status": 0}))
    log.write("2027-03-03T00:00:00", "control", STARTED)
    log.alive("2027-03-03")
    data = log.populations(MARCH)
    assert [row["covered"] for row in rows(data, "coverage")] == [True, False, True]
    assert data.uncovered() == [("2027-03-02", "the log has no record of this day")]


def test_hours_in_which_nothing_shows_that_a_gateway_ran_are_a_gap_and_take_the_day_its_coverage(log):
    log.write("2027-03-01T00:00:00", "control", STARTED)
    log.alive("2027-03-01")
    log.call("2027-03-02T00:10:00")
    log.call("2027-03-02T05:00:00", chain="worker-1")
    log.write("2027-03-02T06:59:00", "govctl", ("evidence.refused", {"principal": "operator:ada"}))
    log.write("2027-03-02T07:00:30", "control", ("gateway.hops", {"hops": []}))
    data = log.populations(Period(date(2027, 3, 1), date(2027, 3, 2)))
    why = "nothing shows that a gateway ran, or had ended in order, from 00:10 to 05:00, 05:00 to 07:00 UTC"
    assert data.uncovered() == [("2027-03-02", why)]
    silent = [row for row in rows(data, "gaps") if row["kind"] == "silence"]
    assert [(row["explained"], row["day"]) for row in silent] == [(False, "2027-03-02")] * 2
    assert [row["silent_seconds"] for row in rows(data, "coverage")] == [0, 17_399 + 7_229]


def test_a_gateway_that_had_ended_in_order_leaves_no_silence(log):
    log.write("2027-03-01T00:00:00", "control", STARTED)
    log.write("2027-03-01T01:00:00", "control", ("gateway.stopped", {"status": 0}))
    log.write("2027-03-01T20:00:00", "control", STARTED)
    log.write("2027-03-01T21:00:00", "control", ("gateway.hops", {"hops": []}))
    log.write("2027-03-01T22:30:00", "control", ("gateway.hops", {"hops": []}))
    day = rows(log.populations(MARCH), "coverage")[0]
    assert (day["covered"], day["silent_seconds"], day["whole"]) == (True, 0, False)
    assert day["running_seconds"] == 3600 + 2.5 * 3600


def test_a_gateway_that_was_killed_ended_with_the_last_record_of_any_of_its_processes(log):
    log.write("2027-03-01T00:00:00", "control", STARTED)
    log.alive("2027-03-01")
    log.call("2027-03-02T00:20:00", chain="worker-1")
    log.world.sequence()
    log.write("2027-03-02T00:25:00", "control", STARTED)
    gap = only([row for row in rows(log.populations(MARCH), "gaps") if row["kind"] == "ended"])
    assert (gap["since"], gap["until"]) == (at("2027-03-02T00:20:01"), at("2027-03-02T00:25:00"))


def test_a_gateway_of_whose_start_the_log_has_nothing_left_ran_all_the_same(log):
    log.write("2027-02-28T23:00:00", "control", counts("2027-02-28T22:00:00", "2027-02-28T23:00:00", 0))
    log.alive("2027-03-01")
    assert rows(log.populations(MARCH), "coverage")[0]["running_seconds"] == 23.5 * 3600


def test_counts_that_come_after_the_end_in_order_do_not_make_it_run_on(log):
    log.write("2027-03-01T00:00:00", "control", STARTED)
    log.write("2027-03-01T01:00:00", "control", ("gateway.stopped", {"status": 0}))
    log.write("2027-03-01T01:00:01", "control", counts("2027-03-01T00:00:00", "2027-03-01T01:00:00", 0))
    log.write("2027-03-01T02:00:00", "control", STARTED)
    assert rows(log.populations(MARCH), "coverage")[0]["running_seconds"] == 3600


def counts(since: str, until: str, decisions: int) -> tuple[str, dict[str, object]]:
    return "gateway.counts", {
        "since": str(at(since)), "until": str(at(until)), "connections": {"accepted": 1, "refused": 0},
        "requests": decisions, "in_flight": 0, "decisions": {"allow": decisions, "deny": 0},
        "backends": [{"backend": "gpu", "answers": decisions}], "input_tokens": 0, "output_tokens": 0,
    }  # fmt: skip


def test_decisions_that_are_not_on_record_show_when_counts_are_compared(log):
    log.call("2027-03-01T10:30:00")
    log.call("2027-03-01T11:30:00")
    log.write("2027-03-01T11:00:00", "control", counts("2027-03-01T10:00:00", "2027-03-01T11:00:00", 1))
    log.write("2027-03-01T12:00:00", "control", counts("2027-03-01T11:00:00", "2027-03-01T12:00:00", 2))
    assert [row["reconciled"] for row in rows(log.populations(MARCH), "counts")] == [True, False]


def test_a_call_at_the_edge_of_a_window_is_no_difference(log):
    log.call("2027-03-01T10:59:58")
    log.write("2027-03-01T11:00:00", "control", counts("2027-03-01T10:00:00", "2027-03-01T11:00:00", 0))
    log.write("2027-03-01T12:00:00", "control", counts("2027-03-01T11:00:00", "2027-03-01T12:00:00", 1))
    assert [row["reconciled"] for row in rows(log.populations(MARCH), "counts")] == [True, True]


def test_a_secret_that_is_too_old_is_found_and_the_last_look_of_a_day_counts(log):
    def inventory(age: int) -> tuple[str, dict[str, object]]:
        state = {
            "reference": "env:KEY",
            "purpose": "backends.gpu.credential",
            "kind": "static",
            "readable": True,
            "age_seconds": age,
            "max_age_seconds": 90 * 86_400,
        }
        return "secret.inventory", {"secrets": [state]}

    log.write("2027-03-01T00:00:00", "control", inventory(95 * 86_400))
    log.write("2027-03-01T10:00:00", "control", inventory(60))
    log.write("2027-03-02T00:00:00", "control", inventory(91 * 86_400))
    assert [row["rotated_in_time"] for row in rows(log.populations(MARCH), "secrets")] == [True, False]


def test_a_life_of_a_credential_comes_from_its_issuance_also_where_that_is_of_another_chain(log):
    log.call("2027-03-01T10:00:00")
    log.write(
        "2027-03-01T09:59:00",
        "control",
        (
            "identity.issued",
            {
                "principal": "gateway",
                "agent": AGENT,
                "svid": "x509-svid",
                "serial": "5e",
                "not_after": at("2027-03-01T10:59:00") // 10**9,
                "authority": "a",
            },
        ),
    )
    assert only(rows(log.populations(MARCH), "calls"))["credential_lifetime_seconds"] == 3600


def test_evidence_of_one_system_has_its_rows_alone(log):
    log.call("2027-03-01T10:00:00")
    log.call("2027-03-01T10:01:00", system="other")
    data = log.populations(MARCH)
    assert (len(rows(data, "calls")), len(rows(data, "calls", "hiring"))) == (2, 1)
    assert (data.counts()["calls"], data.counts()["incidents"]) == (2, 0)


def test_the_same_log_gives_the_same_rows_and_an_interrupted_extraction_is_made_anew(log, tmp_path):
    log.call("2027-03-01T10:00:00")
    data = log.populations(MARCH)
    before = {name: rows(data, name) for name in data.populations}
    data.close()
    source = open_source(log.world.store, log.world.tree)
    context = Context(load_register({"systems": {"hiring": SYSTEM}}))
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes((tmp_path / "populations.sqlite").read_bytes()[:5000])
    again = extract(source, MARCH, broken, context)
    assert {name: rows(again, name) for name in again.populations} == before


def test_leaves_are_counted_by_type_and_the_window_is_that_of_the_period(log):
    log.call("2027-02-01T10:00:00")
    log.call("2027-03-01T10:00:00")
    log.call("2027-04-01T10:00:00")
    data = log.populations(MARCH)
    assert data.leaves_by_type() == {"access.intent": 1, "access.outcome": 1}
    assert data.window() == (2, 4)
