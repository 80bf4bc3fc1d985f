"""What an attacker may send besides a broken leaf: weak keys, malformed structures, chains made to cost time."""

import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from identity.bundle import TrustBundle
from identity.verification import SvidError, verify_peer
from tests.support.broken_svids import content, signed_again
from tests.support.certificates import CertificateAuthority, key_usage

NAME = "spiffe://home.test/agent/a"


def verdict(world, chain, bundles=None):
    try:
        return verify_peer(chain, bundles or world.bundles, world.now).id
    except SvidError as refusal:
        return refusal.rule


def rsa_key(bits):
    return rsa.generate_private_key(65537, bits)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: ec.generate_private_key(ec.SECP256R1()), NAME),
        (lambda: ec.generate_private_key(ec.SECP384R1()), NAME),
        (lambda: rsa_key(2048), NAME),
        (ed25519.Ed25519PrivateKey.generate, NAME),
        (lambda: rsa_key(1024), "leaf-key-type"),
        (lambda: ec.generate_private_key(ec.SECP224R1()), "leaf-key-type"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "leaf-key-type"),
        (lambda: ec.generate_private_key(ec.SECP521R1()), "leaf-key-type"),
    ],
    ids=["P-256", "P-384", "RSA 2048", "Ed25519", "RSA 1024", "P-224", "secp256k1", "P-521"],
)
def test_a_leaf_has_a_key_of_an_accepted_type(world, make, expected):
    assert verdict(world, world.leaf(NAME, key=make()).chain) == expected


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: rsa_key(2048), NAME),
        (lambda: rsa_key(1024), "chain-not-trusted"),
        (lambda: ec.generate_private_key(ec.SECP224R1()), "chain-not-trusted"),
    ],
    ids=["RSA 2048", "RSA 1024", "P-224"],
)
def test_a_signing_certificate_with_a_weak_key_does_not_vouch(world, make, expected):
    intermediate = world.home.intermediate("spiffe://home.test", now=world.now, key=make())
    assert verdict(world, world.leaf(NAME, by=intermediate).chain) == expected
    root = CertificateAuthority.root("home.test", now=world.now, key=make())
    bundles = {"home.test": root.bundle("home.test")}
    assert verdict(world, world.leaf(NAME, by=root).chain, bundles) == expected


def test_a_signing_certificate_needs_key_cert_sign(world):
    lame = world.home.intermediate("spiffe://home.test", now=world.now, usage=key_usage("crl_sign"))
    assert verdict(world, world.leaf(NAME, by=lame).chain) == "chain-not-trusted"


POLICY = x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.4"), None)


@pytest.mark.parametrize("below", [False, True], ids=["on the signing certificate", "on the leaf"])
@pytest.mark.parametrize(
    ("extension", "expected"),
    [
        (x509.CertificatePolicies([POLICY]), NAME),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0"), NAME),
        (x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None), "certificate-policies"),
        (x509.PolicyConstraints(require_explicit_policy=None, inhibit_policy_mapping=0), "certificate-policies"),
        (x509.UnrecognizedExtension(ExtensionOID.POLICY_MAPPINGS, b"\x30\0"), "certificate-policies"),
    ],
    ids=["policies", "an unknown extension", "a policy demanded", "mapping forbidden", "mappings"],
)
def test_constraints_on_policies_are_heeded_by_refusal_even_if_not_critical(world, extension, expected, below):
    signing = world.home.intermediate("spiffe://home.test", now=world.now)
    leaf = world.leaf(NAME, by=signing)
    if below:
        chain = [extended(leaf.certificate, extension, signing.key), signing.certificate]
    else:
        chain = [leaf.certificate, extended(signing.certificate, extension, world.home.key)]
    assert verdict(world, [each.public_bytes(Encoding.DER) for each in chain]) == expected


def test_a_policy_named_twice_is_refused(world):
    leaf = world.leaf(NAME)
    once = extended(leaf.certificate, x509.CertificatePolicies([POLICY]), world.home.key)
    tbs = content(once)
    policies = next(
        node for node in tbs if node.children and node.write() == x509.CertificatePolicies([POLICY]).public_bytes()
    )
    policies.children *= 2
    assert verdict(world, [signed_again(once, tbs, world.home)]) == "certificate-policies"


def test_a_key_in_another_form_than_the_usual_one_is_refused(world):
    leaf = world.leaf(NAME).certificate
    tbs = content(leaf)
    point = leaf.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    node = next(node for node in tbs if node.content == b"\0" + point)
    hybrid = bytes([6 + (point[-1] & 1)]) + point[1:]
    compressed = leaf.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    for form in (hybrid, compressed):
        node.content = b"\0" + form
        assert verdict(world, [signed_again(leaf, tbs, world.home)]) == "certificate-key-form"
    node.content = b"\0" + point
    assert verdict(world, [signed_again(leaf, tbs, world.home)]) == NAME


def extended(certificate, extension, key):
    """The certificate with one more extension, which is not critical."""
    builder = x509.CertificateBuilder(
        certificate.issuer, certificate.subject, certificate.public_key(), certificate.serial_number,
        certificate.not_valid_before_utc, certificate.not_valid_after_utc, list(certificate.extensions),
    )  # fmt: skip
    return builder.add_extension(extension, critical=False).sign(key, hashes.SHA256())


def test_an_expired_root_in_the_bundle_does_not_vouch(world):
    long_ago = CertificateAuthority.root("home.test", now=world.now - 30 * 86_400, days=5)
    bundles = {"home.test": long_ago.bundle("home.test")}
    assert verdict(world, world.leaf(NAME, by=long_ago).chain, bundles) == "chain-not-trusted"


def test_a_signing_certificate_of_the_bundle_is_not_a_peer_even_with_its_own_key(world):
    assert verdict(world, [world.home.der]) == "leaf-root-path"
    named = CertificateAuthority.root("home.test", now=world.now, uri=NAME)
    assert verdict(world, [named.der], {"home.test": named.bundle("home.test")}) == "leaf-is-ca"


def test_a_withdrawn_bundle_ends_trust_at_the_next_verification(world):
    chain = world.leaf("spiffe://away.test/x", by=world.away).chain
    assert verdict(world, chain) == "spiffe://away.test/x"
    without = {"home.test": world.home.bundle("home.test")}
    assert verdict(world, chain, without) == "trust-domain-unknown"
    replaced = {**world.bundles, "away.test": CertificateAuthority.root("away.test", now=world.now).bundle("away.test")}
    assert verdict(world, chain, replaced) == "chain-not-trusted"


def with_version(der: bytes, version: int) -> bytes:
    """Return the certificate with another version number; its signature no longer fits."""
    place = der.index(b"\xa0\x03\x02\x01\x02") + 4
    return der[:place] + bytes([version]) + der[place + 1 :]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_certificate_of_an_unknown_version_is_a_refusal_wherever_it_stands(world, position):
    intermediate = world.home.intermediate("spiffe://home.test", now=world.now)
    chain = [*world.leaf(NAME, by=intermediate).chain, world.away.der]
    chain[position] = with_version(chain[position], 3)
    assert verdict(world, chain) == "certificate-malformed"


def test_an_authority_of_an_unknown_version_in_the_bundle_vouches_for_nobody(world):
    bundles = {"home.test": TrustBundle("home.test", (with_version(world.home.der, 3),))}
    assert verdict(world, world.leaf(NAME).chain, bundles) == "chain-not-trusted"


@pytest.mark.parametrize(
    ("extension", "rule"),
    [
        (x509.SubjectAlternativeName.oid, "certificate-malformed"),
        (x509.KeyUsage.oid, "certificate-malformed"),
        (x509.BasicConstraints.oid, "certificate-malformed"),
        (x509.ExtendedKeyUsage.oid, "certificate-malformed"),
    ],
    ids=["subjectAltName", "keyUsage", "basicConstraints", "extKeyUsage"],
)
def test_an_extension_that_cannot_be_read_is_a_refusal(world, extension, rule):
    original = world.leaf(NAME).certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(original.subject)
        .issuer_name(original.issuer)
        .public_key(original.public_key())
        .serial_number(original.serial_number)
        .not_valid_before(original.not_valid_before_utc)
        .not_valid_after(original.not_valid_after_utc)
    )
    for each in original.extensions:
        value = x509.UnrecognizedExtension(extension, b"\x00garbage") if each.oid == extension else each.value
        builder = builder.add_extension(value, critical=each.critical)
    signed = builder.sign(world.home.key, hashes.SHA256())
    assert verdict(world, [signed.public_bytes(Encoding.DER)]) == rule


def test_a_mesh_of_authorities_that_sign_each_other_costs_little(world):
    key = ec.generate_private_key(ec.SECP256R1())
    first = CertificateAuthority.root("home.test", now=world.now, key=key)
    mesh = [first]
    for _ in range(6):  # the same name and key, so that each may be the issuer of each
        again = (
            x509.CertificateBuilder()
            .subject_name(first.certificate.subject)
            .issuer_name(first.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(first.certificate.not_valid_before_utc)
            .not_valid_after(first.certificate.not_valid_after_utc)
        )
        for extension in first.certificate.extensions:
            again = again.add_extension(extension.value, critical=extension.critical)
        mesh.append(CertificateAuthority(again.sign(key, hashes.SHA256()), key))
    chain = [*world.leaf(NAME, by=first).chain, *(each.der for each in mesh)]
    start = time.process_time()
    assert verdict(world, chain) == "chain-not-trusted"
    assert time.process_time() - start < 2  # without a limit on signature checks: minutes
