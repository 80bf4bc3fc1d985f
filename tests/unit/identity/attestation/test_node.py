"""The node's side: whom it talks to, what it shows, and which answers it takes."""

import json
import time
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from identity.attestation.node import Node, RefusedError
from identity.attestation.proofs import JoinToken, K8sPsat, OidcFile, OidcGitHubActions, ProofError, X509Pop
from identity.bundle import TrustBundle
from identity.certificate_request import CertificateRequestError, make_request, named_ids, parse_request, request_pem
from identity.errors import BundleError, IdentityError, SvidError
from identity.fetching import FetchError
from tests.support.certificates import CertificateAuthority, Leaf, new_key
from tests.support.https_server import Answer, loopback_leaf, serving

TD = "home.test"
AGENT = f"spiffe://{TD}/agent/a"
NOW = int(time.time())
DATES = {"not_before": NOW - 60, "not_after": NOW + 86_400}
"""The whole suite may run between the collecting of this module and its first test."""


class Gateway:
    """Answers as a gateway does, unless it is told otherwise."""

    def __init__(self):
        self.root = CertificateAuthority.root(TD, now=NOW)
        self.leaf = self.root.issue(f"spiffe://{TD}/gateway", **DATES)
        self.bundle = self.root.bundle(TD)
        self.spiffe_id = AGENT
        self.changes = {}
        self.key = None
        self.problem = None

    def __call__(self, request):
        if self.problem is not None:
            return Answer(json.dumps(self.problem).encode(), 403)
        csr = x509.load_pem_x509_csr(json.loads(request.body)["csr"].encode())
        key = self.key or csr.public_key()
        leaf = self.root.issue(self.spiffe_id, **DATES)
        issued = _for_key(self.root, leaf, key)
        answer = {"chain": issued, "bundle": json.loads(self.bundle.to_jwks()), **self.changes}
        return Answer(json.dumps(answer).encode())


def _for_key(root, leaf, key):
    """Return the same certificate for another key (PEM)."""
    old = leaf.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject).issuer_name(old.issuer).public_key(key).serial_number(old.serial_number)
        .not_valid_before(old.not_valid_before_utc).not_valid_after(old.not_valid_after_utc)
    )  # fmt: skip
    for extension in old.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectKeyIdentifier):
            value = x509.SubjectKeyIdentifier.from_public_key(key)
        builder = builder.add_extension(value, extension.critical)
    return builder.sign(root.key, old.signature_hash_algorithm).public_bytes(Encoding.PEM).decode()


@pytest.fixture(scope="module")
def made():
    return Gateway()


@pytest.fixture
def gateway(made):
    return _copy(made)


def _copy(made):
    fresh = object.__new__(Gateway)
    fresh.__dict__.update(made.__dict__, changes={}, key=None, problem=None)
    return fresh


def node(gateway, **options):
    return Node(TD, options.pop("bundle", gateway.bundle), time.time_ns, **options)


async def attest(gateway, tmp_path, leaf=None, **options):
    async with serving(leaf or gateway.leaf, tmp_path, gateway) as server:
        return await node(gateway, **options).attest(server.url, JoinToken("t")), server.requests


async def test_an_svid_is_taken_and_written_with_its_key_and_bundle(gateway, tmp_path):
    svid, (request,) = await attest(gateway, tmp_path)
    assert (request.method, request.path) == ("POST", "/v1/attest/join_token")
    assert json.loads(request.body)["payload"] == {"token": "t"}
    assert svid.peer.id == AGENT
    svid.write(tmp_path / "out")
    assert (tmp_path / "out" / "svid.key").stat().st_mode & 0o777 == 0o600
    assert node(gateway).held(tmp_path / "out") == svid.peer
    assert "PRIVATE" not in repr(svid)
    with pytest.raises(SvidError, match="wanted was"):
        node(gateway, wanted=AGENT + "b").held(tmp_path / "out")


async def test_the_bundle_that_came_last_verifies_the_next_time(gateway, tmp_path):
    other = CertificateAuthority.root(TD, now=NOW)
    gateway.bundle = TrustBundle(TD, (gateway.root.der, other.der), 7)
    async with serving(gateway.leaf, tmp_path, gateway) as server:
        one = node(gateway, bundle=gateway.root.bundle(TD))
        await one.attest(server.url, JoinToken("t"))
    assert one.bundle.sequence == 7


@pytest.mark.parametrize("case", ["another id", "another domain", "another authority", "web certificate"])
async def test_nothing_is_sent_to_a_server_that_is_not_the_gateway(gateway, tmp_path, case):
    away = CertificateAuthority.root("away.test", now=NOW)
    leaf = {
        "another id": gateway.root.issue(AGENT, **DATES),
        "another domain": gateway.root.issue("spiffe://away.test/gateway", **DATES),
        "another authority": away.issue(f"spiffe://{TD}/gateway", **DATES),
        "web certificate": loopback_leaf(gateway.root, NOW),
    }[case]
    async with serving(leaf, tmp_path, gateway) as server:
        with pytest.raises(IdentityError):
            await node(gateway).attest(server.url, JoinToken("t"))
        assert server.requests == []


async def test_without_a_bundle_nobody_is_trusted(gateway):
    with pytest.raises(BundleError, match="no trust bundle"):
        await node(gateway, bundle=None).attest("https://127.0.0.1:1", JoinToken("t"))


async def test_answers_that_are_no_svid_for_this_key_are_not_taken(gateway, tmp_path):
    away = CertificateAuthority.root("away.test", now=NOW)
    wrong = [
        ({"key": new_key().public_key()}, "another key"),
        ({"spiffe_id": AGENT + "b"}, "wanted was"),
        ({"changes": {"chain": ""}}, "no certificate"),
        ({"changes": {"chain": 7}}, "no SVID"),
        ({"changes": {"bundle": None}}, "not a JSON object"),
        ({"changes": {"bundle": json.loads(away.bundle("away.test").to_jwks())}}, "authority"),
        ({"changes": {"chain": away.issue(AGENT, **DATES).chain_pem.decode()}}, "authority"),
    ]
    for changes, said in wrong:
        liar = _copy(gateway)
        liar.__dict__.update(changes)
        with pytest.raises(IdentityError, match=said):
            await attest(liar, tmp_path, wanted=AGENT)


async def test_a_refusal_carries_the_gateways_reason(gateway, tmp_path):
    gateway.problem = {"code": "join-token-refused", "detail": "it was used before.", "remedy": "Make another."}
    with pytest.raises(RefusedError, match=r"it was used before\. Make another\.") as caught:
        await attest(gateway, tmp_path)
    assert caught.value.rule == "join-token-refused"


async def test_a_question_to_a_proof_without_an_answer_ends_it(gateway, tmp_path):
    gateway.changes = {"challenge_id": "c", "challenge": {"purpose": "sign this"}}
    with pytest.raises(ProofError, match="nothing is answered"):
        await attest(gateway, tmp_path)


async def test_a_renewal_needs_an_svid_in_date(gateway, tmp_path):
    with pytest.raises(SvidError):
        await node(gateway).renew("https://127.0.0.1:1", tmp_path)
    svid, _ = await attest(gateway, tmp_path)
    svid.write(tmp_path)
    late = Node(TD, gateway.bundle, lambda: (NOW + 86_401) * 1_000_000_000)
    with pytest.raises(SvidError, match="expired"):
        await late.renew("https://127.0.0.1:1", tmp_path)
    other = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "svid.key").write_bytes(other)
    with pytest.raises(SvidError, match="attest again"):
        await node(gateway).renew("https://127.0.0.1:1", tmp_path)


# Proofs


async def test_tokens_are_read_anew_each_time_and_never_shown(tmp_path):
    path = tmp_path / "token"
    path.write_text(" one\n")
    for proof, more in ((K8sPsat("c", path), {"cluster": "c"}), (OidcFile(path), {})):
        path.write_text(" one\n")
        assert await proof.payload() == {**more, "token": "one"}
        path.write_text("two")
        assert await proof.payload() == {**more, "token": "two"}
    assert "s3cret" not in repr(JoinToken("s3cret")) + repr(OidcGitHubActions("https://x", "s3cret", "a"))


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff", b"x" * 70_000])
async def test_a_file_without_a_token_is_refused_by_name(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ProofError, match=str(path)):
        await OidcFile(path).payload()
    with pytest.raises(ProofError, match="cannot be read"):
        await OidcFile(tmp_path / "none").payload()


async def test_a_key_that_cannot_sign_begins_nothing(tmp_path):
    chain, key = Leaf(CertificateAuthority.root("m.test", now=NOW).certificate, new_key()).files(tmp_path)
    proof = X509Pop(chain, key, TD)
    assert "BEGIN CERTIFICATE" in (await proof.payload())["chain"]
    pems = [
        new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"p")),
        x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        b"nonsense",
    ]
    for pem in pems:
        key.write_bytes(pem)
        with pytest.raises(ProofError):
            await proof.payload()


async def test_github_actions_gives_a_token_for_the_audience(tmp_path, monkeypatch):
    root = CertificateAuthority.root("web.test", now=NOW, uri="")
    (tmp_path / "web.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "web.pem"))
    answers = [b'{"count": 3, "value": "the-jwt"}', b"{}", b"no json"]
    async with serving(loopback_leaf(root, NOW), tmp_path, lambda _: Answer(answers.pop(0))) as server:
        proof = OidcGitHubActions(f"{server.url}/token?api-version=2.0", "bearer-of-the-job", "spiffe://home.test/x y")
        assert await proof.payload() == {"token": "the-jwt"}
        assert server.requests[0].path == "/token?api-version=2.0&audience=spiffe%3A%2F%2Fhome.test%2Fx+y"
        assert server.requests[0].headers["authorization"] == "Bearer bearer-of-the-job"
        with pytest.raises(ProofError, match="id-token: write"):
            await proof.payload()
        with pytest.raises(ProofError, match="JSON"):
            await proof.payload()
    with pytest.raises(FetchError, match="not an https address"):
        await replace(proof, request_url="http://127.0.0.1:1/").payload()


# Certificate requests


def test_a_request_is_read_back_as_it_was_made():
    key = new_key()
    for wanted in ("", AGENT):
        read = parse_request(request_pem(make_request(key, wanted)))
        assert named_ids(read) == ((wanted,) if wanted else ())
        assert read.public_key() == key.public_key()


@pytest.mark.parametrize(
    ("pem", "rule"),
    [
        (None, "payload-malformed"),
        ("nonsense", "payload-malformed"),
        (request_pem(make_request(ec.generate_private_key(ec.SECP192R1()))), "csr-key"),
    ],
)
def test_what_is_no_request_for_a_strong_key_is_refused(pem, rule):
    with pytest.raises(CertificateRequestError) as caught:
        parse_request(pem)
    assert caught.value.rule == rule
