"""The identity endpoint: documents with their tags, and nodes that attest over one and over two requests."""

import asyncio
import json
import time
from hashlib import sha256

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from identity.attestation.base import AttestationError, AttestationUnavailableError, Attested, SourceLimiter
from identity.attestation.conversations import Conversations
from identity.attestation.join_token import JoinTokenAttestor
from identity.attestation.x509pop import X509PopAttestor, answer
from identity.authority import Authority, create_trust_domain
from identity.bundle import TrustBundle, parse_jwks
from identity.clock import NANOSECONDS
from identity.endpoint import MAX_BODY_BYTES, identity_endpoint
from identity.errors import BundleError, RegistryError
from identity.keys import MemoryKeyManager
from identity.registry import Registry
from identity.spiffe_id import SpiffeId
from identity.verification import verify_peer
from tests.support.certificates import CertificateAuthority

_POINT = PublicFormat.UncompressedPoint
TD, ISSUER, START = "home.test", "https://gateway.home.test", 1_800_000_000


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now * NANOSECONDS


def csr(key):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())


def pem(request):
    return request.public_bytes(Encoding.PEM).decode()


class Node:
    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.request = csr(self.key)
        self.binding = sha256(self.request.public_bytes(Encoding.DER)).hexdigest()

    @property
    def csr(self):
        return pem(self.request)


class Stage:
    """An endpoint over a real authority and inventory."""

    def __init__(self, tmp_path, **changes):
        self.clock = Clock()
        keys = MemoryKeyManager()
        create_trust_domain(tmp_path, TD, keys, self.clock)
        self.authority = Authority.open(tmp_path, TD, keys, self.clock)
        self.registry = Registry(tmp_path / "registry.sqlite", self.clock)
        self.machines = CertificateAuthority.root("machines", now=START, uri="")
        ca_file = tmp_path / "machines.pem"
        ca_file.write_bytes(self.machines.certificate.public_bytes(Encoding.PEM))
        self.conversations = Conversations(**changes.pop("bounds", {}))
        self.fault = None
        self.app = identity_endpoint(
            **{
                "bundle": self.authority.bundle,
                "attestors": [
                    JoinTokenAttestor(TD, self.registry.join_tokens),
                    X509PopAttestor(TD, [ca_file], self.clock),
                ],
                "issue": self.issue,
                "limiter": SourceLimiter(self.clock, per_minute=600, burst=100),
                "issuer": ISSUER,
                "conversations": self.conversations,
                **changes,
            }
        )

    async def issue(self, attested, request):
        if self.fault is not None:
            raise self.fault
        return self.authority.issue_x509_svid(SpiffeId.parse(attested.spiffe_id), request.public_key()).chain

    def client(self, address="192.0.2.1"):
        transport = httpx.ASGITransport(self.app, client=(address, 1))
        return httpx.AsyncClient(transport=transport, base_url=ISSUER)

    def machine(self):
        return self.machines.issue(not_before=START - 60, not_after=START + 600, san=False, subject="m-1")

    def token(self, node="spiffe://home.test/node/n1"):
        return self.registry.join_tokens.create(node, 60, by="operator:alex")[0]


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.app.close()
    made.registry.close()


@pytest.fixture
async def client(stage):
    async with stage.client() as opened:
        yield opened


def refused(response, status, code):
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert response.json()["status"] == status
    return True


# documents


async def test_documents_carry_a_tag_and_the_hint_as_their_age(stage, client):
    hint = stage.authority.bundle().refresh_hint
    for path in ("/bundle", "/keys", "/.well-known/openid-configuration"):
        first = await client.get(path)
        assert (first.status_code, first.headers["cache-control"]) == (200, f"public, max-age={hint}")
        assert int(first.headers["content-length"]) == len(first.content)
        for tags in (first.headers["etag"], "W/" + first.headers["etag"], f'"x", {first.headers["etag"]}', "*"):
            again = await client.get(path, headers={"if-none-match": tags})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == first.headers["etag"]
        assert (await client.get(path, headers={"if-none-match": '"other"'})).status_code == 200
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == first.headers["content-length"]
    assert parse_jwks(TD, (await client.get("/bundle")).content) == stage.authority.bundle()


async def test_a_changed_bundle_has_another_tag(stage, client):
    before = (await client.get("/bundle")).headers["etag"]
    stage.authority.prepare("jwt")
    response = await client.get("/bundle", headers={"if-none-match": before})
    assert response.status_code == 200
    assert response.headers["etag"] != before


async def test_what_is_not_served_is_a_problem_document(client):
    assert refused(await client.get("/"), 404, "route")
    assert refused(await client.post("/v1/attest/none", json={}), 404, "route")
    assert refused(await client.get("/bundle/"), 404, "route")
    posted = await client.post("/bundle")
    assert refused(posted, 405, "method")
    assert posted.headers["allow"] == "GET, HEAD"
    assert refused(await client.get("/v1/attest/join_token"), 405, "method")


async def test_without_an_issuer_there_are_no_oidc_documents(tmp_path):
    stage = Stage(tmp_path, issuer="", attestors=[])
    async with stage.client() as client:
        assert (await client.get("/bundle")).status_code == 200
        for path in ("/keys", "/.well-known/openid-configuration"):
            assert refused(await client.get(path), 404, "route")
        assert refused(await client.post("/v1/attest/join_token", json={}), 404, "route")
    stage.registry.close()
    with pytest.raises(BundleError):
        Stage(tmp_path / "other", issuer="http://a.test")


# attestation in one request


async def join(client, token, request):
    return await client.post("/v1/attest/join_token", json={"payload": {"token": token}, "csr": request})


async def test_a_join_token_gives_a_certificate_for_the_key_of_the_request_once(stage, client):
    node, token = Node(), stage.token()
    response = await join(client, token, node.csr)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    given = response.json()
    chain = x509.load_pem_x509_certificates(given["chain"].encode())
    assert chain[0].public_key() == node.key.public_key()
    bundle = parse_jwks(TD, json.dumps(given["bundle"]).encode())
    peer = verify_peer([c.public_bytes(Encoding.DER) for c in chain], {TD: bundle}, START)
    assert peer.id == given["spiffe_id"] == "spiffe://home.test/node/n1"
    assert given["selectors"] == ["join_token:id:spiffe://home.test/node/n1"]
    assert given["can_reattest"] is False
    assert refused(await join(client, token, node.csr), 403, "join-token-refused")


async def test_of_concurrent_requests_with_one_token_one_succeeds(stage, client):
    token = stage.token()
    responses = await asyncio.gather(*(join(client, token, Node().csr) for _ in range(20)))
    assert sorted(response.status_code for response in responses) == [200] + [403] * 19


async def test_a_request_that_nobody_could_be_given_a_certificate_for_does_not_use_the_token_up(stage, client):
    token, node = stage.token(), Node()
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it must be refused
    other = ec.generate_private_key(ec.SECP256R1())
    good = csr(node.key).public_bytes(Encoding.DER)
    stolen = good.replace(
        node.key.public_key().public_bytes(Encoding.X962, _POINT),
        other.public_key().public_bytes(Encoding.X962, _POINT),
    )
    assert refused(await join(client, token, pem(x509.load_der_x509_csr(stolen))), 403, "csr-signature")
    assert refused(await join(client, token, pem(csr(weak))), 403, "csr-key")
    for nonsense in (
        "",
        "x",
        None,
        7,
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ):
        assert refused(await join(client, token, nonsense), 400, "payload-malformed")
    assert (await join(client, token, node.csr)).status_code == 200


async def test_malformed_requests_are_refused_before_any_attestor(client):
    url = "/v1/attest/join_token"
    kind = {"content-type": "application/json"}
    assert refused(await client.post(url, content=b"{}"), 415, "media-type")
    assert refused(await client.post(url, content=b"{}", headers={"content-type": "text/plain"}), 415, "media-type")
    for body in (b"", b"[]", b"{", b'{"payload": {}, "payload": {}}', b"\xff", b"[" * 100_000):
        assert refused(await client.post(url, content=body, headers=kind), 400, "body")
    assert refused(await client.post(url, content=b" " * (MAX_BODY_BYTES + 1), headers=kind), 413, "body")
    assert refused(await client.post(url, json={"payload": 7, "csr": Node().csr}), 400, "payload-malformed")
    assert refused(await client.post(url, json={"challenge_id": 7, "answer": {}}), 400, "payload-malformed")


async def test_what_cannot_be_issued_is_told_with_its_cause(stage, client):
    stage.fault = RegistryError("spiffe://home.test/node/n1 is revoked")
    response = await join(client, stage.token(), Node().csr)
    assert refused(response, 403, "not-issued")
    assert "is revoked" in response.json()["detail"]
    stage.fault = AttestationUnavailableError("issuer-away", "the authority does not answer")
    assert refused(await join(client, stage.token(), Node().csr), 503, "issuer-away")


async def test_each_source_is_limited_alone(tmp_path):
    clock = Clock()
    stage = Stage(tmp_path, limiter=SourceLimiter(clock, per_minute=6, burst=2))
    async with stage.client("192.0.2.1") as one, stage.client("192.0.2.2") as two:
        codes = [(await join(one, "x" * 30, Node().csr)).status_code for _ in range(3)]
        assert codes == [403, 403, 429]
        limited = await join(one, "x" * 30, Node().csr)
        assert refused(limited, 429, "attestation-rate")
        assert limited.headers["retry-after"] == "10"
        assert (await join(two, "x" * 30, Node().csr)).status_code == 403
        clock.now += 10
        assert (await join(one, "x" * 30, Node().csr)).status_code == 403
    stage.registry.close()


# attestation in two requests


POP = "/v1/attest/x509pop"


async def ask(client, leaf, node):
    return await client.post(POP, json={"payload": {"chain": leaf.chain_pem.decode()}, "csr": node.csr})


async def reply(client, asked, leaf, binding, **changes):
    given = asked.json()
    document = {
        "challenge_id": given["challenge_id"],
        "answer": answer(leaf.key, given["challenge"], TD, binding),
        **changes,
    }
    return await client.post(POP, json=document)


async def test_a_certificates_holder_attests_by_answering_a_challenge(stage, client):
    leaf, node = stage.machine(), Node()
    asked = await ask(client, leaf, node)
    assert (asked.status_code, asked.headers["cache-control"]) == (202, "no-store")
    done = await reply(client, asked, leaf, node.binding)
    assert done.status_code == 200
    assert done.json()["spiffe_id"].startswith("spiffe://home.test/node/x509pop/")
    chain = x509.load_pem_x509_certificates(done.json()["chain"].encode())
    assert chain[0].public_key() == node.key.public_key()
    assert refused(await reply(client, asked, leaf, node.binding), 403, "challenge-unknown")
    assert len(stage.conversations) == 0


async def test_a_proof_for_another_certificate_request_is_none(stage, client):
    leaf, victim, thief = stage.machine(), Node(), Node()
    asked = await ask(client, leaf, thief)
    assert refused(await reply(client, asked, leaf, victim.binding), 403, "x509pop-signature")
    # The request cannot be exchanged with the answer either.
    asked = await ask(client, leaf, victim)
    done = await reply(client, asked, leaf, victim.binding, csr=thief.csr)
    chain = x509.load_pem_x509_certificates(done.json()["chain"].encode())
    assert chain[0].public_key() == victim.key.public_key()


async def test_a_wrong_answer_ends_the_conversation(stage, client):
    leaf, node = stage.machine(), Node()
    asked = await ask(client, leaf, node)
    assert refused(await reply(client, asked, stage.machine(), node.binding), 403, "x509pop-signature")
    assert refused(await reply(client, asked, leaf, node.binding), 403, "challenge-unknown")


async def test_of_concurrent_answers_one_counts(stage, client):
    leaf, node = stage.machine(), Node()
    asked = await ask(client, leaf, node)
    responses = await asyncio.gather(*(reply(client, asked, leaf, node.binding) for _ in range(8)))
    assert sorted(response.status_code for response in responses) == [200] + [403] * 7


async def test_an_answer_by_another_method_is_refused(stage, client):
    leaf, node = stage.machine(), Node()
    given = (await ask(client, leaf, node)).json()
    document = {"challenge_id": given["challenge_id"], "answer": {}}
    assert refused(await client.post("/v1/attest/join_token", json=document), 403, "challenge-unknown")
    assert refused(await client.post(POP, json=document), 403, "challenge-unknown")


async def test_a_challenge_expires_and_frees_its_place(tmp_path):
    stage = Stage(tmp_path, bounds={"answer_seconds": 0.05, "max_open": 1})
    async with stage.client() as client:
        leaf, node = stage.machine(), Node()
        asked = await ask(client, leaf, node)
        assert refused(await ask(client, leaf, node), 503, "too-many-attestations")
        deadline = time.monotonic() + 5
        while len(stage.conversations) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        assert refused(await reply(client, asked, leaf, node.binding), 403, "challenge-unknown")
        assert (await ask(client, leaf, node)).status_code == 202
    await stage.app.close()
    assert len(stage.conversations) == 0
    stage.registry.close()


async def test_an_attestor_that_does_not_come_to_an_end_is_cut(tmp_path):
    class Endless:
        name = "endless"
        cut = False

        async def attest(self, payload, challenge):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cut = True
                raise
            raise AssertionError

    endless = Endless()
    stage = Stage(tmp_path, attestors=[endless], bounds={"step_seconds": 0.05})
    async with stage.client() as client:
        response = await client.post("/v1/attest/endless", json={"payload": {}, "csr": Node().csr})
        assert refused(response, 503, "attestation-slow")
    await stage.app.close()
    assert endless.cut
    stage.registry.close()


async def test_an_attestor_may_ask_more_than_once(tmp_path):
    class Twice:
        name = "twice"

        async def attest(self, payload, challenge):
            first, second = await challenge.ask({"n": 1}), await challenge.ask({"n": 2})
            if (first, second) != ({"a": 1}, {"a": 2}):
                raise AttestationError("twice", "wrong")
            return Attested("spiffe://home.test/node/twice", frozenset(), True)

    stage = Stage(tmp_path, attestors=[Twice()])
    async with stage.client() as client:
        url, body = "/v1/attest/twice", {"payload": {}, "csr": Node().csr}
        for n in (1, 2):
            response = await client.post(url, json=body)
            assert (response.status_code, response.json()["challenge"]) == (202, {"n": n})
            body = {"challenge_id": response.json()["challenge_id"], "answer": {"a": n}}
        assert (await client.post(url, json=body)).json()["spiffe_id"] == "spiffe://home.test/node/twice"
    stage.registry.close()


async def test_the_end_of_the_application_ends_what_is_under_way(stage, client):
    await ask(client, stage.machine(), Node())
    assert len(stage.conversations) == 1
    messages, sent = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}], []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    await stage.app({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert len(stage.conversations) == 0


async def test_a_withdrawn_domain_serves_its_empty_bundle(tmp_path):
    stage = Stage(tmp_path, bundle=lambda: TrustBundle(TD, (), 9))
    async with stage.client() as client:
        document = (await client.get("/bundle")).json()
        assert (document["keys"], document["spiffe_sequence"]) == ([], 9)
    stage.registry.close()
