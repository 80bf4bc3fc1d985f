"""Signed notes, checkpoints and textual proofs: what the specifications show, and everything that is not their form."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.tlog.checkpoint import Checkpoint, parse_checkpoint
from audit.tlog.errors import NoteError, ProofError
from audit.tlog.merkle import leaf_hash, root_of
from audit.tlog.note import (
    CosignatureSigner,
    Ed25519Signer,
    MlDsa44Signer,
    NoteVerifier,
    SignatureLine,
    add_signature_lines,
    open_note,
    parse_note,
    parse_verifier_key,
    sign_note,
)
from audit.tlog.proof import format_proof, parse_proof, verify_proof

# The example of C2SP signed-note 1.0.
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ER"
    "YNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()

POST_QUANTUM = json.loads((Path(__file__).parent / "mldsa_vector.json").read_text())

LOG = "example.org/audit"
NOW = 1_800_000_000
CHECKPOINT = Checkpoint(
    LOG, 3, root_of([leaf_hash(b"a"), leaf_hash(b"b"), leaf_hash(b"c")]), ("chain a 3 " + "0" * 64,)
)


def log_signer() -> Ed25519Signer:
    return Ed25519Signer(LOG, Ed25519PrivateKey.generate())


def witness(name: str = "witness.example/w1") -> CosignatureSigner:
    return CosignatureSigner(name, Ed25519PrivateKey.generate(), lambda: NOW)


def post_quantum() -> MlDsa44Signer:
    return MlDsa44Signer(LOG, MLDSA44PrivateKey.generate(), lambda: NOW)


def test_the_example_of_the_specification_verifies():
    opened = open_note(EXAMPLE, [parse_verifier_key(EXAMPLE_KEY)])
    assert opened.text == b"This is an example message.\n"
    assert [signature.name for signature in opened.signatures] == ["example.com/foo"]


def test_a_post_quantum_signature_of_the_reference_library_verifies():
    opened = open_note(POST_QUANTUM["note"].encode(), [parse_verifier_key(POST_QUANTUM["key"])])
    assert [(signature.name, signature.timestamp) for signature in opened.signatures] == [("example.com/mldsa-log", 0)]
    assert parse_checkpoint(opened.text).size == 1
    with pytest.raises(NoteError, match="does not verify"):
        open_note(POST_QUANTUM["note"].replace("\n1\n", "\n2\n").encode(), [parse_verifier_key(POST_QUANTUM["key"])])


def test_each_kind_of_signature_verifies_and_says_when_it_was_made():
    signers = [log_signer(), witness(), post_quantum()]
    note = sign_note(CHECKPOINT.to_text(), signers)
    opened = open_note(note, [parse_verifier_key(signer.verifier_key) for signer in signers])
    assert [signature.timestamp for signature in opened.signatures] == [None, NOW, NOW]
    assert parse_checkpoint(opened.text) == CHECKPOINT


@pytest.mark.parametrize("maker", [log_signer, witness, post_quantum])
def test_another_text_another_time_or_another_key_does_not_verify(maker):
    signer, other = maker(), maker()
    verifier = parse_verifier_key(signer.verifier_key)
    signature = signer.sign(CHECKPOINT.to_text())
    changed = Checkpoint(LOG, 4, CHECKPOINT.root)
    assert verifier.verify(CHECKPOINT.to_text(), signature)
    assert not verifier.verify(changed.to_text(), signature)
    assert not verifier.verify(CHECKPOINT.to_text(), other.sign(CHECKPOINT.to_text()))
    assert not verifier.verify(CHECKPOINT.to_text(), signature + b"\0")
    assert not verifier.verify(CHECKPOINT.to_text(), b"")
    assert not verifier.verify(CHECKPOINT.to_text(), bytes([signature[0] ^ 1]) + signature[1:])


def test_a_post_quantum_signature_covers_origin_size_and_root_and_not_the_extension_lines():
    signer = post_quantum()
    verifier, signature = parse_verifier_key(signer.verifier_key), signer.sign(CHECKPOINT.to_text())
    assert verifier.verify(Checkpoint(LOG, 3, CHECKPOINT.root).to_text(), signature)
    for other in (
        Checkpoint("x", 3, CHECKPOINT.root),
        Checkpoint(LOG, 4, CHECKPOINT.root),
        Checkpoint(LOG, 3, bytes(32)),
    ):
        assert not verifier.verify(other.to_text(), signature)


def test_a_wrong_signature_of_a_known_key_spoils_the_note_and_one_of_an_unknown_key_does_not():
    signer, stranger = log_signer(), witness()
    note = sign_note(CHECKPOINT.to_text(), [stranger, signer])
    assert len(open_note(note, [parse_verifier_key(signer.verifier_key)]).signatures) == 1
    forged = note.replace(b"\n3\n", b"\n4\n", 1)
    with pytest.raises(NoteError, match="does not verify"):
        open_note(forged, [parse_verifier_key(signer.verifier_key)])
    with pytest.raises(NoteError, match="no known key"):
        open_note(note, [parse_verifier_key(witness().verifier_key)])


def unsigned(signer, text: bytes = CHECKPOINT.to_text()) -> SignatureLine:
    return parse_note(sign_note(text, [signer]))[1][0]


@pytest.mark.parametrize("maker", [log_signer, witness, post_quantum])
def test_the_signature_of_another_key_under_the_same_name_and_id_spoils_the_note(maker):
    signer, other = maker(), maker()
    forged = replace(unsigned(other), key_id=signer.key_id)
    note = CHECKPOINT.to_text() + f"\n{forged}\n".encode()
    with pytest.raises(NoteError, match="does not verify"):
        open_note(note, [parse_verifier_key(signer.verifier_key)])


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_wrong_signature_spoils_the_note_beside_a_good_one_by_the_same_key(order):
    signer = log_signer()
    lines = [unsigned(signer), unsigned(signer, Checkpoint(LOG, 4, CHECKPOINT.root).to_text())][order]
    note = CHECKPOINT.to_text() + b"\n" + "".join(f"{line}\n" for line in lines).encode()
    with pytest.raises(NoteError, match="does not verify"):
        open_note(note, [parse_verifier_key(signer.verifier_key)])


def test_of_two_good_signatures_by_one_key_the_first_counts():
    key, times = Ed25519PrivateKey.generate(), iter([NOW, NOW + 60])
    cosigner = CosignatureSigner("witness.example/w1", key, lambda: next(times))
    note = sign_note(CHECKPOINT.to_text(), [cosigner, cosigner])
    assert [s.timestamp for s in open_note(note, [parse_verifier_key(cosigner.verifier_key)]).signatures] == [NOW]


def test_two_known_keys_of_one_name_and_id_are_refused_and_one_given_twice_is_not():
    signer = log_signer()
    key = parse_verifier_key(signer.verifier_key)
    note = sign_note(CHECKPOINT.to_text(), [signer])
    assert open_note(note, [key, parse_verifier_key(signer.verifier_key)]).signatures
    with pytest.raises(NoteError, match="the same id"):
        open_note(note, [key, NoteVerifier(key.name, key.key_id, key.kind, bytes(32))])


def test_a_note_has_at_least_one_signature_and_not_too_many():
    with pytest.raises(NoteError, match="1 to 64"):
        sign_note(CHECKPOINT.to_text(), [])
    note = sign_note(CHECKPOINT.to_text(), [log_signer()])
    lines = [str(SignatureLine(f"witness.example/{number}", b"1234", bytes(64))) for number in range(64)]
    assert len(parse_note(add_signature_lines(note, lines[1:]))[1]) == 64
    with pytest.raises(NoteError, match="1 to 64"):
        add_signature_lines(note, lines)


def test_a_signature_line_is_added_once():
    signer, cosigner = log_signer(), witness()
    note = sign_note(CHECKPOINT.to_text(), [signer])
    line = parse_note(sign_note(CHECKPOINT.to_text(), [cosigner]))[1][0]
    twice = add_signature_lines(add_signature_lines(note, [str(line)]), [f"{line}\n"])
    keys = [parse_verifier_key(each.verifier_key) for each in (signer, cosigner)]
    assert len(open_note(twice, keys).signatures) == len(parse_note(twice)[1]) == 2
    with pytest.raises(NoteError):
        add_signature_lines(note, ["no signature"])


@pytest.mark.parametrize(
    "note",
    [
        b"", b"\n", b"text\n", b"text\n\n", b"text\n\nno signature\n", EXAMPLE[:-1], EXAMPLE + b"\n",
        EXAMPLE.replace(b"\n\n", b"\n"), EXAMPLE.replace(b"example message", b"ex\x00mple"),
        EXAMPLE.replace(b"message", b"mess\rage"), EXAMPLE.replace(b"message", b"\xff"),
        EXAMPLE.replace("—".encode(), b"-"), EXAMPLE.replace(b"foo U", b"foo  U"), EXAMPLE.replace(b"/foo", b"/f+o"),
        EXAMPLE.replace(b"/foo", "/f\u2003o".encode()), EXAMPLE.replace(b"aQM=", b"aQM"), EXAMPLE.replace(b"aQM=", b"aQN="),
        "text\n\n— name AAAA\n".encode(), "text\n\n— name AAAAAA==\n".encode(), "text\n\n—  AAAAAAAA\n".encode(),
        b"text\n\n" + "— name AAAAAAAA\n".encode() * 65, b"x" * 1_000_001,
    ],
)  # fmt: skip
def test_what_is_no_note_is_refused(note):
    with pytest.raises(NoteError):
        open_note(note, [parse_verifier_key(EXAMPLE_KEY)])


@pytest.mark.parametrize(
    "key",
    [
        "", "example.com/foo", EXAMPLE_KEY.replace("530d903a", "530d903b"), EXAMPLE_KEY.replace("530d", "530D"),
        EXAMPLE_KEY.replace("foo", "fop"), EXAMPLE_KEY[:-4], EXAMPLE_KEY + "AAAA", EXAMPLE_KEY.replace("+A", "+B"),
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "a b+00000000+AQ==", "a+00000000+", "a+xyz+AQ==",
        EXAMPLE_KEY.replace("+530d903a", "+ 530d903a"), EXAMPLE_KEY.replace("+530d903a", "+53 0d903a"),
        POST_QUANTUM["key"].replace("AAE=", "AAF="), POST_QUANTUM["key"].replace("AAE=", "AAE=="),
    ],
)  # fmt: skip
def test_what_is_no_verifier_key_is_refused(key):
    with pytest.raises(NoteError):
        parse_verifier_key(key)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"o\n3\n", b"o\n03\nAAAA\n", b"o\n-1\n" + b"A" * 43 + b"=\n", b"o\n3\n" + b"A" * 43 + b"=",
        b"\n3\n" + b"A" * 43 + b"=\n", b"o\n3\n" + b"A" * 43 + b"=\n\nx\n", b"o\n3\nAAAA\n", b"o\n3\n" + b"A" * 42 + b"B=\n",
        b"o\n" + b"9" * 5000 + b"\n" + b"A" * 43 + b"=\n", b"o\r\n3\n" + b"A" * 43 + b"=\n",
        b"o\n3 \n" + b"A" * 43 + b"=\n", b"o\n+3\n" + b"A" * 43 + b"=\n", b"o\n3_0\n" + b"A" * 43 + b"=\n",
        b"o\n3\n" + b"A" * 43 + b"=\n\tx\n", b"o\n9223372036854775808\n" + b"A" * 43 + b"=\n", b"o\n\xc2\xb3\n" + b"A" * 43 + b"=\n", b"\xff\n3\n" + b"A" * 43 + b"=\n",
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text):
    with pytest.raises(NoteError):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("", 3, bytes(32)), Checkpoint("two\nlines", 3, bytes(32)), Checkpoint(LOG, -1, bytes(32)),
        Checkpoint(LOG, 2**63, bytes(32)), Checkpoint(LOG, 3, bytes(31)), Checkpoint(LOG, 3, bytes(32), ("",)),
        Checkpoint(LOG, 3, bytes(32), ("chain a 1\nchain b 2",)), Checkpoint(LOG, 3, bytes(32), ("tab\t",)),
    ],
)  # fmt: skip
def test_no_text_is_made_of_what_would_be_read_as_another_checkpoint(checkpoint):
    with pytest.raises(NoteError):
        checkpoint.to_text()


@pytest.mark.parametrize(
    "head",
    [
        "c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2\nindex 2", " c2sp.org/tlog-proof@v1\nindex 2",
        "c2sp.org/tlog-proof@v1\nindex 02", "c2sp.org/tlog-proof@v1\nindex -2", "c2sp.org/tlog-proof@v1\nindex +2",
        "c2sp.org/tlog-proof@v1\nindex  2", "c2sp.org/tlog-proof@v1\nindex 2 ", "c2sp.org/tlog-proof@v1\nindex",
        "c2sp.org/tlog-proof@v1\nindex " + "9" * 5000, "c2sp.org/tlog-proof@v1\nindex 2\nextra QQ==",
        "c2sp.org/tlog-proof@v1\nextra QQ=\nindex 2", "c2sp.org/tlog-proof@v1\nextra QR==\nindex 2",
        "c2sp.org/tlog-proof@v1\nextra QQ==\nextra QQ==\nindex 2", "c2sp.org/tlog-proof@v1\nindex 2\nAAAA",
        "c2sp.org/tlog-proof@v1\nindex 2\n" + "A" * 42 + "B=", "c2sp.org/tlog-proof@v1\r\nindex 2",
        "c2sp.org/tlog-proof@v1\nindex 2" + ("\n" + "A" * 43 + "=") * 64, "c2sp.org/tlog-proof@v1\nindex \u0662",
    ],
)  # fmt: skip
def test_what_is_no_proof_is_refused(head):
    with pytest.raises(ProofError):
        parse_proof(head.encode() + b"\n\n" + EXAMPLE)


@given(st.binary(max_size=200) | st.text(alphabet="on0139-+— AQ=\n", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_with_the_error_that_is_said(data):
    for read, error in ((parse_note, NoteError), (parse_checkpoint, NoteError), (parse_proof, ProofError)):
        try:
            read(data)
        except error:
            continue


def test_a_proof_in_text_proves_one_entry_of_one_log():
    signer, cosigner = log_signer(), witness()
    leaves = [leaf_hash(b"a"), leaf_hash(b"b"), leaf_hash(b"c")]
    note = sign_note(CHECKPOINT.to_text(), [signer, cosigner])
    text = format_proof(2, [root_of(leaves[:2])], note, b"extra")
    proof = parse_proof(text)
    keys = [parse_verifier_key(each.verifier_key) for each in (signer, cosigner)]
    checkpoint, opened = verify_proof(proof, leaves[2], keys, LOG)
    assert (checkpoint, len(opened.signatures), proof.extra) == (CHECKPOINT, 2, b"extra")
    with pytest.raises(ProofError):
        verify_proof(proof, leaves[1], keys, LOG)
    with pytest.raises(NoteError, match="is of the log"):
        verify_proof(proof, leaves[2], keys, "example.org/other")
    with pytest.raises(NoteError, match="not signed by"):
        verify_proof(proof, leaves[2], keys[1:], LOG)


@given(st.integers(0, 400), st.binary(max_size=3))
def test_a_proof_with_anything_changed_is_refused_or_says_the_same(position, replacement):
    note = sign_note(CHECKPOINT.to_text(), [SIGNER])
    text = format_proof(2, [root_of([leaf_hash(b"a"), leaf_hash(b"b")])], note)
    changed = text[:position] + replacement + text[position + 1 :]
    try:
        proof = parse_proof(changed)
        checkpoint, _ = verify_proof(proof, leaf_hash(b"c"), [parse_verifier_key(SIGNER.verifier_key)], LOG)
    except (ProofError, NoteError):
        return
    assert (checkpoint, proof.index) == (CHECKPOINT, 2)


SIGNER = log_signer()
