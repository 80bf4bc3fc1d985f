"""What a witness remembers is what it signed: a file that is damaged, older or gone is not used, nor a clock that went back."""

import shutil
import sqlite3
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from audit.tlog.checkpoint import Checkpoint
from audit.tlog.merkle import leaf_hash, root_of
from audit.tlog.note import CosignatureSigner, Ed25519Signer, MlDsa44Signer, open_note, parse_verifier_key, sign_note
from audit.witness import state as state_module
from audit.witness.deciding import WitnessRules, format_request
from audit.witness.state import Seen, WitnessState, WitnessStateError

LOG = Ed25519Signer("example.org/audit", Ed25519PrivateKey.generate())
LATER_LOG = MlDsa44Signer(LOG.name, MLDSA44PrivateKey.generate(), lambda: 4_000_000_000)
COSIGNER = Ed25519PrivateKey.generate()
LEAVES = [leaf_hash(b"%d" % number) for number in range(2)]
HASH = sha256(LOG.name.encode()).hexdigest()
NOW = 1_800_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "seen.sqlite"


def witness(path, now=NOW):
    signer = CosignatureSigner("witness.example/w", COSIGNER, lambda: now)
    return WitnessRules(
        WitnessState(path), [signer], [parse_verifier_key(key.verifier_key) for key in (LOG, LATER_LOG)]
    )


def first(*signers):
    return format_request(0, [], sign_note(Checkpoint(LOG.name, 1, LEAVES[0]).to_text(), signers or [LOG]))


def second():
    note = sign_note(Checkpoint(LOG.name, 2, root_of(LEAVES)).to_text(), [LOG])
    return format_request(1, [LEAVES[1]], note)


def refused(rules, request, match):
    with pytest.raises(WitnessStateError, match=match):
        rules.add_checkpoint(request)


def test_an_older_copy_put_in_the_place_of_the_state_is_noticed(path, tmp_path):
    rules = witness(path)
    assert rules.add_checkpoint(first()).status == 200
    shutil.copy(path, tmp_path / "older")
    assert rules.add_checkpoint(second()).status == 200
    shutil.copy(path, tmp_path / "newest")
    shutil.copy(tmp_path / "older", path)
    refused(rules, second(), "older copy")
    with pytest.raises(WitnessStateError, match="older copy"):
        rules.checkpoint(HASH)
    shutil.copy(tmp_path / "newest", path)
    assert rules.add_checkpoint(second()).status == 409


def test_a_state_that_was_emptied_or_removed_is_noticed(path):
    rules = witness(path)
    assert rules.add_checkpoint(first()).status == 200
    path.unlink()
    refused(rules, first(), "cannot be read")
    WitnessState(path)
    refused(rules, first(), "older copy")


def test_what_another_process_cosigned_meanwhile_is_no_older_copy(path):
    one, other = witness(path), witness(path)
    assert one.add_checkpoint(first()).status == 200
    assert other.add_checkpoint(second()).status == 200
    assert (one.add_checkpoint(first()).status, one.add_checkpoint(second()).status) == (409, 409)


@pytest.mark.parametrize(
    "change",
    [
        "size = 0", "size = 7", "size = -1", "size = 'many'", "root = zeroblob(32)", "root = x'00'", "root = 'text'",
        "note = x'00'", "note = 'text'", "note = x''", "note = CAST(replace(note, x'0a310a', x'0a320a') AS BLOB), size = 2",
    ],
)  # fmt: skip
def test_a_state_that_is_not_what_was_signed_is_not_used(path, change):
    assert witness(path).add_checkpoint(first()).status == 200
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE checkpoints SET {change}")  # noqa: S608 - of the list above
    connection.close()
    for request in (first(), second()):
        refused(witness(path), request, "damaged")
    with pytest.raises(WitnessStateError, match="damaged"):
        witness(path).checkpoint(HASH)


def test_a_clock_that_went_back_does_not_deny_what_was_cosigned(path):
    assert witness(path).add_checkpoint(first()).status == 200
    refused(witness(path, NOW - 1), second(), "clock")
    assert witness(path, NOW).add_checkpoint(second()).status == 200


@pytest.mark.parametrize("now", [0, -1, 2**63])
def test_a_clock_without_a_time_signs_nothing(path, now):
    rules = witness(path, now)
    refused(rules, first(), "clock")
    assert rules.checkpoint(HASH).status == 404


def test_a_log_that_dates_its_signature_far_ahead_does_not_stop_the_witness(path):
    assert witness(path).add_checkpoint(first(LATER_LOG)).status == 200
    assert witness(path).add_checkpoint(second()).status == 200


def test_a_new_key_of_the_witness_goes_on_with_the_memory_of_the_old_one(path):
    assert witness(path).add_checkpoint(first()).status == 200
    signer = CosignatureSigner("witness.example/new", Ed25519PrivateKey.generate(), lambda: NOW)
    rules = WitnessRules(WitnessState(path), [signer], [parse_verifier_key(LOG.verifier_key)])
    assert rules.add_checkpoint(first()).status == 409
    assert rules.add_checkpoint(second()).status == 200
    assert len(open_note(rules.checkpoint(HASH).body, [parse_verifier_key(signer.verifier_key)]).signatures) == 1


def test_what_was_persisted_and_not_answered_is_cosigned_again(path):
    """The witness was killed after its commit; the log asks again, learns the size, and goes on from it."""
    assert witness(path).add_checkpoint(first()).status == 200
    rules = witness(path)
    again = rules.add_checkpoint(first())
    assert (again.status, again.body) == (409, b"1\n")
    assert rules.add_checkpoint(first().replace(b"old 0", b"old 1", 1)).status == 200
    assert rules.add_checkpoint(second()).status == 200


def test_nobody_writes_while_the_write_ahead_log_is_settled(path, monkeypatch):
    """Settling writes old bytes over themselves: a commit of another process in between would be lost."""
    settled = []

    def settle(log):
        settled.append(log.name)
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()

    monkeypatch.setattr(state_module, "settle", settle)
    state = WitnessState(path)
    assert settled == ["seen.sqlite-wal"]
    assert state.replace(0, Seen("log", 1, bytes(32), b"note")) is None
    assert len(settled) == 1


def test_after_a_write_that_failed_the_write_ahead_log_is_settled_before_the_next(path, monkeypatch):
    settled = []
    monkeypatch.setattr(state_module, "settle", settled.append)
    state = WitnessState(path)
    with pytest.raises(WitnessStateError, match="cannot be written"):
        state.replace(0, Seen("log", 1, bytes(32), None))
    assert len(settled) == 1
    for old in (0, 1):
        assert state.replace(old, Seen("log", old + 1, bytes(32), b"note")) is None
    assert len(settled) == 2
