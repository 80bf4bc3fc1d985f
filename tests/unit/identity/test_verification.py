"""Every rule by which a peer is verified, each broken alone and named by its slug."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from identity.bundle import TrustBundle
from identity.spiffe_id import SpiffeId
from identity.verification import MAX_CERTIFICATE_BYTES, MAX_CHAIN, SvidError, verify_peer, verify_server
from identity.x509_svid import subject_key_id
from tests.support.certificates import CLIENT, SERVER, CertificateAuthority, key_usage, new_key

NAME = "spiffe://home.test/agent/a"


def refused(world, leaf_or_chain, *, bundles=None, now=None):
    chain = leaf_or_chain if isinstance(leaf_or_chain, list) else leaf_or_chain.chain
    with pytest.raises(SvidError) as caught:
        verify_peer(chain, world.bundles if bundles is None else bundles, world.now if now is None else now)
    assert str(caught.value)
    return caught.value.rule


def test_a_leaf_that_keeps_every_rule_proves_its_identity(world):
    leaf = world.leaf(NAME, dns=["a.home.test"])
    peer = verify_peer(leaf.chain, world.bundles, world.now)
    assert (peer.id, peer.trust_domain, peer.path) == (NAME, "home.test", "/agent/a")
    assert peer.serial == f"{leaf.certificate.serial_number:x}"
    assert peer.fingerprint == leaf.certificate.fingerprint(hashes.SHA256()).hex()
    assert (peer.not_before, peer.not_after) == (world.now - 60, world.now + 3600)


def test_the_signing_certificates_of_the_verified_chain_are_named_and_no_others(world):
    between = world.home.intermediate("spiffe://home.test", now=world.now)
    stray = world.home.intermediate("spiffe://home.test", now=world.now)
    leaf = world.leaf(NAME, by=between)
    peer = verify_peer([*leaf.chain, stray.der], world.bundles, world.now)
    ids = [
        each.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
        for each in (between, world.home)
    ]
    assert peer.authorities == tuple(ids)


def test_a_signing_certificate_without_a_key_id_is_named_by_its_key():
    key = new_key()
    name = x509.Name([])
    bare = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(datetime(2027, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2028, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    assert subject_key_id(bare) == x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()


@pytest.mark.parametrize(
    "kept",
    [
        {"extended": None},
        {"usage": key_usage("digital_signature", "key_encipherment", "key_agreement")},
        {"subject": "", "san_critical": True},
    ],
    ids=["no extended key usage", "other key usages beside digitalSignature", "empty subject, critical name"],
)
def test_a_leaf_may_do_what_the_specification_leaves_open(world, kept):
    assert verify_peer(world.leaf(NAME, **kept).chain, world.bundles, world.now).id == NAME


@pytest.mark.parametrize(
    ("uris", "broken", "rule"),
    [
        ([NAME], {"san": False}, "leaf-no-uri-san"),
        ([], {"dns": ["a.home.test"]}, "leaf-no-uri-san"),
        ([NAME, "spiffe://home.test/agent/b"], {}, "leaf-two-uri-sans"),
        ([NAME, NAME], {}, "leaf-two-uri-sans"),
        ([NAME, "https://home.test/"], {}, "leaf-two-uri-sans"),
        (["https://home.test/agent/a"], {}, "leaf-not-a-spiffe-id"),
        (["spiffe://home.test/agent/../a"], {}, "leaf-not-a-spiffe-id"),
        (["spiffe://home.test/agent/a/"], {}, "leaf-not-a-spiffe-id"),
        (["spiffe://home.test"], {}, "leaf-root-path"),
        ([NAME], {"subject": ""}, "leaf-san-not-critical"),
        ([NAME], {"ca": True}, "leaf-is-ca"),
        ([NAME], {"usage_present": False}, "leaf-key-usage-missing"),
        ([NAME], {"usage_critical": False}, "leaf-key-usage-not-critical"),
        ([NAME], {"usage": key_usage("key_agreement")}, "leaf-digital-signature-missing"),
        ([NAME], {"usage": key_usage("digital_signature", "key_cert_sign")}, "leaf-key-cert-sign"),
        ([NAME], {"usage": key_usage("digital_signature", "crl_sign")}, "leaf-crl-sign"),
        ([NAME], {"extended": [SERVER]}, "leaf-extended-key-usage"),
        ([NAME], {"extended": [CLIENT]}, "leaf-extended-key-usage"),
    ],
)
def test_a_leaf_that_breaks_a_rule_is_refused_by_its_name(world, uris, broken, rule):
    dates = {"not_before": world.now - 60, "not_after": world.now + 3600}
    assert refused(world, world.home.issue(*uris, **dates, **broken)) == rule


@pytest.mark.parametrize(
    ("offset", "rule"),
    [(-61, "leaf-not-yet-valid"), (-60, None), (0, None), (3599, None), (3600, "leaf-expired"), (3601, "leaf-expired")],
)
def test_a_leaf_is_valid_from_its_first_second_and_no_longer_in_the_second_of_its_end(world, offset, rule):
    leaf = world.leaf(NAME)
    if rule is None:
        assert verify_peer(leaf.chain, world.bundles, world.now + offset).id == NAME
    else:
        assert refused(world, leaf, now=world.now + offset) == rule


def test_a_self_signed_leaf_is_refused(world):
    assert refused(world, world.leaf(NAME, self_signed=True)) == "chain-not-trusted"


def test_a_leaf_of_an_unknown_authority_that_bears_the_right_name_is_refused(world):
    stranger = CertificateAuthority.root("home.test", now=world.now)
    leaf = world.leaf(NAME, by=stranger)
    assert refused(world, leaf) == "chain-not-trusted"
    assert refused(world, [*leaf.chain, stranger.der]) == "chain-not-trusted"


def test_an_authority_of_one_domain_cannot_sign_names_of_another(world):
    leaf = world.leaf("spiffe://home.test/agent/a", by=world.away)
    assert refused(world, leaf) == "chain-not-trusted"
    assert refused(world, [*leaf.chain, world.away.der, world.home.der]) == "chain-not-trusted"
    assert verify_peer(world.leaf("spiffe://away.test/x", by=world.away).chain, world.bundles, world.now).path == "/x"


def test_a_leaf_of_an_unknown_trust_domain_is_refused(world):
    assert refused(world, world.leaf("spiffe://other.test/a")) == "trust-domain-unknown"


def test_a_withdrawn_bundle_trusts_nobody(world):
    withdrawn = {**world.bundles, "home.test": TrustBundle("home.test", ())}
    assert refused(world, world.leaf(NAME), bundles=withdrawn) == "trust-domain-unknown"


def test_the_name_of_the_domain_is_looked_up_in_lower_case(world):
    assert verify_peer(world.leaf("spiffe://HOME.test/agent/a").chain, world.bundles, world.now).id == NAME


def test_a_chain_over_an_intermediate_is_followed(world):
    signing = world.home.intermediate("spiffe://home.test", now=world.now)
    leaf = world.leaf(NAME, by=signing)
    assert verify_peer(leaf.chain, world.bundles, world.now).id == NAME
    assert refused(world, leaf.chain[:1]) == "chain-not-trusted"


def test_a_bundle_may_hold_an_intermediate_without_its_root(world):
    signing = world.home.intermediate("", now=world.now)
    leaf = world.leaf(NAME, by=signing)
    bundles = {"home.test": signing.bundle("home.test")}
    assert verify_peer(leaf.chain[:1], bundles, world.now).id == NAME


def test_an_expired_intermediate_does_not_vouch(world):
    signing = world.home.intermediate("spiffe://home.test", now=world.now, days=1)
    leaf = world.leaf(NAME, by=signing, not_after=world.now + 5 * 86_400)
    later = world.now + 2 * 86_400
    assert refused(world, leaf, now=later) == "chain-not-trusted"


def test_a_leaf_cannot_sign_another_leaf(world):
    first = world.leaf(NAME)
    impostor = CertificateAuthority(first.certificate, first.key, (first.certificate,))
    assert refused(world, world.leaf("spiffe://home.test/agent/b", by=impostor)) == "chain-not-trusted"


@pytest.mark.parametrize("uri", ["spiffe://away.test", "spiffe://home.test/agent/a", "https://home.test"])
def test_a_signing_certificate_that_bears_another_name_is_refused(world, uri):
    signing = world.home.intermediate(uri, now=world.now)
    assert refused(world, world.leaf(NAME, by=signing)) == "authority-id"


def test_no_certificates_too_many_or_too_large_ones_are_refused_before_they_are_read(world):
    leaf = world.leaf(NAME)
    assert refused(world, []) == "no-certificate"
    assert refused(world, [*leaf.chain, *[b"x"] * MAX_CHAIN]) == "chain-too-long"
    assert refused(world, leaf.chain * 10_000) == "chain-too-long"
    assert refused(world, [*leaf.chain, b"x" * (MAX_CERTIFICATE_BYTES + 1)]) == "certificate-too-large"
    assert refused(world, [*leaf.chain, b"x" * MAX_CERTIFICATE_BYTES]) == "certificate-malformed"


def test_a_chain_as_long_as_allowed_is_read(world):
    padding = [world.away.der] * (MAX_CHAIN - 1)
    assert verify_peer([*world.leaf(NAME).chain, *padding], world.bundles, world.now).id == NAME


def test_a_server_must_be_the_one_expected(world):
    leaf = world.leaf("spiffe://home.test/gateway")
    expected = SpiffeId.parse("spiffe://home.test/gateway")
    assert verify_server(leaf.chain, world.bundles, expected, world.now).path == "/gateway"
    with pytest.raises(SvidError) as caught:
        verify_server(leaf.chain, world.bundles, SpiffeId.parse("spiffe://home.test/other"), world.now)
    assert caught.value.rule == "unexpected-id"


def test_an_authority_in_the_bundle_that_cannot_be_read_is_a_refusal(world):
    broken = {"home.test": replace(world.home.bundle("home.test"), authorities=(b"not a certificate",))}
    assert refused(world, world.leaf(NAME), bundles=broken) == "chain-not-trusted"


@given(st.lists(st.binary(max_size=400), max_size=12))
def test_random_bytes_raise_nothing_but_a_refusal(world, chain):
    with pytest.raises(SvidError):
        verify_peer(chain, world.bundles, world.now)


@pytest.fixture(scope="module")
def sound_chain(world):
    signing = world.home.intermediate("spiffe://home.test", now=world.now)
    return world.leaf(NAME, by=signing, dns=["a.home.test"]).chain


@given(data=st.data())
def test_a_changed_leaf_is_refused_and_raises_nothing_else(world, sound_chain, data):
    leaf, *rest = sound_chain
    changed = bytearray(leaf)
    for bit in data.draw(st.sets(st.integers(0, len(leaf) * 8 - 1), min_size=1, max_size=3)):
        changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SvidError):
        verify_peer([bytes(changed), *rest], world.bundles, world.now)


@given(data=st.data())
def test_a_changed_intermediate_raises_nothing_but_a_refusal(world, sound_chain, data):
    leaf, signing = sound_chain
    changed = bytearray(signing)
    position = data.draw(st.integers(0, len(signing) - 1))
    changed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SvidError):
        verify_peer([leaf, bytes(changed)], world.bundles, world.now)


@given(now=st.integers(-(2**63), 2**63))
def test_any_time_is_answered_by_an_identity_or_a_refusal(world, sound_chain, now):
    if world.now - 60 <= now < world.now + 3600:
        assert verify_peer(sound_chain, world.bundles, now).id == NAME
    else:
        assert refused(world, sound_chain, now=now) in {"leaf-expired", "leaf-not-yet-valid"}
