"""Trust bundles: what is read, what is ignored, what is refused, and that what is written is read again."""

import json
from base64 import b64encode

import pytest
import spiffe
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from identity.bundle import DEFAULT_REFRESH_HINT, TrustBundle, load_bundle, parse_jwks, parse_pem
from identity.errors import BundleError
from identity.jwk import public_jwk
from tests.support.certificates import CertificateAuthority


def document(*keys, **members):
    return json.dumps({"keys": list(keys), **members}).encode()


def x509_key(der, **members):
    return {"use": "x509-svid", "kty": "EC", "x5c": [b64encode(der).decode()], **members}


@pytest.fixture(scope="module")
def roots(world):
    keys = [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048), None]
    return tuple(CertificateAuthority.root("home.test", now=world.now, key=key).der for key in keys)


def test_a_bundle_written_as_jwks_is_read_again_with_its_sequence_and_hint(roots):
    bundle = TrustBundle("home.test", roots, sequence=7, refresh_hint=60)
    assert parse_jwks("home.test", bundle.to_jwks()) == bundle


def test_a_bundle_written_as_pem_is_read_again(roots):
    assert parse_pem("home.test", TrustBundle("home.test", roots).to_pem()).authorities == roots


def test_another_implementation_reads_the_same_authorities_from_what_is_written(roots):
    written = TrustBundle("home.test", roots, sequence=1).to_jwks()
    theirs = spiffe.X509Bundle.parse(
        spiffe.TrustDomain("home.test"), TrustBundle("home.test", roots).to_pem()
    ).x509_authorities
    ours = parse_jwks("home.test", written).authorities
    assert {each.fingerprint(hashes.SHA256()) for each in theirs} == {hashes_of(der) for der in ours}


def hashes_of(der):
    digest = hashes.Hash(hashes.SHA256())
    digest.update(der)
    return digest.finalize()


def test_the_form_of_a_file_is_told_by_its_content(tmp_path, roots):
    bundle = TrustBundle("home.test", roots)
    for name, data in (("a", bundle.to_jwks()), ("b", bundle.to_pem()), ("c", b" \n" + bundle.to_jwks())):
        (tmp_path / name).write_bytes(data)
        assert load_bundle("home.test", tmp_path / name).authorities == roots


def test_sequence_and_hint_have_their_defaults():
    bundle = parse_jwks("home.test", document())
    assert (bundle.sequence, bundle.refresh_hint) == (0, DEFAULT_REFRESH_HINT)


def test_a_bundle_without_keys_is_read_and_trusts_nothing():
    assert parse_jwks("home.test", document(spiffe_sequence=3)) == TrustBundle("home.test", (), 3)


@pytest.mark.parametrize(
    "ignored",
    [
        {"use": "jwt-svid", "kty": "OKP", "kid": "1"},
        {"use": "jwt-svid", "kty": "oct", "k": "AAAA"},
        {"use": "something-new", "kty": "EC", "x5c": ["not read"]},
        {"use": "x509-svid", "kty": "something-new", "x5c": ["not read"]},
        {"use": "x509-svid", "kty": ["EC"], "x5c": ["not read"]},
        {"use": ["x509-svid"], "kty": "EC"},
        {"kty": "EC"},
        {},
        "not an object",
        None,
    ],
)
def test_a_key_of_unknown_use_or_type_is_ignored_and_the_others_are_read(roots, ignored):
    assert parse_jwks("home.test", document(ignored, x509_key(roots[0]))).authorities == roots[:1]


@pytest.mark.parametrize(
    "x5c",
    [None, [], "text", [1], ["A", "B"], [""], ["AAAA"], ["%%%%"], ["é"], {"0": "AAAA"}],
)
def test_an_x509_key_has_exactly_one_readable_certificate(x5c):
    with pytest.raises(BundleError, match="x5c"):
        parse_jwks("home.test", document({"use": "x509-svid", "kty": "EC", "x5c": x5c}))


def test_two_certificates_in_one_key_are_refused(roots):
    key = x509_key(roots[0])
    key["x5c"] *= 2
    with pytest.raises(BundleError, match="exactly one"):
        parse_jwks("home.test", document(key))


def test_a_leaf_is_no_authority_in_either_form(world):
    leaf = world.leaf("spiffe://home.test/agent/a")
    with pytest.raises(BundleError, match="not a signing certificate"):
        parse_jwks("home.test", document(x509_key(leaf.chain[0])))
    with pytest.raises(BundleError, match="not a signing certificate"):
        parse_pem("home.test", leaf.chain_pem)


JWT_KEYS = {
    "b": ec.generate_private_key(ec.SECP256R1()).public_key(),
    "a": ec.generate_private_key(ec.SECP384R1()).public_key(),
    "r": rsa.generate_private_key(65537, 2048).public_key(),
}


def jwt_key(key_id, **members):
    return {"use": "jwt-svid", "kid": key_id, **public_jwk(JWT_KEYS["a"]), **members}


def test_jwt_keys_are_written_and_read_again_beside_the_certificates(roots):
    bundle = TrustBundle("home.test", roots, sequence=2, jwt_keys=JWT_KEYS)
    assert parse_jwks("home.test", bundle.to_jwks()) == bundle
    assert parse_jwks("home.test", TrustBundle("home.test", (), jwt_keys=JWT_KEYS).to_jwks()).jwt_keys == JWT_KEYS


def test_another_implementation_reads_the_same_jwt_keys():
    written = TrustBundle("home.test", (), jwt_keys=JWT_KEYS).to_jwks()
    theirs = spiffe.JwtBundle.parse(spiffe.TrustDomain("home.test"), written).jwt_authorities
    assert {kid: key.public_numbers() for kid, key in theirs.items()} == {
        kid: key.public_numbers() for kid, key in JWT_KEYS.items()
    }


@pytest.mark.parametrize("key_id", [None, "", 1, ["a"]])
def test_a_jwt_key_without_an_id_is_refused(key_id):
    with pytest.raises(BundleError, match="no id"):
        parse_jwks("home.test", document(jwt_key(key_id)))


def test_two_jwt_keys_of_the_same_id_are_refused_and_of_different_ids_are_not():
    with pytest.raises(BundleError, match="same id"):
        parse_jwks("home.test", document(jwt_key("a"), jwt_key("a")))
    assert set(parse_jwks("home.test", document(jwt_key("a"), jwt_key("b"))).jwt_keys) == {"a", "b"}


@pytest.mark.parametrize("changes", [{"crv": "P-256"}, {"x": "AAAA"}, {"d": "AAAA"}, {"kty": "RSA"}])
def test_a_jwt_key_that_cannot_be_used_is_refused_by_its_id(changes):
    with pytest.raises(BundleError, match=r"the key 'a' .* cannot be used"):
        parse_jwks("home.test", document(jwt_key("a", **changes)))


@pytest.mark.parametrize("member", ["spiffe_sequence", "spiffe_refresh_hint"])
@pytest.mark.parametrize("value", [-1, 1.5, "1", True, None, [1]])
def test_sequence_and_hint_are_whole_numbers(member, value):
    with pytest.raises(BundleError, match=member):
        parse_jwks("home.test", document(**{member: value}))


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"keys": {}}', b"{", b'{"keys": []}\xff', b'{"keys":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
     b'{"keys": [], "keys": []}', b'{"keys": [NaN]}', b'{"keys": [{"x": -Infinity}]}'],
    ids=["empty", "a list", "no keys", "keys no list", "cut short", "not UTF-8", "too deep", "twice", "NaN", "infinity"],
)  # fmt: skip
def test_what_is_no_bundle_document_is_refused(data):
    with pytest.raises(BundleError):
        parse_jwks("home.test", data)


def test_the_trust_domain_must_be_a_name():
    with pytest.raises(BundleError, match="not a trust domain"):
        parse_jwks("Home Test", document())


@pytest.mark.parametrize("content", [b"", b"neither", b"{]", b"x" * (4 * 1024 * 1024 + 1)])
def test_a_file_that_is_no_bundle_is_refused_by_name(tmp_path, content):
    path = tmp_path / "away.pem"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=str(path)):
        load_bundle("home.test", path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(BundleError, match=str(tmp_path / "missing")):
        load_bundle("home.test", tmp_path / "missing")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(keys=st.lists(st.dictionaries(st.sampled_from(["use", "kty", "x5c", "kid"]), JSON | st.just("x509-svid"))))
def test_any_keys_are_read_or_refused_and_raise_nothing_else(keys):
    try:
        assert parse_jwks("home.test", document(*keys)).authorities == ()
    except BundleError:
        assert any(key.get("use") == "x509-svid" for key in keys)
