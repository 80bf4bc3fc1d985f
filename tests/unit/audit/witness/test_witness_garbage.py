"""No request makes a witness do anything but answer with a status of C2SP tlog-witness."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.tlog.checkpoint import Checkpoint
from audit.tlog.merkle import leaf_hash, root_of
from audit.tlog.note import CosignatureSigner, Ed25519Signer, parse_verifier_key, sign_note
from audit.witness.deciding import WitnessRules, format_request
from audit.witness.state import WitnessState

LOG = Ed25519Signer("example.org/audit", Ed25519PrivateKey.generate())
COSIGNER = CosignatureSigner("witness.example/w", Ed25519PrivateKey.generate(), lambda: 1_800_000_000)
ROOT = root_of([leaf_hash(b"0")])
GOOD = format_request(0, [], sign_note(Checkpoint(LOG.name, 1, ROOT).to_text(), [LOG]))
PIECES = [
    b"", b"\n", b"old 0", b"old 1", b"old -1", b"old \xd9\xa1", b"old " + b"9" * 5000, LOG.name.encode(), b"1", b"0",
    b"\xd9\xa1", b"9" * 5000, b"9223372036854775808", "\N{EM DASH}".encode(), "\N{EM DASH} x AAAA".encode(), b"=", b"AAAA",
    b"\xff", b"\x00", b"A" * 43 + b"=", b"\xc2\xa0", b"\xe2\x80\xa8", b"old 00", b"old 1_0",
]  # fmt: skip
STATUSES = {200, 400, 403, 404, 409, 422}


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    state = WitnessState(tmp_path_factory.mktemp("witness") / "seen.sqlite")
    return WitnessRules(state, [COSIGNER], [parse_verifier_key(LOG.verifier_key)])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=60)), max_size=12))
def test_lines_in_any_order_get_an_answer(rules, lines):
    assert rules.add_checkpoint(b"\n".join(lines)).status in STATUSES


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 40), st.sampled_from(PIECES))
def test_a_good_request_that_was_damaged_gets_an_answer(rules, at, cut, put):
    assert rules.add_checkpoint(GOOD[:at] + put + GOOD[at + cut :]).status in STATUSES
