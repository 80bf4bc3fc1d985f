"""What was before the period, and what the log has no more, stands in the populations or is said to be missing."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from compliance.period import Period
from compliance.populations.base import Row
from compliance.populations.dataset import Dataset
from tests.support.planted_log import AGENT, DIGEST, PlantedLog, at, intent, only, outcome

MARCH = Period(date(2027, 3, 1), date(2027, 3, 3))
BEGIN, END = at("2027-03-01T00:00:00"), at("2027-03-04T00:00:00")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PlantedLog]:
    with PlantedLog(tmp_path) as planted:
        yield planted


def rows(data: Dataset, population: str) -> list[Row]:
    return list(data.rows(population))


def started(digest: str = DIGEST) -> tuple[str, dict[str, Any]]:
    policy = {"revision": f"r-{digest[0]}", "data_digest": digest}
    fields = {"version": "1", "trust_domain": "example.org", "workers": 1, "config_digest": "c" * 64, "policy": policy}
    return "gateway.started", fields


def activated(digest: str, bundle: str = "b") -> tuple[str, dict[str, Any]]:
    return "policy.activated", {
        "principal": "operator:ada", "policy": {"revision": f"r-{digest[0]}", "data_digest": digest},
        "bundle_digest": bundle * 64, "replaced": {}, "source": "push", "rollback": False, "reason": "", "change": {},
    }  # fmt: skip


def revoked(kind: str, subject: str) -> tuple[str, dict[str, Any]]:
    return "identity.revoked", {"principal": "operator:ada", "kind": kind, "subject": subject, "cause": "stolen"}


def issued(serial: str, **changed: Any) -> tuple[str, dict[str, Any]]:
    return "identity.issued", {
        "principal": "gateway", "agent": AGENT, "svid": "x509-svid", "serial": serial, "not_after": END // 10**9,
        "authority": "ca-1", "entry": "entry-1", "parent": "spiffe://example.org/node/one", **changed,
    }  # fmt: skip


def changed(status: str, agent: str = AGENT) -> tuple[str, dict[str, Any]]:
    return "agent.status_changed", {"principal": "operator:ada", "agent": agent, "status": status, "cause": "odd"}


def test_an_unsafe_option_of_a_start_before_the_period_is_in_use_until_a_reload_without_it(log):
    option = ("unsafe.option", {"option": "policy.unsafe_unsigned"})
    log.write("2027-01-01T10:00:00", "control", started(), option, ("unsafe.option", {"option": "old"}))
    log.write("2027-02-01T10:00:00", "control", started(), option)
    loaded = {"principal": "operator:ada", "config_digest": "c" * 64, "workers": 1}
    log.write("2027-03-02T10:00:00", "control", ("config.loaded", loaded))
    row = only(rows(log.populations(MARCH), "unsafe_options"))
    assert row["option"] == "policy.unsafe_unsigned"
    assert (row["first_seen"], row["last_seen"]) == (at("2027-02-01T10:00:01"), at("2027-03-02T10:00:00"))


def test_a_call_of_an_agent_that_was_revoked_before_the_period_is_a_use_after_revocation(log):
    log.write("2027-02-01T10:00:00", "control", revoked("id", AGENT), changed("suspended"), changed("active"))
    log.call("2027-03-02T10:00:00")
    row = only(rows(log.populations(MARCH), "revocations"))
    assert (row["kind"], row["accepted_after"]) == ("id", 1)


@pytest.mark.parametrize(
    ("kind", "subject", "uses"),
    [
        ("id", AGENT, 1),
        ("serial", "0a5e", 1),
        ("entry", "entry-1", 1),
        ("authority", "ca-1", 1),
        ("node", "spiffe://example.org/node/one", 1),
        ("node", AGENT, 1),
        ("serial", "5f", 0),
        ("entry", "entry-2", 0),
        ("authority", "ca-2", 0),
        ("node", "spiffe://example.org/node/two", 0),
    ],
)
def test_uses_after_a_revocation_are_found_by_what_was_revoked(log, kind, subject, uses):
    log.write("2027-03-01T09:00:00", "control", issued("0a5e"), revoked(kind, subject))
    log.call("2027-03-01T10:00:00", peer={"serial": "0a5e", "fingerprint": "f", "not_after": END // 10**9})
    row = only(rows(log.populations(MARCH), "revocations"))
    assert row["accepted_after"] == uses
    assert bool(row["seconds_to_last_accepted_call"]) is bool(uses)


def test_a_revocation_that_was_lifted_before_the_period_is_no_row_of_it(log):
    log.write("2027-02-01T10:00:00", "control", changed("suspended"), changed("active"))
    assert rows(log.populations(MARCH), "revocations") == []


def test_an_identity_whose_registration_the_log_does_not_go_back_to_is_as_old_as_the_log(log):
    log.write("2026-10-01T10:00:00", "control", started())
    log.write("2027-03-02T10:00:00", "control", changed("suspended"))
    row = only(rows(log.populations(MARCH), "identities"))
    assert (row["agent"], row["registered_at"], row["status_at_end"]) == (AGENT, None, "suspended")
    assert (row["owner_present"], row["reviewed_in_time"], row["days_without_review"]) == (False, False, 152)


def test_a_grant_is_one_row_for_each_time_without_a_break(log):
    with_it, without = "a" * 64, "b" * 64
    grant = {"role": "admin", "not_after": "2027-03-01T12:00:00Z", "reason": "x", "approved_by": "eve"}
    tables = {with_it: {"bindings": {AGENT: [grant], "team:t": ["user"]}}, without: {"bindings": {"team:t": ["user"]}}}
    log.write("2027-01-01T10:00:00", "control", started(with_it))
    log.write("2027-02-01T10:00:00", "control", started(with_it))
    log.write("2027-03-01T10:00:00", "control", activated(without))
    log.write("2027-03-02T10:00:00", "control", activated(with_it))
    log.write("2027-03-05T10:00:00", "control", activated(without))
    data = log.populations(MARCH, tables_of=tables.get)
    found = [(row["role"], row["first_in_force"], row["last_in_force"], row["expired"]) for row in rows(data, "grants")]
    begun, stopped, again = (at(f"{day}T10:00:00") for day in ("2027-01-01", "2027-03-01", "2027-03-02"))
    assert found == [
        ("admin", begun, stopped, False),
        ("admin", again, END, True),
        ("user", begun, END, False),
    ]
    assert [row["day"] for row in rows(data, "grants")] == ["2027-03-01", "2027-03-02", "2027-03-01"]


def test_an_activation_that_failed_is_said_so_and_was_never_in_force(log):
    log.write("2027-02-01T10:00:00", "control", started("a" * 64))
    log.write("2027-03-01T10:00:00", "control", activated("b" * 64, "e"))
    failed = {"principal": "operator:ada", "bundle_digest": "e" * 64, "cause": "disk full"}
    log.write("2027-03-01T10:01:00", "control", ("policy.activation_failed", failed))
    data = log.populations(MARCH)
    assert only(rows(data, "policy_changes"))["failed"] is True
    revision = only(rows(data, "revisions"))
    assert (revision["revision"], revision["held"]) == ("r-a", False)


def test_how_long_a_key_was_in_use_shows_where_another_one_takes_over(log):
    def key(name: str) -> tuple[str, dict[str, Any]]:
        return "authority.activated", {"principal": "gateway", "kind": "x509", "authority": name, "detail": ""}

    log.write("2026-12-01T10:00:00", "control", key("one"))
    log.write("2027-03-01T10:00:00", "control", key("two"))
    row = only(rows(log.populations(MARCH), "key_events"))
    assert (row["key"], row["key_age_days"]) == ("two", 90)


def test_types_that_this_version_does_not_know_are_counted_and_named(log):
    log.write("2027-03-01T10:00:00", "control", ("agent.taught", {"lesson": 1}), ("agent.taught", {"lesson": 2}))
    log.write("2027-03-01T11:00:00", "control", started())
    log.write("2027-03-05T11:00:00", "control", ("agent.taught", {"lesson": 3}))
    data = log.populations(MARCH)
    assert data.unknown_types() == {"agent.taught": 2}
    found = {row["type"]: row for row in rows(data, "record_types")}
    assert found["agent.taught"]["populations"] == []
    assert (found["gateway.started"]["known"], "starts" in found["gateway.started"]["populations"]) == (True, True)


def test_a_call_whose_record_could_not_be_written_whole_is_a_row_all_the_same(log):
    (of,) = log.write("2027-03-01T10:00:00", "worker-0", ("access.intent", {"unwritable": "a lone surrogate"}))
    log.write("2027-03-01T10:00:01", "worker-0", outcome(of))
    data = log.populations(MARCH)
    row = only(rows(data, "calls"))
    assert (row["event_id"], row["decision"], row["closed"], row["in_register"]) == (of, "allow", True, False)
    assert {each["type"]: each["unwritable"] for each in rows(data, "record_types")}["access.intent"] == 1


def test_an_outcome_before_its_call_in_the_order_of_the_tree_closes_it(log):
    (of,) = log.write("2027-03-01T10:00:00", "worker-9", intent())
    log.write("2027-03-01T10:00:01", "a-chain-before-it", outcome(of))
    data = log.populations(MARCH)
    row = only(rows(data, "calls"))
    assert row["outcome_leaf"] < row["leaf"]
    assert (row["closed"], row["duration_ms"]) == (True, 1000)


def test_an_outcome_without_a_call_is_a_gap_unless_the_call_is_of_another_time(log):
    (before,) = log.write("2027-02-28T23:59:59", "worker-0", intent())
    log.write("2027-03-01T00:00:01", "worker-0", outcome(before), outcome("0192f0c1-0000-7000-8000-000000000000"))
    data = log.populations(MARCH)
    assert rows(data, "calls") == []
    gap = only(rows(data, "gaps"))
    assert (gap["kind"], gap["explained"], gap["time"]) == ("outcome-alone", False, at("2027-03-01T00:00:02"))


def test_a_call_that_is_under_way_when_the_log_ends_is_no_unexplained_gap(log):
    log.write("2027-03-01T10:00:00", "worker-0", intent())
    log.write("2027-03-01T10:05:00", "worker-1", intent())
    gaps = {row["cause"] for row in rows(log.populations(MARCH), "gaps")}
    assert gaps == {"under-way"}


def test_a_clock_that_went_back_puts_a_record_on_the_day_of_its_own_time(log):
    log.call("2027-03-02T00:00:05")
    log.write("2027-03-01T23:59:00", "worker-0", ("clock.stepped", {"before": str(at("2027-03-02T00:00:06")),
                                                                    "seconds": -66}))  # fmt: skip
    log.call("2027-03-01T23:59:30")
    data = log.populations(MARCH)
    assert [row["day"] for row in rows(data, "calls")] == ["2027-03-02", "2027-03-01"]
    assert [row["calls"] for row in rows(data, "coverage")] == [1, 1, 0]
    assert [row["kind"] for row in rows(data, "gaps") if row["kind"] == "clock"] == ["clock"]


@pytest.mark.parametrize(("kept_from", "enough", "covered"), [(3, False, False), (0, True, True)])
def test_records_that_were_deleted_are_counted_and_days_with_some_of_them_are_not_covered(
    log, kept_from, enough, covered
):
    log.write("2027-03-01T00:00:00", "control", started())
    log.alive("2027-03-01")
    log.call("2027-03-01T10:00:00")
    log.call("2027-03-01T11:00:00")
    log.world.sequence()
    log.world.change("worker-0", "DELETE FROM records WHERE seq < ?", kept_from)
    data = log.populations(MARCH)
    state = only([row for row in rows(data, "retention") if row["kind"] == "state"])
    assert (data.deleted(), state["records"], state["oldest_old_enough"]) == (kept_from, kept_from, enough)
    assert state["oldest"] == at("2027-03-01T11:00:01" if kept_from else "2027-03-01T00:00:00")
    assert rows(data, "coverage")[0]["covered"] is covered


def test_a_log_that_is_younger_than_six_months_and_whole_goes_back_far_enough(log):
    log.write("2027-02-01T00:00:00", "control", started())
    log.write("2027-03-01T00:00:00", "control", started())
    assert only(rows(log.populations(MARCH), "retention"))["oldest_old_enough"] is True


def listed(**changed: Any) -> tuple[str, dict[str, Any]]:
    state = {
        "agent": AGENT, "kind": "agent", "status": "active", "team": "people", "owner": "grace", "risk_tier": "high",
        "system": "hiring", "registered_at": at("2026-12-01T00:00:00") // 10**9, **changed,
    }  # fmt: skip
    return "identity.inventory", {"identities": [state]}


def test_whose_an_identity_is_survives_the_deletion_of_its_registration(log):
    log.write("2027-03-01T00:00:01", "control", listed(reviewed_at=at("2027-02-01T00:00:00") // 10**9))
    log.write("2027-03-02T00:00:01", "control", listed())
    row = only(rows(log.populations(MARCH), "identities"))
    assert (row["agent"], row["owner"], row["owner_present"], row["system"]) == (AGENT, "grace", True, "hiring")
    assert row["registered_at"] == at("2026-12-01T00:00:00")
    assert row["last_review_at"] == at("2027-02-01T00:00:00")
    assert row["days_without_review"] <= 31


def test_what_the_log_says_of_an_identity_itself_counts_more_than_a_later_list(log):
    registered = {
        "principal": "operator:ada", "agent": AGENT, "kind": "agent", "status": "active", "team": "t", "owner": "ada",
        "risk_tier": "low", "system": "hiring", "environment": "",
    }  # fmt: skip
    log.write("2027-03-01T10:00:00", "control", ("agent.registered", registered))
    log.write("2027-03-02T00:00:01", "control", listed(owner="mallory", registered_at=1))
    row = only(rows(log.populations(MARCH), "identities"))
    assert (row["owner"], row["registered_at"]) == ("ada", at("2027-03-01T10:00:00"))
