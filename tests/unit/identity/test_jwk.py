"""JSON Web Keys: written as other implementations read them, and read in one way only."""

import contextlib

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import import_key

from identity.jwk import decode, encode, parse_public_jwk, public_jwk

KEYS = [
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP384R1()),
    ec.generate_private_key(ec.SECP521R1()),
    rsa.generate_private_key(65537, 2048),
]


@pytest.mark.parametrize("key", KEYS, ids=["P-256", "P-384", "P-521", "RSA"])
def test_a_public_key_is_read_again_here_and_by_two_others(key):
    written = public_jwk(key.public_key())
    assert parse_public_jwk(written) == key.public_key()
    assert jwt.PyJWK(written, algorithm={"EC": "ES256", "RSA": "RS256"}[written["kty"]]).key == key.public_key()
    assert import_key(written).public_key == key.public_key()


@given(number=st.integers(1, 2**20))
def test_coordinates_keep_their_leading_zeros(number):
    key = ec.derive_private_key(number, ec.SECP256R1()).public_key()
    written = public_jwk(key)
    assert len(decode(written["x"])) == len(decode(written["y"])) == 32
    assert parse_public_jwk(written) == key


def test_keys_that_no_bundle_has_are_not_written():
    assert public_jwk(ed25519.Ed25519PrivateKey.generate().public_key())["crv"] == "Ed25519"
    with pytest.raises(ValueError, match="no form"):
        public_jwk(x25519.X25519PrivateKey.generate().public_key())


EC, RSA = public_jwk(KEYS[0].public_key()), public_jwk(KEYS[3].public_key())
SMALL = public_jwk(rsa.generate_private_key(65537, 1024).public_key())  # noqa: S505 - a weak key, to be refused


@pytest.mark.parametrize(
    ("jwk", "message"),
    [
        ({}, "kty"),
        ({**EC, "kty": "ec"}, "kty"),
        ({**EC, "kty": ["EC"]}, "kty"),
        ({"kty": "oct", "k": "AAAA"}, "private"),
        ({**EC, "d": "AAAA"}, "private"),
        ({**RSA, "p": "AAAA"}, "private"),
        ({**EC, "crv": "secp256k1"}, "crv"),
        ({**EC, "crv": ["P-256"]}, "crv"),
        ({**EC, "crv": "P-384"}, "48 bytes"),
        ({**EC, "x": EC["y"]}, "curve"),
        ({**EC, "x": encode(b"\0" + decode(EC["x"]))}, "32 bytes"),
        ({**EC, "x": EC["x"] + "="}, "'x'"),
        ({**EC, "x": EC["x"][:-1] + "\n"}, "'x'"),
        ({**EC, "x": None}, "'x'"),
        ({"kty": "EC", "crv": "P-256"}, "'x'"),
        ({**RSA, "n": ""}, "empty"),
        ({**RSA, "n": encode(b"\0" + decode(RSA["n"]))}, "zero byte"),
        ({**RSA, "e": "AQ"}, "exponent"),
        ({**RSA, "e": "AQAA"}, "exponent"),
        ({**RSA, "e": encode(b"\1" + b"\0" * 3 + b"\1")}, "exponent"),
        (SMALL, "2048"),
    ],
)
def test_what_is_malformed_weak_or_private_is_refused(jwk, message):
    with pytest.raises(ValueError, match=message):
        parse_public_jwk(jwk)


@given(data=st.binary(max_size=40))
def test_base64url_is_read_as_it_was_written(data):
    assert decode(encode(data)) == data


@given(text=st.text(alphabet="AQgw_-+/= \n\u00e9", max_size=8))
def test_base64url_has_one_form_only(text):
    try:
        data = decode(text)
    except ValueError:
        return
    assert encode(data) == text


members = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from([EC["x"], RSA["n"], "AQAB"])


@given(
    jwk=st.fixed_dictionaries({"kty": st.sampled_from(["EC", "RSA"])}, optional={
        "crv": st.sampled_from(["P-256", "P-384"]) | members, "x": members, "y": members, "n": members, "e": members,
    })
)  # fmt: skip
def test_any_members_are_a_key_or_a_value_error(jwk):
    with contextlib.suppress(ValueError):
        assert public_jwk(parse_public_jwk(jwk)).items() <= jwk.items()
