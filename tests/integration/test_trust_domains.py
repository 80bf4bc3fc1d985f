"""Two gateways of two trust domains, nodes that attest over HTTPS, and verifiers that know us by OIDC discovery."""

import json
import ssl
import time
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt as jose
from joserfc.jwk import KeySet

from identity.attestation.x509pop import answer as prove
from identity.bundle import TrustBundle, parse_jwks
from tests.support.calls import chat, eventually, plain, recorded
from tests.support.certificates import CertificateAuthority
from tests.support.running_gateway import TRUST_DOMAIN, AgentFiles, RunningGateway, govctl

MODEL = "example-chat"
PARTNER = "partner.test"
VISITOR = f"spiffe://{PARTNER}/agent/visitor"


@pytest.fixture(scope="module")
def partner(example_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """The other trust domain: another copy of the gateway that serves its bundle."""
    running = RunningGateway(
        tmp_path_factory.mktemp("partner") / "home", example_backend, [MODEL],
        {"identity": {"endpoint": {"enabled": True}}}, trust_domain=PARTNER,
    )  # fmt: skip
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def home(
    example_backend: str, partner: RunningGateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    directory = tmp_path_factory.mktemp("home")
    (directory / "partner.jwks").write_bytes((partner.directory / "state/authority/bundle.jwks").read_bytes())
    now = int(time.time())
    pop = CertificateAuthority.root("machines.test", now=now)
    (directory / "machines.pem").write_bytes(pop.certificate.public_bytes(Encoding.PEM))
    running = RunningGateway(directory / "home", example_backend, [MODEL])
    running.edit_config(
        {
            "identity": {
                "endpoint": {
                    "enabled": True,
                    "issuer": f"https://localhost:{running.endpoint_port}",
                    "attempts_per_minute": 600,
                },
                "attestation": {"join_tokens": True, "x509pop": {"ca_files": [str(directory / "machines.pem")]}},
                "federated": [
                    {
                        "trust_domain": PARTNER,
                        "url": f"https://localhost:{partner.endpoint_port}/bundle",
                        "profile": "https_spiffe",
                        "server_id": f"spiffe://{PARTNER}/gateway",
                        "file": str(directory / "partner.jwks"),
                    }
                ],
            }
        }
    )
    running.start(workers=2)
    running.machines = pop  # type: ignore[attr-defined]  # what signs the certificates of machines
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def operator(home: RunningGateway) -> Iterator[httpx.Client]:
    files = home.register("operator/ada", team="platform", kind="human")
    with httpx.Client(
        base_url=f"https://localhost:{home.admin_port}", verify=files.tls(), trust_env=False, timeout=15
    ) as client:
        yield client


@pytest.fixture(scope="module")
def visitor(home: RunningGateway, partner: RunningGateway) -> AgentFiles:
    """An agent of the partner's domain that is registered here."""
    files = partner.register("agent/visitor")
    home.register(VISITOR, issue=False)
    return mixed(files, home)


def mixed(files: AgentFiles, home: RunningGateway) -> AgentFiles:
    """Let a foreign agent verify this gateway: by this domain's bundle."""
    pem = TrustBundle(TRUST_DOMAIN, roots(home)).to_pem()
    (files.directory / "bundle.pem").write_bytes(pem)
    return files


def roots(home: RunningGateway) -> tuple[bytes, ...]:
    keys = json.loads((home.directory / "state/authority/bundle.jwks").read_bytes())["keys"]
    return tuple(b64decode(key["x5c"][0]) for key in keys if key["use"] == "x509-svid")


def verifying(home: RunningGateway, tmp_path: Path) -> ssl.SSLContext:
    """Return the context of a client that knows this trust domain's bundle and has no certificate."""
    (tmp_path / "bundle.pem").write_bytes(TrustBundle(TRUST_DOMAIN, roots(home)).to_pem())
    return ssl.create_default_context(cafile=str(tmp_path / "bundle.pem"))


@pytest.fixture
def anyone(home: RunningGateway, tmp_path: Path) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"https://localhost:{home.endpoint_port}",
        verify=verifying(home, tmp_path),
        trust_env=False,
        timeout=15,
    ) as client:
        yield client


# Federation


def test_an_agent_of_the_federated_domain_calls_a_model(home, visitor):
    eventually("the bundle is fetched", lambda: recorded_or_known(home))
    with plain(home, visitor) as client:
        answer = client.post("/v1/chat/completions", json=chat(MODEL))
        assert answer.status_code == 200, answer.text
    assert recorded(home, "access.intent", principal=VISITOR)


def recorded_or_known(home: RunningGateway) -> bool:
    return (home.directory / "state" / "federation").exists()


def test_the_operator_sees_each_domain_with_the_age_of_its_bundle(operator):
    [domain] = operator.get("/v1/federation").json()
    assert (domain["trust_domain"], domain["state"]) == (PARTNER, "fresh")
    assert domain["age_seconds"] < 120
    assert operator.post("/v1/federation/nobody.test/refresh").status_code == 404


def test_a_new_root_of_the_partner_is_fetched_before_it_is_used(home, partner, operator, visitor):
    before = operator.get("/v1/federation").json()[0]["sequence"]
    govctl(partner.directory, "authority", "x509", "prepare", "--new-root", "--reason", "a test")

    def fetched() -> bool:
        return bool(operator.post(f"/v1/federation/{PARTNER}/refresh").json()["sequence"] > before)

    eventually("the new bundle is there", fetched)
    govctl(partner.directory, "authority", "x509", "activate", "--reason", "a test")
    renewed = partner.directory / "renewed"
    govctl(partner.directory, "agent", "issue", VISITOR, "--out", str(renewed))
    files = mixed(AgentFiles(VISITOR, renewed), home)

    def answered() -> bool:
        """Whether a worker answers that was told of the new bundle: each is, right after it was fetched."""
        try:
            with plain(home, files) as client:
                return bool(client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200)
        except httpx.TransportError:
            return False

    eventually("the new root is trusted", answered)
    with plain(home, visitor) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200, "the old root stands too"


def test_the_last_good_bundle_serves_on_while_the_partner_is_away_and_its_age_shows(home, partner, operator, visitor):
    partner.stop()
    try:
        status = operator.post(f"/v1/federation/{PARTNER}/refresh").json()
        assert status["state"] == "stale"
        assert status["error"]
        with plain(home, visitor) as client:
            assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    finally:
        partner.start()
    eventually(
        "it is fresh again",
        lambda: operator.post(f"/v1/federation/{PARTNER}/refresh").json()["state"] == "fresh",
    )


def test_a_withdrawn_domain_is_refused_at_once_on_the_connection_that_is_open(example_backend, partner, tmp_path):
    bundle = tmp_path / "partner.jwks"
    bundle.write_bytes((partner.directory / "state/authority/bundle.jwks").read_bytes())
    running = RunningGateway(
        tmp_path / "home", example_backend, [MODEL],
        {"identity": {"federated": [{"trust_domain": PARTNER, "file": str(bundle)}]}},
    )  # fmt: skip
    running.start()
    try:
        guest = partner.register("agent/guest")
        running.register(f"spiffe://{PARTNER}/agent/guest", issue=False)
        with plain(running, mixed(guest, running)) as client:
            assert client.get("/v1/models").status_code == 200
            bundle.write_text('{"keys": [], "spiffe_sequence": 99}')
            govctl(running.directory, "reload")

            def refused() -> bool:
                try:
                    return client.get("/v1/models").status_code == 401
                except httpx.TransportError:
                    return True  # the handshake of a new connection is refused

            eventually("it is refused", refused)
    finally:
        running.stop()


# OIDC


def test_verifiers_that_know_us_by_oidc_discovery_accept_our_tokens(home, anyone):
    agent = home.register("agent/federated", issue=False)
    token = govctl(home.directory, "svid", "jwt", agent.id, "--audience", "sts.test").stdout.strip()
    document = anyone.get("/.well-known/openid-configuration").json()
    assert document["issuer"] == f"https://localhost:{home.endpoint_port}"
    assert document["jwks_uri"].startswith(document["issuer"])
    answer = anyone.get("/keys")
    keys = answer.json()
    key_id = jwt.get_unverified_header(token)["kid"]
    [key] = [jwt.PyJWK(each) for each in keys["keys"] if each["kid"] == key_id]
    claims = jwt.decode(token, key, algorithms=document["id_token_signing_alg_values_supported"], audience="sts.test")
    assert (claims["sub"], claims["iss"]) == (agent.id, document["issuer"])
    decoded = jose.decode(token, KeySet.import_key_set(keys), algorithms=["ES256"])
    assert decoded.claims["sub"] == agent.id
    again = anyone.get("/keys", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


def test_the_bundle_endpoint_serves_the_bundle_and_nothing_else_is_there(home, anyone):
    served = anyone.get("/bundle").json()
    assert {key["use"] for key in served["keys"]} == {"x509-svid", "jwt-svid"}
    assert served["spiffe_sequence"] >= 1
    assert anyone.get("/v1/models").status_code == 404
    assert anyone.get("/v1/attest/k8s_psat").status_code == 404


# Attestation


def request_for(key: ec.EllipticCurvePrivateKey, spiffe_id: str = "") -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if spiffe_id:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)])
        builder = builder.add_extension(names, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def write(directory: Path, identity: str, answer: dict[str, Any], key: ec.EllipticCurvePrivateKey) -> AgentFiles:
    directory.mkdir()
    (directory / "svid.pem").write_text(answer["chain"])
    (directory / "svid.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    bundle = answer["bundle"]
    (directory / "bundle.pem").write_bytes(parse_jwks(TRUST_DOMAIN, json.dumps(bundle).encode()).to_pem())
    return AgentFiles(identity, directory)


def test_a_join_token_gives_a_machine_its_identity_once(home, anyone, tmp_path):
    node, agent = f"spiffe://{TRUST_DOMAIN}/node/m1", f"spiffe://{TRUST_DOMAIN}/agent/remote"
    home.register("agent/remote", issue=False)
    govctl(
        home.directory, "entry", "create", "--spiffe-id", agent, "--parent", node,
        "--selector", f"join_token:id:{node}",
    )  # fmt: skip
    made = json.loads(govctl(home.directory, "token", "create", "--node", node, "--ttl", "600", "--json").stdout)
    key = ec.generate_private_key(ec.SECP256R1())
    body = {"payload": {"token": made["token"]}, "csr": request_for(key)}
    answer = anyone.post("/v1/attest/join_token", json=body)
    assert answer.status_code == 200, answer.text
    with plain(home, write(tmp_path / "m1", agent, answer.json(), key)) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    issued = recorded(home, "identity.issued", agent=agent)
    assert (issued["parent"], issued["selectors"]) == (node, [f"join_token:id:{node}"])
    again = anyone.post("/v1/attest/join_token", json=body)
    assert (again.status_code, again.json()["code"]) == (403, "join-token-refused")
    govctl(home.directory, "agent", "revoke", "--node", node, "--reason", "a test")
    with plain(home, AgentFiles(agent, tmp_path / "m1")) as client:
        eventually("what the node got is refused", lambda: client.get("/v1/models").status_code == 401)


def test_a_join_token_used_by_twenty_at_once_lets_one_in(home, anyone):
    node = f"spiffe://{TRUST_DOMAIN}/node/crowd"
    home.register("agent/crowd", issue=False)
    govctl(
        home.directory, "entry", "create", "--spiffe-id", f"spiffe://{TRUST_DOMAIN}/agent/crowd", "--parent", node,
        "--selector", f"join_token:id:{node}",
    )  # fmt: skip
    made = json.loads(govctl(home.directory, "token", "create", "--node", node, "--ttl", "600", "--json").stdout)
    bodies = [
        {"payload": {"token": made["token"]}, "csr": request_for(ec.generate_private_key(ec.SECP256R1()))}
        for _ in range(20)
    ]
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda body: anyone.post("/v1/attest/join_token", json=body).status_code, bodies))
    assert codes.count(200) == 1
    assert set(codes) <= {200, 403, 429}, "refused by the token, or by the bound on attempts of one address"


def test_a_machine_proves_possession_of_its_certificate_and_gets_the_identity_of_its_entry(home, anyone, tmp_path):
    agent = f"spiffe://{TRUST_DOMAIN}/agent/machine"
    home.register("agent/machine", issue=False)
    govctl(
        home.directory, "entry", "create", "--spiffe-id", agent, "--selector", "x509pop:subject:cn:build-7",
    )  # fmt: skip
    machines: CertificateAuthority = home.machines  # type: ignore[attr-defined]
    now = int(time.time())
    leaf = machines.issue("spiffe://machines.test/build-7", not_before=now - 60, not_after=now + 600, subject="build-7")
    key = ec.generate_private_key(ec.SECP256R1())
    csr = request_for(key, agent)
    asked = anyone.post("/v1/attest/x509pop", json={"payload": {"chain": leaf.chain_pem.decode()}, "csr": csr})
    assert asked.status_code == 202, asked.text
    binding = hashes.Hash(hashes.SHA256())
    binding.update(x509.load_pem_x509_csr(csr.encode()).public_bytes(Encoding.DER))
    proof = prove(leaf.key, asked.json()["challenge"], TRUST_DOMAIN, binding.finalize().hex())
    answer = anyone.post("/v1/attest/x509pop", json={"challenge_id": asked.json()["challenge_id"], "answer": proof})
    assert answer.status_code == 200, answer.text
    with plain(home, write(tmp_path / "machine", agent, answer.json(), key)) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    stolen = anyone.post("/v1/attest/x509pop", json={"challenge_id": asked.json()["challenge_id"], "answer": proof})
    assert stolen.status_code in {400, 403}


def test_who_attests_without_an_entry_gets_nothing(home, anyone):
    made = json.loads(
        govctl(
            home.directory, "token", "create", "--node", f"spiffe://{TRUST_DOMAIN}/node/none", "--ttl", "600", "--json"
        ).stdout
    )
    key = ec.generate_private_key(ec.SECP256R1())
    body = {"payload": {"token": made["token"]}, "csr": request_for(key)}
    refused = anyone.post("/v1/attest/join_token", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "not-issued")
