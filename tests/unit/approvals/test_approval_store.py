"""Approvals as they are kept: one request for one call, used once whichever process asks, and nothing after its end."""

import concurrent.futures
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.approvals.model import Approval, Asked, Stop, Terms, Verdict
from gateway.approvals.store import KEEP_SECONDS, MAX_OPEN, OversightStore
from gateway.errors import TooManyRefusalsError, UnavailableError

SECOND = 10**9
NOW = 1_000 * SECOND
CALL = Asked("spiffe://t/a", (), "model.infer", "model", "m", "chat", "held", "d" * 64)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OversightStore]:
    opened = OversightStore(tmp_path)
    yield opened
    opened.close()


def request(store: OversightStore, asked: Asked = CALL, now: int = NOW, **terms: object) -> Approval:
    made = store.request(asked, Terms(**terms), own=("spiffe://t/a",), owner="ada", size=5, now_ns=now)
    return store.recorded(made)


def granted(store: OversightStore, asked: Asked = CALL, **terms: object) -> Approval:
    found = store.decide(request(store, asked, **terms), Verdict("g", "g", True, "why", NOW), "granted")
    assert found is not None
    return found


def test_the_same_call_has_one_request_until_it_is_used(store):
    first = request(store)
    assert request(store).approval_id == first.approval_id
    granted(store)
    assert request(store).state == "granted"
    assert store.use(first.approval_id, NOW)
    assert request(store).approval_id != first.approval_id


@pytest.mark.parametrize("field", [name for name in Asked.__dataclass_fields__ if name != "delegation"])
def test_a_call_that_differs_in_anything_has_a_request_of_its_own(store, field):
    first = granted(store)
    assert request(store, replace(CALL, **{field: "other"})).approval_id != first.approval_id
    assert request(store, replace(CALL, delegation=("spiffe://t/b",))).approval_id != first.approval_id


def test_what_was_approved_by_one_does_not_do_where_two_are_asked_for(store):
    first = granted(store)
    second = request(store, four_eyes=True)
    assert (second.approval_id != first.approval_id, second.state, second.missing) == (True, "pending", 2)
    assert request(store).approval_id == second.approval_id, "the newest stands"


@pytest.mark.parametrize(("after", "good"), [(9, True), (10, False)])
def test_an_approval_is_used_and_decided_before_it_expires_alone(store, after, good):
    approval = granted(store, valid_seconds=10)
    late = NOW + after * SECOND
    other = request(store, replace(CALL, digest="e" * 64), valid_seconds=10)
    decided = store.decide(other, Verdict("g", "g", True, "why", late), "granted")
    assert (decided is not None) is good
    assert store.use(approval.approval_id, late) is good
    assert request(store, now=late).approval_id != approval.approval_id


@pytest.mark.parametrize("state", ["pending", "refused", "void"])
def test_only_what_is_granted_is_used(store, state):
    approval = request(store)
    if state == "refused":
        store.decide(approval, Verdict("g", "g", False, "why", NOW), "refused")
    if state == "void":
        store.withdraw(approval.approval_id)
    assert not store.use(approval.approval_id, NOW)


def test_a_decision_on_what_changed_meanwhile_is_not_kept(store):
    seen = request(store)
    store.decide(seen, Verdict("g", "g", False, "why", NOW), "refused")
    assert store.decide(seen, Verdict("h", "h", True, "why", NOW), "granted") is None
    other = granted(store, replace(CALL, digest="e" * 64))
    assert store.use(other.approval_id, NOW)
    assert store.decide(other, Verdict("h", "h", False, "why", NOW), "refused") is None


def _use(directory: Path, approval_id: str, times: int) -> int:
    store = OversightStore(directory)
    return sum(store.use(approval_id, NOW) for _ in range(times))


def test_of_many_uses_in_many_threads_and_processes_one_counts(store, tmp_path):
    approval = granted(store)
    spawn = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as processes,
        concurrent.futures.ThreadPoolExecutor(4) as threads,
    ):
        elsewhere = [processes.submit(_use, tmp_path, approval.approval_id, 20) for _ in range(2)]
        here = [threads.submit(store.use, approval.approval_id, NOW) for _ in range(20)]
        assert sum(int(each.result()) for each in [*elsewhere, *here]) == 1


def test_an_approval_and_a_stop_outlive_the_process(store, tmp_path):
    approval = granted(store)
    store.stop(Stop("held", "g", "why", NOW))
    store.close()
    again = OversightStore(tmp_path)
    assert again.get(approval.approval_id) == approval
    assert again.stops() == {"held": Stop("held", "g", "why", NOW)}
    assert again.use(approval.approval_id, NOW)
    again.close()


def test_a_caller_has_so_many_open_requests_and_no_more(store):
    for number in range(MAX_OPEN):
        request(store, replace(CALL, digest=f"{number:064x}"))
    with pytest.raises(TooManyRefusalsError, match=str(MAX_OPEN)):
        request(store, replace(CALL, digest="f" * 64))
    request(store, replace(CALL, principal="spiffe://t/other"))
    later = NOW + Terms().valid_seconds * SECOND
    request(store, replace(CALL, digest="f" * 64), now=later)


def test_what_expired_long_ago_is_forgotten(store):
    old = request(store)
    request(store, replace(CALL, digest="e" * 64), now=old.expires_ns + (KEEP_SECONDS + 1) * SECOND)
    assert store.get(old.approval_id) is None


def test_only_what_is_on_record_is_listed(store):
    hidden = store.request(CALL, Terms(), own=(), owner="", size=0, now_ns=NOW)
    assert store.all() == []
    store.recorded(hidden)
    assert [each.approval_id for each in store.all(open_at_ns=NOW)] == [hidden.approval_id]
    assert store.all(open_at_ns=hidden.expires_ns) == []


def test_the_generation_rises_with_what_workers_have_to_know(store):
    seen = [store.generation()]
    for step in (
        lambda: granted(store),
        lambda: store.stop(Stop("held", "g", "why", NOW)),
        lambda: store.resume("held"),
    ):
        step()
        seen.append(store.generation())
    assert seen == [0, 1, 2, 3]
    assert not store.resume("held")
    assert store.generation() == 3


def test_the_file_is_private_and_another_version_is_refused(store, tmp_path):
    path = tmp_path / "oversight.sqlite"
    assert path.stat().st_mode & 0o777 == 0o600
    with store._database.write() as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(UnavailableError, match="has version 7"):
        OversightStore(tmp_path)


def test_a_file_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "oversight.sqlite").write_bytes(os.urandom(8192))
    with pytest.raises(UnavailableError, match=r"oversight\.sqlite"):
        OversightStore(tmp_path)
