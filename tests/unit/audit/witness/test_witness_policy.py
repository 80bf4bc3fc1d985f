"""Witness policies: what they ask for, and everything that is not in their form."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.tlog.note import CosignatureSigner, Ed25519Signer, VerifiedSignature
from audit.witness.policy import WitnessPolicyError, parse_policy

SIGNERS = {
    name: CosignatureSigner(f"{name}.example/w", Ed25519PrivateKey.generate(), lambda: 1)
    for name in ("x1", "x2", "x3", "y1", "y2")
}
LOG = Ed25519Signer("example.org/audit", Ed25519PrivateKey.generate())
WITNESSES = "".join(f"witness {name} {signer.verifier_key}\n" for name, signer in SIGNERS.items())
NESTED = f"log {LOG.verifier_key}\n{WITNESSES}group x 2 x1 x2 x3\ngroup y any y1 y2\ngroup both all x y\nquorum both\n"


def by(*names: str) -> list[VerifiedSignature]:
    return [VerifiedSignature(SIGNERS[name].name, SIGNERS[name].key_id, 1) for name in names]


@pytest.mark.parametrize(
    ("names", "enough"),
    [
        ([], False), (["x1", "x2"], False), (["x1", "y1"], False), (["x1", "x3", "y2"], True),
        (["x1", "x2", "x3", "y1", "y2"], True), (["y1", "y2"], False),
    ],
)  # fmt: skip
def test_the_quorum_of_groups_is_met_or_not(names: list[str], enough: bool) -> None:
    policy = parse_policy(NESTED)
    assert policy.satisfied(by(*names)) is enough
    assert "2 of (2 of (x1, x2, x3), 1 of (y1, y2))" in policy.explain(by(*names))


def test_an_unknown_key_of_a_witnesss_name_counts_for_nothing() -> None:
    policy = parse_policy(f"{WITNESSES}quorum x1\n")
    assert policy.satisfied(by("x1"))
    assert not policy.satisfied([VerifiedSignature(SIGNERS["x1"].name, b"\0\0\0\0", 1)])


def test_comments_spaces_and_urls_are_taken() -> None:
    policy = parse_policy(
        f"# a comment\n\n \t witness\tx1  {SIGNERS['x1'].verifier_key} https://w.example/ \nquorum none\n"
    )
    assert policy.witnesses["x1"].url == "https://w.example"
    assert policy.satisfied([])


KEY = SIGNERS["x1"].verifier_key


@pytest.mark.parametrize(
    "text",
    [
        "", "quorum x1\n", "quorum none\nquorum none\n", f"witness x1 {KEY}\nwitness x1 {KEY}\nquorum none\n",
        f"witness a {KEY}\nwitness b {KEY}\nquorum none\n", f"witness none {KEY}\nquorum none\n",
        f"witness a {LOG.verifier_key}\nquorum none\n", "witness a nokey\nquorum none\n", "log nokey\nquorum none\n",
        f"log {LOG.verifier_key}\nlog {LOG.verifier_key}\nquorum none\n", "group g any\nquorum none\n",
        f"witness a {KEY}\ngroup g 2 a\nquorum g\n", f"witness a {KEY}\ngroup g 0 a\nquorum g\n",
        f"witness a {KEY}\ngroup g any a a\nquorum g\n", f"group g any a\nwitness a {KEY}\nquorum g\n",
        f"witness a {KEY}\ngroup a any a\nquorum a\n", "quorum\n", "mirror a\nquorum none\n",
        f"witness a {KEY}\ngroup g any a\ngroup h any a\ngroup b 2 g h\nquorum b\n",
        f"witness a {KEY}\ngroup g any a\ngroup h 2 a g\nquorum h\n",
        f"witness a {KEY} https://w more\nquorum none\n", "group g any none\nquorum g\n",
    ],
    ids=lambda _: "text",  # keys are made anew in every process
)  # fmt: skip
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(WitnessPolicyError):
        parse_policy(text)
