"""Proof of possession: every accepted type of key, and every way in which a proof is another one."""

import secrets

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from identity.attestation.base import AttestationError
from identity.attestation.x509pop import PURPOSE, X509PopAttestor, answer, proof_statement
from identity.errors import BundleError
from identity.jwk import decode, encode
from identity.selectors import check_selector
from tests.support.certificates import SERVER, CertificateAuthority, key_usage
from tests.unit.identity.attestation.conftest import TD, Script


@pytest.fixture
def root(clock):
    return CertificateAuthority.root("machines", now=clock.now, uri="")


@pytest.fixture
def attestor(root, clock, tmp_path):
    path = tmp_path / "ca.pem"
    path.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    return X509PopAttestor(TD, [path], clock)


@pytest.fixture
def machine(root, clock):
    def make(by=None, **changes):
        dates = {"not_before": clock.now - 60, "not_after": clock.now + 600}
        return (by or root).issue(**{**dates, "subject": "machine-7", "san": False, **changes})

    return make


def honest(leaf, script):
    return lambda message: answer(leaf.key, message, TD, script.binding)


async def attest(attestor, leaf, reply=None):
    script = Script()
    script.reply = reply or honest(leaf, script)
    return await attestor.attest({"chain": leaf.chain_pem.decode()}, script)


async def refusal(attestor, leaf, reply=None):
    with pytest.raises(AttestationError) as caught:
        await attest(attestor, leaf, reply)
    return caught.value.rule


KEYS = [
    lambda: ec.generate_private_key(ec.SECP256R1()),
    lambda: ec.generate_private_key(ec.SECP384R1()),
    lambda: rsa.generate_private_key(65537, 2048),
    ed25519.Ed25519PrivateKey.generate,
]


@pytest.mark.parametrize("make_key", KEYS, ids=["p256", "p384", "rsa", "ed25519"])
async def test_the_holder_of_a_known_certificate_gets_in(attestor, machine, make_key, root):
    leaf = machine(key=make_key())
    attested = await attest(attestor, leaf)
    print256 = leaf.certificate.fingerprint(hashes.SHA256()).hex()
    assert attested.spiffe_id == f"spiffe://{TD}/node/x509pop/{print256}"
    assert attested.can_reattest
    assert attested.selectors >= {
        "x509pop:subject:cn:machine-7",
        f"x509pop:ca:fingerprint:{root.certificate.fingerprint(hashes.SHA256()).hex()}",
    }
    assert all(check_selector(selector) for selector in attested.selectors)
    serial = next(s for s in attested.selectors if s.startswith("x509pop:serialnumber:")).rpartition(":")[2]
    assert int(serial, 16) == leaf.certificate.serial_number


async def test_a_chain_over_an_intermediate_names_every_authority(attestor, machine, root, clock):
    middle = root.intermediate("", now=clock.now)
    attested = await attest(attestor, machine(by=middle))
    for authority in (middle, root):
        assert (
            f"x509pop:ca:fingerprint:{authority.certificate.fingerprint(hashes.SHA256()).hex()}" in attested.selectors
        )


async def test_another_key_is_no_proof(attestor, machine):
    leaf, other = machine(), machine()
    script = Script()
    assert await refusal(attestor, leaf, honest(other, script)) == "x509pop-signature"


async def test_each_part_of_the_statement_counts(attestor, machine):
    leaf, binding = machine(), Script().binding

    def signing(statement):
        def reply(message):
            own = secrets.token_bytes(32)
            signature = leaf.key.sign(statement(decode(message["nonce"]), own), ec.ECDSA(hashes.SHA256()))
            return {"nonce": encode(own), "signature": encode(signature)}

        return reply

    right = signing(lambda nonce, own: proof_statement(TD, nonce, own, binding))
    assert (await attest(attestor, leaf, right)).can_reattest
    for wrong in (
        lambda nonce, own: proof_statement("other.test", nonce, own, binding),
        lambda nonce, own: proof_statement(TD, secrets.token_bytes(32), own, binding),
        lambda nonce, own: proof_statement(TD, nonce, secrets.token_bytes(32), binding),
        lambda nonce, own: proof_statement(TD, own, nonce, binding),
        lambda nonce, own: proof_statement(TD, nonce, own, "cd" * 32),
        lambda nonce, own: proof_statement(TD, nonce, own, binding).replace(PURPOSE.encode(), b"other-purpose"),
        lambda nonce, own: nonce,
    ):
        assert await refusal(attestor, leaf, signing(wrong)) == "x509pop-signature"


async def test_an_answer_recorded_before_is_no_proof_again(attestor, machine):
    leaf, script = machine(), Script()
    recorded = []

    def recording(message):
        recorded.append(honest(leaf, script)(message))
        return recorded[0]

    await attest(attestor, leaf, recording)
    assert await refusal(attestor, leaf, recording) == "x509pop-signature"


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"nonce": "x", "signature": "x"},
        {"nonce": encode(b"1" * 31), "signature": encode(b"1")},
        {"nonce": encode(b"1" * 32)},
        {"nonce": encode(b"1" * 32), "signature": "not/base64url"},
        {"nonce": encode(b"1" * 32), "signature": encode(b"")},
        {"nonce": 7, "signature": None},
    ],
)
async def test_malformed_answers_are_refused(attestor, machine, reply):
    assert await refusal(attestor, machine(), lambda message: reply)


async def test_an_answer_that_repeats_the_nonce_is_refused(attestor, machine):
    reply = lambda message: {"nonce": message["nonce"], "signature": encode(b"1" * 70)}  # noqa: E731
    assert await refusal(attestor, machine(), reply) == "x509pop-nonce"


async def test_certificates_that_are_not_a_nodes_are_refused_before_anything_is_asked(attestor, machine, clock):
    cases = {
        "x509pop-leaf": [
            machine(ca=True, usage=key_usage("digital_signature", "key_cert_sign")),
            machine(usage=key_usage("key_encipherment")),
            machine(extended=[SERVER]),
            machine(key=ec.generate_private_key(ec.SECP256K1())),
        ],
        "x509pop-chain": [
            machine(by=CertificateAuthority.root("machines", now=clock.now, uri="")),
            machine(self_signed=True),
            machine(not_after=clock.now - 1),
            machine(not_before=clock.now + 60),
        ],
    }

    def never(message):
        raise AssertionError("nothing was to be asked")

    for rule, leaves in cases.items():
        for leaf in leaves:
            assert await refusal(attestor, leaf, never) == rule


@pytest.mark.parametrize("chain", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 7])
async def test_what_is_no_chain_is_refused(attestor, silent, chain):
    with pytest.raises(AttestationError):
        await attestor.attest({"chain": chain}, silent)


async def test_a_chain_of_too_many_certificates_is_refused(attestor, machine, silent):
    with pytest.raises(AttestationError, match="at most 8"):
        await attestor.attest({"chain": machine().chain_pem.decode() * 9}, silent)


def test_a_node_signs_nothing_but_a_challenge_of_this_method():
    with pytest.raises(AttestationError, match="nothing is signed"):
        answer(ec.generate_private_key(ec.SECP256R1()), {"purpose": "other", "nonce": encode(b"1" * 32)}, TD, "")


def test_authorities_that_cannot_be_used_are_named(tmp_path, clock):
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for files in ([], [empty], [tmp_path / "missing.pem"]):
        with pytest.raises(BundleError):
            X509PopAttestor(TD, files, clock)


def test_the_statement_names_one_meaning_only():
    assert proof_statement("a", b"1", b"2", "c") == b"govgateway-node-attestation-x509pop-v1\na\nMQ\nMg\nc\n"
