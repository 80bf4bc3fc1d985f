"""What tests/support/openbao.py promises, against the real server: other tests of secrets rest on it."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, load_pem_public_key
from hvac.exceptions import Forbidden, InvalidRequest, VaultDown

from identity.jwk import public_jwk
from identity.jws import sign_compact
from tests.support.certificates import CLIENT, CertificateAuthority, new_key
from tests.support.openbao import OpenBao
from tests.support.token_review import token_review

GATEWAY = "spiffe://example.org/gateway"
READS_ONE = 'path "secret/data/model" { capabilities = ["read"] }'


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """A server with a secret `model`, and the policy `model` that reads just that."""
    with OpenBao(tmp_path_factory.mktemp("openbao")) as server:
        server.enable_kv()
        server.put("model", api_key="first")
        server.put("other", api_key="hidden")
        server.policy("model", READS_ONE)
        yield server


def read(bao: OpenBao, token: str, path: str = "model") -> dict[str, Any]:
    """Return the fields of a secret in the versioned engine."""
    answer: dict[str, Any] = bao.client(token).read(f"secret/data/{path}")
    return dict(answer["data"]["data"])


def check_reads_just_the_model(bao: OpenBao, auth: dict[str, Any], ttl: int) -> None:
    """A login gave a token with the policy `model` and a lifetime in seconds."""
    assert auth["lease_duration"] == ttl
    assert "api_key" in read(bao, auth["client_token"])
    with pytest.raises(Forbidden):
        read(bao, auth["client_token"], "other")


def login(bao: OpenBao, method: str, *, cert: tuple[Path, Path] | None = None, **fields: str) -> dict[str, Any]:
    """Log in and return the member `auth` of the answer."""
    answer = bao.client(cert=cert).adapter.post(f"/v1/auth/{method}/login", json=fields)
    return dict(answer["auth"])


def test_a_versioned_engine_counts(bao: OpenBao) -> None:
    assert [bao.put("counted", key=value) for value in ("a", "b")] == [1, 2]
    assert read(bao, bao.root_token, "counted") == {"key": "b"}


def test_an_engine_without_versions(bao: OpenBao) -> None:
    bao.enable_kv("plain", 1)
    assert bao.put("model", mount="plain", api_key="x", url="y") == 0
    assert bao.root.read("plain/model")["data"] == {"api_key": "x", "url": "y"}


def test_a_token_may_do_what_its_policy_says(bao: OpenBao) -> None:
    token = bao.token(["model"], "5m")
    assert bao.client(token).auth.token.lookup_self()["data"]["ttl"] in range(290, 301)
    assert "api_key" in read(bao, token)
    with pytest.raises(Forbidden):
        read(bao, token, "other")


def test_a_jwt_logs_in(bao: OpenBao) -> None:
    key, stranger = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    jwks = {"keys": [{**public_jwk(key.public_key()), "kid": "k", "use": "jwt-svid"}]}
    bao.jwt_role("gateway", "openbao", GATEWAY, jwks, ["model"], "7m")
    now = int(time.time())
    claims = {"sub": GATEWAY, "aud": ["openbao"], "iat": now, "exp": now + 300}
    check_reads_just_the_model(bao, login(bao, "jwt", role="gateway", jwt=sign_compact(key, "k", claims)), 420)
    for signer, changed in (
        (stranger, {}),
        (key, {"sub": GATEWAY + "/2"}),
        (key, {"aud": ["vault"]}),
        (key, {"exp": now - 300}),
    ):
        with pytest.raises(InvalidRequest):
            login(bao, "jwt", role="gateway", jwt=sign_compact(signer, "k", claims | changed))


def test_a_certificate_logs_in(bao: OpenBao, tmp_path: Path) -> None:
    now = int(time.time())
    authority = CertificateAuthority.root("example.org", now=now)
    pem = authority.certificate.public_bytes(Encoding.PEM).decode()
    bao.cert_role("gateway", pem, GATEWAY, ["model"], "8m")

    def files(issuer: CertificateAuthority, uri: str) -> tuple[Path, Path]:
        return issuer.issue(uri, not_before=now - 10, not_after=now + 300).files(tmp_path)

    check_reads_just_the_model(bao, login(bao, "cert", name="gateway", cert=files(authority, GATEWAY)), 480)
    stranger = CertificateAuthority.root("example.org", now=now)
    for cert in (None, files(authority, GATEWAY + "/2"), files(stranger, GATEWAY)):
        with pytest.raises((InvalidRequest, Forbidden)):
            login(bao, "cert", name="gateway", cert=cert)


def test_an_approle_logs_in(bao: OpenBao) -> None:
    role_id, secret_id = bao.approle("gateway", ["model"], "9m", secret_id_ttl="1h")
    check_reads_just_the_model(bao, login(bao, "approle", role_id=role_id, secret_id=secret_id), 540)
    with pytest.raises(InvalidRequest):
        login(bao, "approle", role_id=role_id, secret_id="wrong")


def test_a_service_account_logs_in(bao: OpenBao, tmp_path: Path) -> None:
    with token_review(tmp_path) as api:
        bao.kubernetes_role("gateway", api, "ai", "gateway", ["model"], "6m")
        token = api.token("ai", "gateway", ["openbao"])
        check_reads_just_the_model(bao, login(bao, "kubernetes", role="gateway", jwt=token), 360)
        for refused in (
            api.token("ai", "other", ["openbao"]),
            api.token("other", "gateway", ["openbao"]),
            api.token("ai", "gateway", ["vault"]),
        ):
            with pytest.raises(Forbidden):
                login(bao, "kubernetes", role="gateway", jwt=refused)
        api.forget(token)
        reviews = api.reviews
        with pytest.raises(Forbidden):
            login(bao, "kubernetes", role="gateway", jwt=token)
        assert api.reviews == reviews + 1


def test_the_pki_issues_client_certificates(bao: OpenBao) -> None:
    root = x509.load_pem_x509_certificate(bao.pki("issuing.test", mount="issuing").encode())
    bao.policy("issue", 'path "issuing/issue/client" { capabilities = ["update"] }')
    client = bao.client(bao.token(["issue"], "5m"))
    fields = {"uri_sans": "spiffe://issuing.test/gateway", "ttl": "10m"}
    issued = client.write_data("issuing/issue/client", data=fields)["data"]
    leaf = x509.load_pem_x509_certificate(issued["certificate"].encode())
    leaf.verify_directly_issued_by(root)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://issuing.test/gateway")]
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [CLIENT]
    key = load_pem_private_key(issued["private_key"].encode(), None)
    assert key.public_key() == leaf.public_key()
    with pytest.raises(InvalidRequest):
        client.write_data("issuing/issue/client", data=fields | {"uri_sans": "spiffe://other.test/gateway"})


def test_the_pki_signs_an_intermediate(bao: OpenBao) -> None:
    root = x509.load_pem_x509_certificate(bao.pki("signing.test", mount="signing").encode())
    bao.policy("sign", 'path "signing/root/sign-intermediate" { capabilities = ["update"] }')
    client = bao.client(bao.token(["sign"], "5m"))
    key, domain = new_key(), x509.UniformResourceIdentifier("spiffe://signing.test")
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([domain]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = request.public_bytes(Encoding.PEM).decode()
    fields = {"csr": pem, "use_csr_values": True, "max_path_length": 0, "ttl": "1h"}
    signed = client.write_data("signing/root/sign-intermediate", data=fields)["data"]
    authority = x509.load_pem_x509_certificate(signed["certificate"].encode())
    authority.verify_directly_issued_by(root)
    assert authority.public_key() == key.public_key()
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    assert list(authority.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == [domain]


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
def test_a_key_in_transit_signs(bao: OpenBao, kind: str) -> None:
    bao.transit_key(kind, kind)
    bao.policy(f"sign-{kind}", f'path "transit/sign/{kind}" {{ capabilities = ["update"] }}')
    client = bao.client(bao.token([f"sign-{kind}"], "5m"))
    fields = {"input": base64.b64encode(b"signed").decode()}
    prefix, version, text = client.write_data(f"transit/sign/{kind}", data=fields)["data"]["signature"].split(":")
    assert (prefix, version) == ("vault", "v1")
    signature = base64.b64decode(text)
    public = bao.root.read(f"transit/keys/{kind}")["data"]["keys"]["1"]["public_key"]
    if kind == "ed25519":
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public)).verify(signature, b"signed")
    else:
        key = load_pem_public_key(public.encode())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, b"signed", ec.ECDSA(hashes.SHA256()))
    with pytest.raises(Forbidden):
        client.read(f"transit/keys/{kind}")


def test_a_sealed_server_is_down_until_it_is_unsealed(bao: OpenBao) -> None:
    bao.seal()
    with pytest.raises(VaultDown):
        read(bao, bao.root_token)
    bao.unseal()
    assert read(bao, bao.root_token) == {"api_key": "first"}


@pytest.mark.parametrize("end", [OpenBao.stop, OpenBao.kill])
def test_what_was_written_outlives_the_process(bao: OpenBao, end: Any) -> None:
    token = bao.token(["model"], "5m")
    end(bao)
    with pytest.raises(requests.ConnectionError):
        read(bao, token)
    bao.start(unseal=False)
    with pytest.raises(VaultDown):
        read(bao, token)
    bao.unseal()
    assert read(bao, token) == {"api_key": "first"}


def test_a_paused_server_answers_when_it_goes_on(bao: OpenBao) -> None:
    bao.pause()
    try:
        with pytest.raises(requests.Timeout):
            bao.client(timeout=0.2).sys.read_seal_status()
    finally:
        bao.resume()
    assert read(bao, bao.root_token) == {"api_key": "first"}


def test_every_request_is_audited_without_values(bao: OpenBao) -> None:
    bao.put("audited", api_key="a-value-that-nobody-may-see")
    lines = [json.loads(line) for line in bao.audit_log.read_text().splitlines()]
    paths = [line["request"]["path"] for line in lines]
    assert paths.count("secret/data/audited") == 2  # the request and the answer
    assert "a-value-that-nobody-may-see" not in bao.audit_log.read_text()
    assert bao.root_token not in bao.audit_log.read_text()


def test_a_replaced_authority(tmp_path: Path) -> None:
    with OpenBao(tmp_path / "openbao") as bao:
        bao.replace_ca()
        with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            bao.client(ca_file=bao.ca_file).sys.read_seal_status()
        assert bao.client(ca_file=bao.new_ca_file).sys.is_sealed() is False
        assert bao.root.auth.token.lookup_self()["data"]["policies"] == ["root"]


def test_what_fails_to_start_shows_why(tmp_path: Path) -> None:
    bao = OpenBao(tmp_path / "openbao")
    (tmp_path / "openbao" / "openbao.hcl").write_text('storage "nowhere" {}\n')
    with pytest.raises(AssertionError, match="nowhere"):
        bao.start()
    bao.kill()
