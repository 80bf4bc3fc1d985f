"""What a start puts on record about activations that a kill cut in two."""

import itertools
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from audit.chain import link
from audit.event_id import uuid7
from audit.events import validate_record
from audit.store import SqliteStore
from gateway.policy_activation import reconciling
from gateway.policy_activation.reconciling import correction_of
from gateway.policy_activation.store import Activation, History

SECOND = 1_000_000_000
FIRST, SECOND_ONE, THIRD = (letter * 64 for letter in "abc")


def activation(letter: str, time: int, **more: Any) -> Activation:
    return Activation(
        digest=letter * 64,
        revision=f"rev-{letter}",
        data_digest="e" * 64,
        time=time,
        by="operator:ada",
        source="s",
        **more,
    )


@pytest.fixture
def store(tmp_path) -> SqliteStore:
    return SqliteStore(tmp_path / "audit", "example.org/audit")


@pytest.fixture
def write(store: SqliteStore) -> Callable[..., None]:
    """Append one record to a chain, at a time in UNIX seconds."""

    def _write(record_type: str, fields: dict[str, Any], time: int, chain: str = "control") -> None:
        writer = store.open_writer(chain)
        writer.append([link(writer.head, store.log, chain, uuid7(), time * SECOND, record_type, fields)])
        writer.close()

    return _write


def activations(*steps: tuple[str, int]) -> list[tuple[Activation, dict[str, Any]]]:
    """Return activations one after the other, each with its record."""
    made = [activation(letter, time) for letter, time in steps]
    return [(each, each.record(before)) for before, each in itertools.pairwise([None, *made])]


def test_log_and_history_that_agree_are_left_alone(store, write):
    (first, one), (second, two) = activations(("a", 10), ("b", 20))
    assert correction_of(store, History()) is None
    write("policy.activated", one, 10)
    assert correction_of(store, History(activations=(first,))) is None
    write("policy.activated", two, 20)
    write("gateway.started", {}, 30)
    assert correction_of(store, History(activations=(first, second))) is None


def test_activation_on_record_that_never_took_place_is_said_to_have_failed_and_only_once(store, write):
    (first, one), (_, two) = activations(("a", 10), ("b", 20))
    write("policy.activated", one, 10)
    write("policy.activated", two, 20)
    correction = correction_of(store, History(activations=(first,)))
    assert correction.type == "policy.activation_failed"
    assert correction.fields["bundle_digest"] == SECOND_ONE
    assert "ended after the activation of rev-b was recorded" in correction.fields["cause"]
    assert f"rev-a ({FIRST}) stayed in force" in correction.fields["cause"]
    write(correction.type, correction.fields, 30)
    assert correction_of(store, History(activations=(first,))) is None


def test_failure_that_was_recorded_at_once_is_not_recorded_again(store, write):
    (first, one), (_, two) = activations(("a", 10), ("b", 20))
    write("policy.activated", one, 10)
    write("policy.activated", two, 20)
    write("policy.activation_failed", {"bundle_digest": SECOND_ONE, "cause": "disk full"}, 21)
    assert correction_of(store, History(activations=(first,))) is None


def test_failure_of_long_ago_hides_no_later_one(store, write):
    (first, one), (_, two) = activations(("a", 10), ("b", 20))
    write("policy.activated", one, 10)
    write("policy.activated", two, 20)
    write("policy.activation_failed", {"bundle_digest": SECOND_ONE, "cause": "disk full"}, 21)
    write("policy.activated", two, 40)
    assert correction_of(store, History(activations=(first,))).type == "policy.activation_failed"


def test_rollback_that_was_cut_in_two_leaves_the_revision_it_wanted_to_leave(store, write):
    (first, one), (second, two), (_, back) = activations(("a", 10), ("b", 20), ("a", 30))
    for time, record in ((10, one), (20, two), (30, back)):
        write("policy.activated", record, time)
    correction = correction_of(store, History(activations=(first, second)))
    assert (correction.type, correction.fields["bundle_digest"]) == ("policy.activation_failed", FIRST)


@pytest.mark.parametrize("more", [[], [("c", 30)], [("a", 30)]])
def test_activation_of_a_start_that_was_killed_before_its_record_is_recorded_late(store, write, more):
    made = activations(("a", 10), ("b", 20), *more)
    for each, record in made[:-1]:
        write("policy.activated", record, each.time)
    history = History(activations=tuple(each for each, _ in made))
    correction = correction_of(store, history)
    assert correction.type == "policy.activated"
    assert correction.fields["bundle_digest"] == made[-1][0].digest
    assert correction.fields["replaced"]["bundle_digest"] == made[-2][0].digest
    assert "Recorded late" in correction.fields["reason"]
    write(correction.type, correction.fields, 50)
    assert correction_of(store, history) is None


def test_log_that_names_no_activation_gets_the_active_one(store, write):
    write("gateway.started", {}, 5)
    correction = correction_of(store, History(activations=(activation("a", 10),)))
    assert (correction.type, correction.fields["replaced"]) == ("policy.activated", {})


def test_activation_at_rest_is_in_the_chain_of_govctl(store, write):
    (first, one), (second, two) = activations(("a", 10), ("b", 20))
    write("policy.activated", one, 10)
    write("policy.activated", two, 20, "govctl")
    assert correction_of(store, History(activations=(first, second))) is None
    assert correction_of(store, History(activations=(first,))).fields["bundle_digest"] == SECOND_ONE
    write("policy.activation_failed", {"bundle_digest": SECOND_ONE, "cause": "cut"}, 30, "control")
    assert correction_of(store, History(activations=(first,))) is None


def test_last_activation_is_found_behind_many_other_records(store, write, monkeypatch):
    monkeypatch.setattr(reconciling, "_BATCH", 3)
    (first, one), (_, two) = activations(("a", 10), ("b", 20))
    write("policy.activated", one, 10)
    write("policy.activated", two, 20)
    for number in range(10):
        write("admin.request", {"number": number}, 30)
    assert correction_of(store, History(activations=(first,))).fields["bundle_digest"] == SECOND_ONE


def test_corrections_are_as_their_types_are_defined(store, write):
    (first, _), (_, two) = activations(("a", 10), ("b", 20))
    write("policy.activated", two, 20)
    for history in ((first,), (activation("c", 30),)):
        correction = correction_of(store, History(activations=history))
        write(correction.type, correction.fields, 40)
    with store.reader("control") as reader:
        documents = [orjson.loads(row.record) for row in reader.records()]
    assert [each["type"] for each in documents] == ["policy.activated", "policy.activation_failed", "policy.activated"]
    assert [problem for each in documents for problem in validate_record(each)] == []


def test_chain_that_was_only_begun_stops_no_start(store, write):
    ((first, one),) = activations(("a", 10))
    write("policy.activated", one, 10)
    (store.directory / "govctl.sqlite").touch()
    assert correction_of(store, History(activations=(first,))) is None
