"""JWT-SVIDs: each rule broken one at a time, domains kept apart, and two other JOSE libraries as signers and readers."""

import contextlib
import hmac
import json

import joserfc.jwt
import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, RSAKey, import_key
from spiffe import JwtBundle, JwtSvid
from spiffe import TrustDomain as TheirDomain

from identity.bundle import TrustBundle
from identity.jwk import encode, public_jwk
from identity.jws import ALGORITHMS, algorithm_of, sign_compact, verify_signature
from identity.jwt_svid import MAX_TOKEN_BYTES, SvidError, verify_jwt_svid

NOW = 1_800_000_000
AGENT = "spiffe://home.test/agent/a"
KEYS = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
}
AWAY = ec.generate_private_key(ec.SECP256R1())
BUNDLES = {
    "home.test": TrustBundle("home.test", (), jwt_keys={name: key.public_key() for name, key in KEYS.items()}),
    "away.test": TrustBundle("away.test", (), jwt_keys={"p256": AWAY.public_key(), "away": AWAY.public_key()}),
}
FITTING = {
    "ES256": "p256", "ES384": "p384", "ES512": "p521",
    **dict.fromkeys(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"], "rsa"),
}  # fmt: skip


def claims(**changes):
    whole = {"sub": AGENT, "aud": ["gateway"], "exp": NOW + 300, "iat": NOW, "jti": "1", **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def signed(body=None, key_id="p256", key=None, algorithm=None, **header):
    """A token by another library; `None` as `kid` leaves it out."""
    key = key or KEYS[key_id]
    headers = {"kid": key_id, **header}
    return jwt.encode(body or claims(), key, algorithm or algorithm_of(key.public_key()), headers=headers)


def raw(header, body, key=KEYS["p256"]):
    """A token whose parts are the given bytes, signed with ES256."""
    data = f"{encode(header)}.{encode(body)}"
    r, s = decode_dss_signature(key.sign(data.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{data}.{encode(r.to_bytes(32) + s.to_bytes(32))}"


def dumped(value):
    return json.dumps(value).encode()


def verify(token, audience="gateway", now=NOW, **options):
    return verify_jwt_svid(token, BUNDLES, audience, now, **options)


def rule(token, audience="gateway", now=NOW, **options):
    with pytest.raises(SvidError) as caught:
        verify(token, audience, now, **options)
    return caught.value.rule


def test_a_token_proves_its_subject_and_says_all_it_carries():
    identity = verify(signed(claims(aud=["gateway", "other"], team="x")))
    assert (identity.id, identity.trust_domain, identity.path) == (AGENT, "home.test", "/agent/a")
    assert (identity.audience, identity.key_id, identity.jti) == (("gateway", "other"), "p256", "1")
    assert (identity.issued_at, identity.not_after) == (NOW, NOW + 300)
    assert identity.claims["team"] == "x"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_of_two_other_libraries_is_verified(algorithm):
    name = FITTING[algorithm]
    assert verify(signed(key_id=name, algorithm=algorithm)).key_id == name
    kind = RSAKey if name == "rsa" else ECKey
    token = joserfc.jwt.encode(
        {"alg": algorithm, "kid": name}, claims(), kind.import_key(KEYS[name]), algorithms=[algorithm]
    )
    assert verify(token).key_id == name


@pytest.mark.parametrize("name", KEYS)
def test_what_is_signed_here_is_verified_by_three_others(name):
    token = sign_compact(KEYS[name], name, claims(exp=4_000_000_000))
    public, algorithm = KEYS[name].public_key(), algorithm_of(KEYS[name].public_key())
    assert jwt.decode(token, public, [algorithm], audience="gateway", options={"verify_iat": False})["sub"] == AGENT
    read = joserfc.jwt.decode(token, import_key(public_jwk(public)), algorithms=[algorithm])
    assert read.header == {"alg": algorithm, "kid": name, "typ": "JWT"}
    theirs = JwtBundle(TheirDomain("home.test"), {name: public})
    fresh = sign_compact(KEYS[name], name, {"sub": AGENT, "aud": ["gateway"], "exp": 4_000_000_000})
    assert str(JwtSvid.parse_and_validate(fresh, theirs, {"gateway"}).spiffe_id) == AGENT


@pytest.mark.parametrize("typ", ["JWT", "JOSE"])
def test_the_two_types_and_none_are_read(typ):
    assert verify(signed(typ=typ))
    assert verify(raw(b'{"alg":"ES256","kid":"p256"}', dumped(claims())))


@pytest.mark.parametrize("typ", ["jwt", "at+jwt", "", 1, None, ["JWT"]])
def test_another_type_is_refused(typ):
    header = dumped({"alg": "ES256", "kid": "p256", "typ": typ})
    assert rule(raw(header, dumped(claims()))) == "jwt-type"


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "HS256", "HS512", "EdDSA", "ES256K", "es256", "", None, 1, ["ES256"]]
)
def test_no_symmetric_unsigned_or_unknown_algorithm_is_read(algorithm):
    assert rule(raw(dumped({"alg": algorithm, "kid": "p256"}), dumped(claims()))) == "jwt-algorithm"


def test_a_missing_algorithm_is_refused():
    assert rule(raw(b'{"kid":"p256"}', dumped(claims()))) == "jwt-algorithm"


def test_an_unsigned_token_of_another_library_is_refused():
    assert rule(jwt.encode(claims(), None, "none", headers={"kid": "p256"})) in {"jwt-algorithm", "jwt-malformed"}


def test_the_public_key_is_never_a_shared_secret():
    pem = KEYS["rsa"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    data = f"{encode(dumped({'alg': 'HS256', 'kid': 'rsa'}))}.{encode(dumped(claims()))}"
    assert rule(f"{data}.{encode(hmac.digest(pem, data.encode(), 'sha256'))}") == "jwt-algorithm"


@pytest.mark.parametrize(("algorithm", "name"), [(a, n) for a in ALGORITHMS for n in KEYS if FITTING[a] != n])
def test_an_algorithm_that_is_not_of_the_keys_type_and_curve_is_refused(algorithm, name):
    header = {"alg": algorithm, "kid": name}
    assert rule(raw(dumped(header), dumped(claims()))) == "jwt-algorithm"
    assert not verify_signature(KEYS[name].public_key(), algorithm, b"", b"")


def test_a_critical_extension_is_refused():
    header = dumped({"alg": "ES256", "kid": "p256", "crit": ["exp"], "exp": 1})
    assert rule(raw(header, dumped(claims()))) == "jwt-critical"


@pytest.mark.parametrize("header", [{}, {"kid": ""}, {"kid": 1}, {"kid": None}, {"kid": ["p256"]}])
def test_a_token_that_does_not_name_its_key_is_refused(header):
    assert rule(raw(dumped({"alg": "ES256", **header}), dumped(claims()))) == "jwt-key-id-missing"


def test_a_key_that_the_domain_does_not_have_is_refused():
    assert rule(signed(key=KEYS["p256"], key_id="p256", kid="unknown")) == "jwt-key-unknown"


@pytest.mark.parametrize("header", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_in_the_header_is_never_used(header):
    key = ec.generate_private_key(ec.SECP256R1())
    assert rule(signed(key=key, **{header: public_jwk(key.public_key())})) == "jwt-signature"


@pytest.mark.parametrize("sub", [..., None, 1, [AGENT], "", "agent", "https://home.test/a", "spiffe://home.test/a/"])
def test_a_subject_that_is_no_spiffe_id_is_refused(sub):
    assert rule(raw(b'{"alg":"ES256","kid":"p256"}', dumped(claims(sub=sub)))) == "jwt-subject"


def test_the_subject_is_a_member_and_not_the_domain():
    assert rule(signed(claims(sub="spiffe://home.test"))) == "jwt-subject"


def test_each_domain_is_verified_with_its_own_keys_alone():
    away = claims(sub="spiffe://away.test/agent/a")
    assert verify(signed(away, key=AWAY, key_id="away")).trust_domain == "away.test"
    assert rule(signed(claims(), key=AWAY, key_id="away")) == "jwt-key-unknown"
    assert rule(signed(claims(), key=AWAY, key_id="p256")) == "jwt-signature"
    assert rule(signed(away, key_id="p256")) == "jwt-signature"
    assert rule(signed(claims(sub="spiffe://else.test/a"))) == "trust-domain-unknown"


def test_a_withdrawn_domain_proves_nobody():
    withdrawn = {**BUNDLES, "home.test": TrustBundle("home.test", ())}
    with pytest.raises(SvidError) as caught:
        verify_jwt_svid(signed(), withdrawn, "gateway", NOW)
    assert caught.value.rule == "jwt-key-unknown"


@given(data=st.data())
def test_any_change_to_a_token_is_refused(data):
    token = signed()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABCQgw019_-.=").filter(lambda c: c != token[at]))
    assert rule(token[:at] + other + token[at + 1 :])


def test_a_signature_in_another_form_is_refused():
    data = f"{encode(dumped({'alg': 'ES256', 'kid': 'p256'}))}.{encode(dumped(claims()))}"
    der = KEYS["p256"].sign(data.encode(), ec.ECDSA(hashes.SHA256()))
    assert rule(f"{data}.{encode(der)}") == "jwt-signature"
    assert rule(f"{data}.") == "jwt-signature"
    assert rule(f"{data}.{encode(bytes(64))}") == "jwt-signature"


@pytest.mark.parametrize("exp", [NOW + 1, NOW + 0.0 + 300, 2**52])
def test_a_whole_number_in_either_form_is_an_expiry(exp):
    assert verify(signed(claims(exp=exp))).not_after == int(exp)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exp": ...}, "jwt-expiry-missing"),
        ({"exp": NOW}, "jwt-expired"),
        ({"exp": NOW - 1}, "jwt-expired"),
        ({"exp": 0}, "jwt-expired"),
        ({"nbf": NOW + 1}, "jwt-not-yet-valid"),
        ({"iat": NOW + 1}, "jwt-issued-in-future"),
        *(({name: bad}, "jwt-time-malformed") for name in ("exp", "nbf", "iat")
          for bad in (None, "1", True, NOW + 0.5, -1, 1 << 53, 1e300, [NOW], {})),
    ],
)  # fmt: skip
def test_times_are_kept(changes, expected):
    assert rule(raw(b'{"alg":"ES256","kid":"p256"}', dumped(claims(**changes)))) == expected


@given(leeway=st.integers(0, 120), skew=st.integers(-200, 200))
def test_the_leeway_is_kept_to_the_second(leeway, skew):
    token = sign_compact(KEYS["p256"], "p256", claims(exp=NOW + skew, iat=...))
    early = sign_compact(KEYS["p256"], "p256", claims(nbf=NOW + skew, iat=NOW + skew))
    if skew + leeway > 0:
        assert verify(token, leeway=leeway).not_after == NOW + skew
    else:
        assert rule(token, leeway=leeway) == "jwt-expired"
    if skew <= leeway:
        assert verify(early, leeway=leeway)
    else:
        assert rule(early, leeway=leeway) == "jwt-not-yet-valid"


def test_a_token_without_a_time_of_issue_or_an_id_is_read():
    identity = verify(signed(claims(iat=..., jti=...)))
    assert (identity.issued_at, identity.jti) == (0, "")


@pytest.mark.parametrize("aud", ["gateway", ["gateway"], ["other", "gateway"]])
def test_the_own_audience_may_be_one_of_several(aud):
    assert "gateway" in verify(signed(claims(aud=aud))).audience
    assert verify(signed(claims(aud=aud)), audience=("another", "gateway"))


@pytest.mark.parametrize(
    "aud", [..., None, "", [], [""], ["gateway", ""], ["gateway", 1], 1, {"gateway": 1}, "other", ["other"], "gateway,other", "Gateway", ["gatewa", "y"]]
)  # fmt: skip
def test_an_audience_without_the_own_name_is_refused(aud):
    assert rule(raw(b'{"alg":"ES256","kid":"p256"}', dumped(claims(aud=aud)))) == "jwt-audience"


@pytest.mark.parametrize("audience", ["", (), [""], "gate"])
def test_a_verifier_without_a_name_of_the_token_accepts_nothing(audience):
    assert rule(signed(), audience=audience) == "jwt-audience"


@pytest.mark.parametrize("b64", [True, False])
def test_a_payload_that_may_not_be_base64url_is_refused(b64):
    header = dumped({"alg": "ES256", "kid": "p256", "b64": b64})
    assert rule(raw(header, dumped(claims()))) == "jwt-critical"


@pytest.mark.parametrize("issuer", [None, 1, ["https://issuer.test"]])
def test_an_issuer_is_a_text(issuer):
    assert rule(raw(b'{"alg":"ES256","kid":"p256"}', dumped(claims(iss=issuer)))) == "jwt-issuer"


@pytest.mark.parametrize("jti", [None, 1, ["1"]])
def test_an_id_is_a_text(jti):
    assert rule(raw(b'{"alg":"ES256","kid":"p256"}', dumped(claims(jti=jti)))) == "jwt-id"


HEADER, BODY = dumped({"alg": "ES256", "kid": "p256"}), dumped(claims())


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b'{"alg":"ES256","kid":"p256","kid":"p256"}', BODY),
        (HEADER, BODY[:-1] + b',"sub":"spiffe://home.test/agent/b"}'),
        (HEADER, BODY[:-1] + b',"x":{"a":1,"a":2}}'),
        (HEADER, BODY[:-1] + b',"x":NaN}'),
        (HEADER, b"[]"),
        (HEADER, b"null"),
        (b"", BODY),
        (HEADER, b"\xff"),
        (HEADER, b'\xef\xbb\xbf' + BODY),
        (HEADER, b"[" * 5000),
    ],
)  # fmt: skip
def test_json_with_more_than_one_meaning_or_none_is_refused(header, body):
    assert rule(raw(header, body)) == "jwt-malformed"


@pytest.mark.parametrize("token", ["", ".", "..", "a.b", "a.b.c.d", "{}", "é.é.é", "Bearer x.y.z"])
def test_what_is_no_compact_token_is_refused(token):
    assert rule(token) == "jwt-malformed"


def test_the_json_serialization_is_refused():
    header, body, signature = signed().split(".")
    assert rule(json.dumps({"protected": header, "payload": body, "signature": signature})) == "jwt-malformed"


def test_a_token_is_bounded():
    assert rule(signed(claims(x="x" * MAX_TOKEN_BYTES))) == "jwt-too-large"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit"]), JSON | st.sampled_from(["ES256", "p256"])),
    body=st.dictionaries(st.sampled_from(["sub", "aud", "exp", "nbf", "iat", "jti"]), JSON),
)
def test_any_signed_claims_are_an_identity_or_a_refusal_and_nothing_else(header, body):
    header = dumped({"alg": "ES256", "kid": "p256", **header})
    body = dumped({**claims(), **body})
    with contextlib.suppress(SvidError):
        identity = verify(raw(header, body))
        assert "gateway" in identity.audience
        assert identity.not_after > NOW


@given(token=st.text(max_size=80) | st.text(alphabet='ab.{}"=', max_size=20))
def test_any_text_is_refused_and_raises_nothing_else(token):
    assert rule(token)
