"""The authority's files under mishaps: killed at any file operation of a change, two processes at once, lost files."""

import contextlib
import fcntl
import json
import multiprocessing
import os
import shutil
import threading
from pathlib import Path

import pytest

from identity.authority import Authority, authority_dir, create_trust_domain
from identity.authority.store import StateStore
from identity.errors import AuthorityError, SealError
from identity.keys import SealedKeyManager
from identity.sealing import generate_seal_key

DAY = 86_400
START = 1_800_000_000
KILLED = 137

_STEPS = ("open", "replace", "fsync", "unlink", "rename", "mkdir", "fchmod")
"""Operations on files in the module `os`; `pathlib` goes through them as well."""


def change_rotation(domain):
    """Everything that is due at once: prepare and activate both kinds."""
    domain.open().tick()


def change_root(domain):
    domain.open().prepare("x509", new_root=True)


def change_activate(domain):
    domain.open().activate("jwt")


def change_revoke(domain):
    authority = domain.open()
    authority.revoke("jwt", authority.show().jwt[0].authority_id)


def ready_to_activate(domain):
    domain.open().prepare("jwt")


def ready_to_revoke(domain):
    authority = domain.open()
    authority.prepare("jwt")
    authority.activate("jwt")
    authority.taint("jwt", authority.show().jwt[0].authority_id)


def in_child_that_dies(change, domain, at):
    """Run a change in a child process that is killed just before its file operation number `at`. Returns its status."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def counting(real):
            def step(*arguments, **options):
                nonlocal count
                count += 1
                if count > at:
                    os._exit(KILLED)
                return real(*arguments, **options)

            return step

        try:
            for name in _STEPS:
                setattr(os, name, counting(getattr(os, name)))
            change(domain)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def seen(authority):
    """What matters of a state: how many authorities there are in which state."""
    view = authority.show()
    return (
        [(r.kind, r.state, r.tainted) for r in (*view.x509, *view.jwt)],
        len(authority.bundle().authorities),
        view.revoked,
    )


@pytest.mark.parametrize(
    ("ready", "change", "moment"),
    [
        (lambda domain: None, change_rotation, START + 366 * DAY),
        (lambda domain: None, change_root, START),
        (ready_to_activate, change_activate, START),
        (ready_to_revoke, change_revoke, START),
    ],
    ids=["rotation", "another root", "activation", "revocation"],
)
def test_killed_at_any_file_operation_of_a_change_it_opens_in_the_state_before_or_after(domain, ready, change, moment):
    ready(domain)
    domain.clock.now, saved = moment, domain.state_dir.with_name("saved")
    shutil.copytree(domain.state_dir, saved)
    before = seen(domain.open())
    outcomes = []
    for at in range(200):
        shutil.rmtree(domain.state_dir)
        shutil.copytree(saved, domain.state_dir)
        status = in_child_that_dies(change, domain, at)
        assert status in {0, KILLED}
        authority = domain.open()
        outcomes.append(seen(authority))
        assert authority.bundle() == domain.published
        authority.tick()  # where time had come for a change, it is done now
        assert domain.verify(domain.issue(authority)).id == str(domain.agent)
        assert domain.verify_jwt(domain.issue_jwt(authority)).id == str(domain.agent)
        document = json.loads((domain.files / "authorities.json").read_text())
        named = {each["key_id"] for part in ("roots", "x509", "jwt") for each in document[part]}
        assert {path.name for path in domain.files.iterdir()} == {
            "authorities.json", "bundle.jwks", *(f"{key_id}.key.sealed" for key_id in named),
        }  # fmt: skip
        if status == 0:
            break
    after = outcomes[-1]
    assert status == 0
    assert after != before
    assert outcomes[0] == before
    assert outcomes.count(after) > 1  # killed after the commit point, too
    assert all(outcome in (before, after) for outcome in outcomes)
    assert outcomes == sorted(outcomes, key=lambda outcome: outcome == after)


def test_a_creation_killed_at_any_file_operation_is_done_or_can_be_done_again(tmp_path):
    seal_key = generate_seal_key()

    def create(state_dir):
        keys = SealedKeyManager(authority_dir(state_dir), seal_key)
        create_trust_domain(state_dir, "home.test", keys, lambda: START * 10**9)

    redone = 0
    for at in range(200):
        state_dir = tmp_path / str(at)
        status = in_child_that_dies(create, state_dir, at)
        assert status in {0, KILLED}
        if not (authority_dir(state_dir) / "authorities.json").exists():
            create(state_dir)
            redone += 1
        assert len(list(authority_dir(state_dir).glob("*.key.sealed"))) == 3
        if status == 0:
            break
    assert status == 0
    assert 5 < redone < at


def test_a_file_that_cannot_be_written_leaves_the_state_before_and_no_key_behind(domain, monkeypatch):
    authority = domain.open()
    before, files = authority.show(), sorted(path.name for path in domain.files.iterdir())
    real = os.replace

    def full(source, target):
        if Path(target).name == "authorities.json":
            raise OSError(28, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SealError, match="No space left"):
        authority.prepare("x509", new_root=True)
    monkeypatch.undo()
    assert authority.show() == before
    assert sorted(path.name for path in domain.files.iterdir()) == files
    assert authority.prepare("x509", new_root=True).action == "prepared"


def test_a_bundle_that_was_lost_or_changed_is_written_again(domain):
    before = domain.published
    (domain.files / "bundle.jwks").write_bytes(b"{}")
    assert domain.open().bundle() == domain.published == before
    (domain.files / "bundle.jwks").unlink()
    domain.open()
    assert domain.published == before


def test_a_document_that_is_missing_is_never_made_anew(domain):
    (domain.files / "authorities.json").unlink()
    with pytest.raises(AuthorityError, match="restore it from a backup"):
        domain.open()
    assert (domain.files / "root.key.sealed").exists()


def test_what_another_process_changed_is_taken_in_by_a_refresh(domain):
    ours, theirs = domain.open(), domain.open()
    assert ours.refresh() is False
    prepared = theirs.prepare("jwt").authority_id
    theirs.activate("jwt")
    assert domain.issue_jwt(ours).key_id != prepared
    assert ours.refresh() is True
    assert ours.refresh() is False
    assert domain.issue_jwt(ours).key_id == prepared
    assert ours.show() == theirs.show()
    assert ours.bundle() == theirs.bundle()


def test_a_refresh_publishes_what_another_process_could_not(domain, monkeypatch):
    ours, theirs = domain.open(), domain.open()
    monkeypatch.setattr(StateStore, "publish", lambda self, state: None)  # as if it were killed before that
    theirs.prepare("jwt")
    monkeypatch.undo()
    assert ours.bundle() == domain.published
    assert ours.refresh() is True
    assert ours.bundle() == domain.published == theirs.bundle()


def test_a_refresh_of_a_damaged_document_is_an_error_and_issuing_goes_on(domain):
    authority = domain.open()
    (domain.files / "authorities.json").write_bytes(b"{}")
    for _ in range(2):
        with pytest.raises(AuthorityError, match=r"authorities\.json"):
            authority.refresh()
    assert domain.verify(domain.issue(authority)).id == str(domain.agent)


def test_a_change_goes_by_what_is_on_disk_and_not_by_what_was_read_before(domain):
    ours, theirs = domain.open(), domain.open()
    theirs.prepare("jwt")
    with pytest.raises(AuthorityError, match="is not the prepared authority"):
        ours.activate("jwt", ours.show().jwt[0].authority_id)
    assert ours.activate("jwt").action == "activated"
    assert theirs.refresh() is True
    assert theirs.show() == ours.show()


@pytest.mark.parametrize("wait", ["open", "prepare"])
def test_opening_and_changing_wait_for_another_process_that_changes(domain, wait):
    authority = domain.open()
    holder = os.open(domain.files, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    waiting = threading.Thread(target=domain.open if wait == "open" else lambda: authority.prepare("jwt"))
    waiting.start()
    waiting.join(0.3)
    still_waiting = waiting.is_alive()
    os.close(holder)
    waiting.join(30)
    assert still_waiting
    assert not waiting.is_alive()


def _rotate_often(state_dir, seal_key):
    keys = SealedKeyManager(authority_dir(state_dir), seal_key)
    for _ in range(5):
        authority = Authority.open(state_dir, "home.test", keys, lambda: START * 10**9)
        for kind in ("x509", "jwt"):
            authority.prepare(kind)
            with contextlib.suppress(AuthorityError):  # where the other process was faster
                authority.activate(kind)


def test_processes_that_rotate_at_once_leave_a_state_that_holds_together(domain):
    context = multiprocessing.get_context("spawn")
    work = (domain.state_dir, domain.seal_key)
    processes = [context.Process(target=_rotate_often, args=work) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    authority = domain.open()
    assert domain.verify(domain.issue(authority)).id == str(domain.agent)
    assert domain.verify_jwt(domain.issue_jwt(authority)).id == str(domain.agent)
    states = [record.state for record in authority.show().x509]
    assert states.count("active") == 1
    assert len(states) > 5
