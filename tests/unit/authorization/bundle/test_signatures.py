"""Who may sign a bundle, and what a signature covers: one that fails by a hair is refused, and says why."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.authorization.bundle import BundleError, BundleSigner, BundleVerifier, read_bundle, sign_bundle
from gateway.authorization.bundle.archive import pack
from tests.unit.authorization.bundle.conftest import FILES, SOURCE, Keys, claims_of, token, with_tokens

KID = {"kid": "release"}


def refusal(content: bytes, verifier: BundleVerifier) -> str:
    with pytest.raises(BundleError) as caught:
        read_bundle(content, SOURCE, verifier)
    assert str(caught.value).startswith(f"The bundle {SOURCE} is refused: ")
    return str(caught.value)


def signed(keys: Keys, files: Any = FILES) -> bytes:
    return sign_bundle(pack(files), BundleSigner(keys.private, keys.id))


def public_pem(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def private_pem(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def test_a_signed_bundle_is_read_without_its_signature(each_keys: Keys) -> None:
    assert read_bundle(signed(each_keys), SOURCE, each_keys.verifier).files == FILES


def test_the_same_files_and_key_give_the_same_signature(each_keys: Keys) -> None:
    assert signed(each_keys) == signed(each_keys, dict(reversed(FILES.items())))


def test_verify_names_the_key_that_signed(keys: Keys, other_keys: Keys) -> None:
    verifier = BundleVerifier({other_keys.id: other_keys.public, keys.id: keys.public})
    files = {**FILES, ".signatures.json": BundleSigner(keys.private, keys.id).signatures(FILES)}
    assert verifier.verify(files) == keys.id


def test_a_signature_takes_the_place_of_another(keys: Keys, other_keys: Keys) -> None:
    again = sign_bundle(signed(other_keys), BundleSigner(keys.private, keys.id))
    assert read_bundle(again, SOURCE, keys.verifier).files == FILES


def test_a_bundle_without_a_signature_is_refused(keys: Keys) -> None:
    assert "it has no signature" in refusal(pack(FILES), keys.verifier)


def test_an_extra_file_is_refused_by_name(keys: Keys) -> None:
    name = "govgateway/authz/more.rego"
    said = refusal(with_tokens({**FILES, name: b"package x"}, token_of(keys, FILES)), keys.verifier)
    assert f"{name} is not covered by the signature" in said


def test_a_missing_file_is_refused_by_name(keys: Keys) -> None:
    files = {name: content for name, content in FILES.items() if name != "govgateway/roles/data.json"}
    said = refusal(with_tokens(files, token_of(keys, FILES)), keys.verifier)
    assert "govgateway/roles/data.json: signed, but not in the bundle" in said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("govgateway/authz/decision.rego", b"package govgateway.authz\n\ndecision := {} \n"),
        ("govgateway/roles/data.json", b'{"reader": {"models": ["b"]}}'),
        ("govgateway/roles/data.json", b'{"reader": {"models": ["a"]}, "x": {}}'),
        (".manifest", b'{"revision": "r2", "roots": ["govgateway"], "rego_version": 1}'),
    ],
)
def test_a_changed_file_is_refused_by_name(keys: Keys, name: str, content: bytes) -> None:
    said = refusal(with_tokens({**FILES, name: content}, token_of(keys, FILES)), keys.verifier)
    assert f"{name} was changed after the bundle was signed" in said


def token_of(keys: Keys, files: Any, **claims: Any) -> str:
    return token(keys.private, {"files": claims_of(files), **claims}, headers=KID)


def test_a_document_written_in_another_way_is_still_the_signed_one(keys: Keys) -> None:
    written = {**FILES, "govgateway/roles/data.json": b'{ "reader" :\n {"models": [ "\\u0061" ]} }'}
    assert read_bundle(with_tokens(written, token_of(keys, FILES)), SOURCE, keys.verifier).files == written


def test_an_unknown_key_is_refused(keys: Keys, other_keys: Keys) -> None:
    said = refusal(signed(other_keys), keys.verifier)
    assert "the key 'other' is unknown; known are release" in said


def test_another_key_under_a_known_id_is_refused(keys: Keys, other_keys: Keys) -> None:
    posing = Keys(keys.id, other_keys.private, other_keys.public)
    assert "was not made with the key release" in refusal(signed(posing), keys.verifier)


@pytest.mark.parametrize("named", [{}, {"kid": ""}])
def test_a_stripped_key_id_does_not_skip_verification(keys: Keys, other_keys: Keys, named: dict[str, str]) -> None:
    claims = {"files": claims_of(FILES)}
    good, bad = (token(each.private, claims, headers=named) for each in (keys, other_keys))
    assert read_bundle(with_tokens(FILES, good), SOURCE, keys.verifier).files == FILES
    assert "was not made with the key release" in refusal(with_tokens(FILES, bad), keys.verifier)


def test_the_key_id_may_stand_in_the_claims_as_old_releases_of_opa_write_it(keys: Keys) -> None:
    old = token(keys.private, {"files": claims_of(FILES), "keyid": "release"})
    assert read_bundle(with_tokens(FILES, old), SOURCE, keys.verifier).files == FILES
    unknown = token(keys.private, {"files": claims_of(FILES), "keyid": "x"})
    assert "the key 'x' is unknown" in refusal(with_tokens(FILES, unknown), keys.verifier)


def test_two_key_ids_that_differ_are_refused(keys: Keys) -> None:
    said = refusal(with_tokens(FILES, token_of(keys, FILES, keyid="other")), keys.verifier)
    assert "name different keys" in said


@pytest.mark.parametrize("key_id", [None, 7, ["release"], {}])
def test_a_key_id_that_is_no_text_is_refused(keys: Keys, key_id: Any) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    claims = {"files": claims_of(FILES), "keyid": key_id}
    refusal(with_tokens(FILES, token(private_pem(key), claims)), keys.verifier)
    refusal(with_tokens(FILES, token(keys.private, claims)), keys.verifier)


def forged(header: dict[str, Any], secret: bytes | None) -> str:
    parts = [header, {"files": claims_of(FILES)}]
    text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    mac = hmac.new(secret, text.encode(), hashlib.sha256).digest() if secret else b""
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_hmac_with_the_public_key_as_secret_is_refused(each_keys: Keys) -> None:
    content = with_tokens(FILES, forged({"alg": "HS256", "kid": "release"}, each_keys.public))
    assert "the algorithm 'HS256' is not accepted" in refusal(content, each_keys.verifier)


@pytest.mark.parametrize("algorithm", ["none", "None", "", None, "HS512", "ES256K", "RS1", ["ES256"], {}])
def test_no_algorithm_and_unknown_ones_are_refused(keys: Keys, algorithm: Any) -> None:
    content = with_tokens(FILES, forged({"alg": algorithm, "kid": "release"}, None))
    assert "is not accepted" in refusal(content, keys.verifier)


def test_an_algorithm_of_another_type_of_key_is_refused(keys: Keys) -> None:
    for algorithm in ("EdDSA", "RS256", "ES384"):
        content = with_tokens(FILES, forged({"alg": algorithm, "kid": "release"}, b"x"))
        assert "was not made with the key release" in refusal(content, keys.verifier)
    edwards = ed25519.Ed25519PrivateKey.generate()
    verifier = BundleVerifier({"release": public_pem(edwards.public_key())})
    content = with_tokens(FILES, forged({"alg": "ES256", "kid": "release"}, b"x"))
    assert "was not made with the key release" in refusal(content, verifier)


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "PS384"])
def test_rsa_of_2048_bits_verifies(algorithm: str) -> None:
    key = rsa.generate_private_key(65537, 2048)
    content = with_tokens(FILES, token(private_pem(key), {"files": claims_of(FILES)}, algorithm, KID))
    verifier = BundleVerifier({"release": public_pem(key.public_key())})
    assert read_bundle(content, SOURCE, verifier).files == FILES


@pytest.mark.parametrize("algorithm", ["SHA-384", "SHA-512"])
def test_longer_digests_verify(keys: Keys, algorithm: str) -> None:
    content = with_tokens(FILES, token(keys.private, {"files": claims_of(FILES, algorithm)}, headers=KID))
    assert read_bundle(content, SOURCE, keys.verifier).files == FILES


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-1", "SHA-224", "sha-256", ""])
def test_weak_and_unknown_digests_are_refused(keys: Keys, algorithm: str) -> None:
    files = [{**each, "algorithm": algorithm} for each in claims_of(FILES)]
    said = refusal(with_tokens(FILES, token(keys.private, {"files": files}, headers=KID)), keys.verifier)
    assert f"has a digest by {algorithm!r}" in said


def test_a_file_listed_twice_is_refused(keys: Keys) -> None:
    files = [*claims_of(FILES), {"name": ".manifest", "hash": "00", "algorithm": "SHA-256"}]
    said = refusal(with_tokens(FILES, token(keys.private, {"files": files}, headers=KID)), keys.verifier)
    assert ".manifest is listed twice" in said


@pytest.mark.parametrize("files", [None, {}, ["x"], [{}], [{"name": "a", "hash": 1, "algorithm": "SHA-256"}]])
def test_a_list_of_another_form_is_refused(keys: Keys, files: Any) -> None:
    refusal(with_tokens(FILES, token(keys.private, {"files": files}, headers=KID)), keys.verifier)


def test_no_and_two_signatures_are_refused(keys: Keys) -> None:
    good = token_of(keys, FILES)
    assert "holds 0 signatures" in refusal(with_tokens(FILES), keys.verifier)
    assert "holds 2 signatures" in refusal(with_tokens(FILES, good, good), keys.verifier)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"signatures": "x"}', b'{"signatures": [1]}', b'{"signatures": [], "signatures": []}']
)
def test_a_signature_file_of_another_form_is_refused(keys: Keys, text: bytes) -> None:
    assert ".signatures.json" in refusal(pack({**FILES, ".signatures.json": text}), keys.verifier)


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c.d", "e30.e30.", "e30=.e30.e30", "W10.W10.W10"])
def test_what_is_no_jwt_is_refused(keys: Keys, text: str) -> None:
    refusal(with_tokens(FILES, text), keys.verifier)


def test_a_signature_of_a_plugin_is_refused(keys: Keys) -> None:
    for plugin in ("mine", [], 1):
        said = refusal(with_tokens(FILES, token_of(keys, FILES), plugin=plugin), keys.verifier)
        assert f"the plugin {plugin!r}" in said
    content = with_tokens(FILES, token_of(keys, FILES), plugin="_default")
    assert read_bundle(content, SOURCE, keys.verifier).files == FILES


def test_a_scope_is_for_who_asks_for_it(keys: Keys) -> None:
    content = with_tokens(FILES, token_of(keys, FILES, scope="write"))
    assert "is for the scope 'write', not ''" in refusal(content, keys.verifier)
    verifier = BundleVerifier({keys.id: keys.public}, scope="write")
    assert read_bundle(content, SOURCE, verifier).files == FILES
    assert "not 'write'" in refusal(signed(keys), verifier)


def test_what_a_signature_demands_and_nobody_enforces_is_refused(keys: Keys) -> None:
    assert "'exp' is not enforced" in refusal(with_tokens(FILES, token_of(keys, FILES, exp=1)), keys.verifier)
    critical = token(keys.private, {"files": claims_of(FILES)}, headers={**KID, "crit": ["b64"]})
    assert "critical headers" in refusal(with_tokens(FILES, critical), keys.verifier)


def test_keys_that_are_weak_or_no_public_keys_are_refused(keys: Keys) -> None:
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it must be refused
    for name, pem in {
        "1024": public_pem(small.public_key()),
        "no public key": keys.private,
        "no public key in PEM": b"secret",
        "secp256k1": public_pem(ec.generate_private_key(ec.SECP256K1()).public_key()),
        "neither": public_pem(ed448.Ed448PrivateKey.generate().public_key()),
    }.items():
        with pytest.raises(BundleError, match=name):
            BundleVerifier({"k": pem})


def test_a_verifier_without_a_key_is_none() -> None:
    for keys in ({}, {"": b""}):
        with pytest.raises(BundleError, match="at least one public key"):
            BundleVerifier(keys)


def test_only_keys_that_sign_well_sign(keys: Keys) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )
    for pem in (private_pem(rsa_key), locked, keys.public, b"", private_pem(ec.generate_private_key(ec.SECP256K1()))):
        with pytest.raises(BundleError):
            BundleSigner(pem, "release")
    with pytest.raises(BundleError, match="key id"):
        BundleSigner(keys.private, "")


YAML = {**FILES, "govgateway/more/data.yaml": b"a: [1, two, null]\nb: true\n"}


def test_yaml_is_signed_by_its_values(keys: Keys) -> None:
    other = {**YAML, "govgateway/more/data.yaml": b'{"b": true, "a": [1, "two", null]}'}
    assert read_bundle(with_tokens(other, token_of(keys, YAML)), SOURCE, keys.verifier).files == other
    changed = {**YAML, "govgateway/more/data.yaml": b"a: [1, two, ~]\nb: false\n"}
    assert "data.yaml was changed" in refusal(with_tokens(changed, token_of(keys, YAML)), keys.verifier)


@pytest.mark.parametrize("text", [b"a: 1.5\n", b"a: 2026-01-01\n", b'a: "\\ud800"\n', b"a: 1\na: 2\n", b"[", b"\xff"])
def test_yaml_without_one_meaning_has_no_digest(keys: Keys, text: bytes) -> None:
    content = with_tokens({**YAML, "govgateway/more/data.yaml": text}, token_of(keys, YAML))
    assert "data.yaml" in refusal(content, keys.verifier)


def test_an_edwards_signature_that_is_wrong_is_refused() -> None:
    key, other = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
    content = with_tokens(FILES, token(private_pem(other), {"files": claims_of(FILES)}, "EdDSA", KID))
    assert "was not made with" in refusal(content, BundleVerifier({"release": public_pem(key.public_key())}))
    content = with_tokens(FILES, forged({"alg": "EdDSA", "kid": "release"}, b"x"))
    assert "was not made with" in refusal(content, BundleVerifier({"release": public_pem(key.public_key())}))
