"""The documents for verifiers, read by PyJWT and joserfc as those who accept our tokens would."""

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from identity.bundle import TrustBundle, parse_jwks
from identity.discovery import bundle_bytes, check_issuer, discovery_bytes, discovery_document, keys_bytes
from identity.errors import BundleError
from identity.jws import sign_compact
from tests.unit.identity.conftest import NOW

ISSUER = "https://gateway.home.test"
KEYS = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
}


@pytest.fixture
def bundle(world):
    public = {name: key.public_key() for name, key in KEYS.items()}
    return TrustBundle("home.test", (world.home.der,), 4, 120, public)


def test_discovery_names_issuer_keys_and_the_algorithms_in_use(bundle):
    assert json.loads(discovery_bytes(ISSUER, bundle)) == {
        "issuer": ISSUER,
        "jwks_uri": f"{ISSUER}/keys",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "ES384", "RS256"],
    }
    alone = TrustBundle("home.test", (), 1, 300, {"p384": KEYS["p384"].public_key()})
    assert discovery_document(ISSUER, alone)["id_token_signing_alg_values_supported"] == ["ES384"]


@pytest.mark.parametrize("name", KEYS)
def test_two_other_libraries_verify_our_tokens_with_the_keys_we_serve(bundle, name):
    claims = {"iss": ISSUER, "sub": "spiffe://home.test/agent/a", "aud": ["sts.test"], "exp": NOW + 10**9}
    token = sign_compact(KEYS[name], name, claims)
    document = json.loads(keys_bytes(bundle))
    key = next(each for each in jwt.PyJWKSet.from_dict(document).keys if each.key_id == name)
    algorithms = discovery_document(ISSUER, bundle)["id_token_signing_alg_values_supported"]
    assert jwt.decode(token, key, algorithms=algorithms, audience="sts.test", issuer=ISSUER)["sub"] == claims["sub"]
    key_set = KeySet.import_key_set(document)
    assert joserfc_jwt.decode(token, key_set, algorithms=algorithms).claims["sub"] == claims["sub"]


def test_the_keys_are_for_signatures_alone_and_tell_nothing_private(bundle):
    keys = json.loads(keys_bytes(bundle))["keys"]
    assert {(key["kid"], key["alg"], key["use"]) for key in keys} == {
        ("p256", "ES256", "sig"),
        ("p384", "ES384", "sig"),
        ("rsa", "RS256", "sig"),
    }
    assert all(not {"d", "p", "q", "k", "x5c"} & set(key) for key in keys)


def test_the_bundle_is_read_back_as_it_is(bundle):
    assert parse_jwks("home.test", bundle_bytes(bundle)) == bundle


@pytest.mark.parametrize(
    "issuer", ["http://a.test", "https://a.test/", "a.test", "", "https://a.test?x=1", "https://u@a.test"]
)
def test_an_issuer_that_verifiers_would_not_find_is_refused(issuer):
    with pytest.raises(BundleError):
        check_issuer(issuer)
