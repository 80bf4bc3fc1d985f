"""The store of revisions: whole or not at all, by digest, one activation at a time."""

import errno
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.policy_activation import store as store_module
from gateway.policy_activation.store import KEPT, MAX_HISTORY, Activation, History, PolicyStore


@pytest.fixture
def store(tmp_path):
    return PolicyStore(tmp_path / "policy")


def activation(content: bytes, **more) -> Activation:
    fields = {"revision": content.decode(), "data_digest": "d", "time": 1, "by": "a", "source": "s", **more}
    return Activation(digest=sha256(content).hexdigest(), **fields)


def activate(store, content: bytes, **more) -> Activation:
    store.put(content)
    made = activation(content, **more)
    store.record(made)
    return made


def test_what_was_put_comes_back_by_its_digest(store):
    digest = store.put(b"bundle")
    assert digest == sha256(b"bundle").hexdigest()
    assert store.get(digest) == b"bundle"
    assert store.put(b"bundle") == digest
    assert store.path(digest).stat().st_mode & 0o077 == 0 or store.path(digest).parent.stat().st_mode & 0o077 == 0


def test_a_bundle_that_was_changed_or_is_gone_is_refused_by_name(store):
    digest = store.put(b"bundle")
    store.path(digest).write_bytes(b"other")
    with pytest.raises(ConfigError, match="was changed"):
        store.get(digest)
    store.path(digest).unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        store.get(digest)


def test_the_latest_activation_is_active_and_the_previous_is_another_bundle(store):
    assert store.history() == History()
    assert store.history().previous is None
    one, two = activate(store, b"one"), activate(store, b"two")
    again = activate(store, b"two", by="b")
    assert store.history().active == again
    assert store.history().previous == one
    assert store.history().activations == (one, two, again)


def test_bundles_of_long_ago_are_dropped_but_not_what_is_pinned(store):
    pinned = store.put(b"watched")
    store.pinned = frozenset({pinned})
    digests = [activate(store, f"{number}".encode()).digest for number in range(KEPT + 5)]
    assert store.get(pinned) == b"watched"
    assert [store.path(each).exists() for each in digests] == [False] * 5 + [True] * KEPT
    assert len(store.history().activations) == KEPT + 5


def test_the_history_is_bounded(store, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_HISTORY", 3)
    for number in range(5):
        activate(store, f"{number}".encode())
    assert [each.revision for each in store.history().activations] == ["2", "3", "4"]
    assert MAX_HISTORY > KEPT


@given(damage=st.binary(max_size=40))
def test_a_history_that_is_not_ours_any_more_is_named_and_never_taken_for_none(tmp_path_factory, damage):
    directory = tmp_path_factory.mktemp("policy")
    store = PolicyStore(directory)
    activate(store, b"one")
    (directory / "history.json").write_bytes(damage)
    with pytest.raises(ConfigError, match="cannot be read"):
        store.history()


def test_a_full_disk_activates_nothing_and_leaves_nothing_half(store, monkeypatch):
    one = activate(store, b"one")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        store.put(b"two")
    with pytest.raises(ConfigError, match="No space left"):
        store.record(activation(b"two"))
    monkeypatch.undo()
    assert store.history().active == one
    left = [path.name for path in store.path("").parent.iterdir()] + [
        p.name for p in store.path("").parents[1].iterdir()
    ]
    assert not [name for name in left if name.startswith(".")]


def test_one_activation_at_a_time(store):
    with store.locked(), pytest.raises(ConfigError, match="under way"), store.locked():
        raise AssertionError("two held it")
    with store.locked():
        pass


def test_the_record_of_a_change_names_both_revisions_and_how_it_came_about(store):
    before = activation(b"one")
    made = activation(b"two", change={"author": "ada", "approvers": ["grace"], "serial": 3}, rollback=True, reason="r")
    fields = made.record(before)
    assert fields["policy"]["revision"] == "two"
    assert fields["replaced"]["bundle_digest"] == before.digest
    assert fields["change"]["approvers"] == ["grace"]
    assert (fields["rollback"], fields["reason"]) == (True, "r")
    assert made.record(None)["replaced"] == {}


def names(history: History) -> set[str]:
    revisions = {each.digest: each.revision for each in history.activations}
    return {revisions[digest] for digest in history.withdrawn}


@pytest.mark.parametrize(
    ("course", "withdrawn"),
    [
        (["a", "b"], set()),
        (["a", "b", "<a"], {"b"}),
        (["a", "b", "c", "<a"], {"b", "c"}),
        (["a", "b", "<a", "c"], {"b"}),
        (["a", "b", "<a", "b"], set()),
        (["a", "b", "<new"], {"b"}),
        (["<a"], set()),
        (["a", "b", "<a", "c", "<a"], {"b", "c"}),
        (["a", "b", "<a", "<b"], {"a"}),
    ],
)
def test_what_was_rolled_back_from_stays_withdrawn_until_it_is_activated_again(store, course, withdrawn):
    for step in course:
        activate(store, step.removeprefix("<").encode(), rollback=step.startswith("<"))
    assert names(store.history()) == withdrawn


def test_a_damaged_bundle_is_written_anew(store):
    digest = store.put(b"bundle")
    store.path(digest).write_bytes(b"damaged")
    store.put(b"bundle")
    assert store.get(digest) == b"bundle"
