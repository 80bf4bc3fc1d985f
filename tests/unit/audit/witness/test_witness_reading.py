"""What a witness gives to who asks for the latest checkpoint, and how long it waits for who asks it to cosign."""

import asyncio
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.tlog.checkpoint import Checkpoint
from audit.tlog.merkle import leaf_hash, root_of
from audit.tlog.note import CosignatureSigner, Ed25519Signer, open_note, parse_note, parse_verifier_key, sign_note
from audit.witness import serving
from audit.witness.deciding import WitnessRules, format_request
from audit.witness.serving import WitnessApp
from audit.witness.state import WitnessState

ORIGIN = "example.org/audit"
LOG = Ed25519Signer(ORIGIN, Ed25519PrivateKey.generate())
STRANGER = Ed25519Signer("some.body", Ed25519PrivateKey.generate())
COSIGNER = CosignatureSigner("witness.example/w", Ed25519PrivateKey.generate(), lambda: 1_800_000_000)
LEAVES = [leaf_hash(b"%d" % number) for number in range(2)]
HASH = sha256(ORIGIN.encode()).hexdigest()


def note(size, *signers):
    return sign_note(Checkpoint(ORIGIN, size, root_of(LEAVES[:size])).to_text(), [*signers, LOG])


@pytest.fixture
def rules(tmp_path):
    return WitnessRules(WitnessState(tmp_path / "seen.sqlite"), [COSIGNER], [parse_verifier_key(LOG.verifier_key)])


def test_the_latest_checkpoint_has_the_signatures_of_log_and_witness_and_nobody_elses(rules):
    assert rules.add_checkpoint(format_request(0, [], note(1))).status == 200
    assert rules.add_checkpoint(format_request(1, [LEAVES[1]], note(2, STRANGER))).status == 200
    answer = rules.checkpoint(HASH)
    opened = open_note(answer.body, [parse_verifier_key(key.verifier_key) for key in (LOG, COSIGNER)])
    assert (answer.status, opened.text) == (200, parse_note(note(2))[0])
    assert [each.name for each in opened.signatures] == [LOG.name, COSIGNER.name]
    assert len(parse_note(answer.body)[1]) == 2


def test_a_second_line_that_claims_to_be_the_logs_spoils_the_request_and_a_repeated_one_is_kept_once(rules):
    good = note(1)
    own, forged = (each.splitlines()[-1] + b"\n" for each in (good, note(2)))
    assert rules.add_checkpoint(format_request(0, [], good + forged)).status == 403
    assert rules.checkpoint(HASH).status == 404
    assert rules.add_checkpoint(format_request(0, [], good + own)).status == 200
    assert rules.checkpoint(HASH).body.count(own) == 1


def test_a_size_that_no_integer_is_made_of_is_refused(rules):
    body = format_request(0, [], note(1)).replace(b"\n1\n", b"\n" + b"9" * 5000 + b"\n", 1)
    assert rules.add_checkpoint(body).status == 400


@pytest.mark.parametrize("origin", [ORIGIN, "example.org/unknown"])
def test_of_a_log_that_was_never_cosigned_there_is_none(rules, origin):
    assert rules.checkpoint(sha256(origin.encode()).hexdigest()).status == 404


async def served(rules, method, path, messages):
    """Return status and body that the application sends."""
    coming, sent = iter(messages), []

    async def receive():
        try:
            return next(coming)
        except StopIteration:
            await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    await WitnessApp(rules)({"type": "http", "method": method, "path": path}, receive, send)
    return (sent[0]["status"], sent[1]["body"]) if sent else None


WHOLE = [{"type": "http.request", "body": b""}]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/{HASH}/checkpoint", 200),
        ("POST", f"/{HASH}/checkpoint", 405),
        ("GET", f"/{HASH.upper()}/checkpoint", 404),
        ("GET", f"/{HASH}/checkpoint/", 404),
        ("GET", f"/{HASH[:-1]}0/checkpoint", 404),
        ("GET", f"/x/{HASH}/checkpoint", 404),
        ("GET", "/add-checkpoint", 405),
    ],
)
async def test_only_the_two_paths_are_answered(rules, method, path, status):
    rules.add_checkpoint(format_request(0, [], note(1)))
    assert (await served(rules, method, path, WHOLE))[0] == status


async def test_a_body_that_does_not_come_ends_the_waiting(rules, monkeypatch):
    monkeypatch.setattr(serving, "MAX_BODY_SECONDS", 0.05)
    begun = [{"type": "http.request", "body": b"old 0\n", "more_body": True}]
    assert (await served(rules, "POST", "/add-checkpoint", begun))[0] == 408


async def test_a_body_that_is_too_large_is_not_read_to_its_end(rules):
    pieces = [{"type": "http.request", "body": bytes(100_000), "more_body": True} for _ in range(3)]
    assert (await served(rules, "POST", "/add-checkpoint", pieces))[0] == 413


async def test_a_client_that_is_gone_gets_nothing_and_nothing_is_cosigned(rules):
    pieces = [
        {"type": "http.request", "body": format_request(0, [], note(1)), "more_body": True},
        {"type": "http.disconnect"},
    ]
    assert await served(rules, "POST", "/add-checkpoint", pieces) is None
    assert rules.checkpoint(HASH).status == 404


async def test_a_state_that_cannot_be_read_is_said(rules, tmp_path):
    for path in tmp_path.glob("seen.sqlite*"):
        path.write_bytes(b"this is no database, and long enough to be seen as none" * 100)
    for method, path, body in (
        ("GET", f"/{HASH}/checkpoint", b""),
        ("POST", "/add-checkpoint", format_request(0, [], note(1))),
    ):
        messages = [{"type": "http.request", "body": body}]
        assert (await served(rules, method, path, messages))[0] == 503
