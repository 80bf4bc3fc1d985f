"""Keys in a real OpenBao: they sign what others verify, and cannot be had."""

import json
import shutil
import time
from base64 import b64decode
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from audit.event_id import uuid7
from audit.sealing import Content, SealBrokenError, Sealer, SealingUnavailableError, SqlContentStore, open_sqlite
from gateway.config import load_config
from gateway.config.vault import Vault
from gateway.evidence_key import open_evidence_key
from gateway.secrets.reference_store import ReferenceStore
from gateway.secrets.store import Secret
from gateway.secrets.vault.client import VaultClient
from gateway.secrets.vault.transit import TransitKeys
from gateway.secrets.vault.wrapping import TransitWrapper
from identity.errors import KeyManagerError
from identity.keys import KEY_TYPES
from tests.support.calls import chat, eventually, plain
from tests.support.faulty_backend import FaultyBackend
from tests.support.openbao import OpenBao
from tests.support.running_gateway import RunningGateway, govctl


class Local:
    """A login shows what is on this machine."""

    def jwt_svid(self, audience: str) -> str:
        raise AssertionError(audience)

    def x509_svid(self) -> tuple[bytes, bytes]:
        raise AssertionError

    def read(self, reference: str) -> Secret:
        return ReferenceStore().read(reference)


NUMBERS = count()

RULES = 'path "transit/*" { capabilities = ["create", "read", "update", "delete", "list"] }'


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with OpenBao(tmp_path_factory.mktemp("bao") / "server") as server:
        server.root.sys.enable_secrets_engine("transit", path="transit")
        server.policy("keys", RULES)
        yield server


@pytest.fixture
def keys(bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> Iterator[TransitKeys]:
    monkeypatch.setenv("GOVGATEWAY_TEST_VAULT_TOKEN", bao.token(["keys"], "10m"))
    login = {"method": "token", "token": "env:GOVGATEWAY_TEST_VAULT_TOKEN"}
    settings = {"addresses": [bao.address], "ca_file": bao.ca_file, "login": login, "timeout_seconds": 5}
    client = VaultClient(Vault.model_validate(settings), Local())
    yield TransitKeys(client, "transit", f"t{next(NUMBERS)}")
    client.close()


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048"])
def test_a_key_signs_what_its_public_half_verifies(keys, key_type):
    made = keys.generate("one", key_type)
    again = keys.private_key("one")
    public = made.public_key()
    assert again.public_key() == public
    if isinstance(public, ec.EllipticCurvePublicKey):
        assert isinstance(again, ec.EllipticCurvePrivateKey)
        assert again.curve.name == f"secp{key_type[4:]}r1"
        digest = hashes.SHA256() if key_type == "ec-p256" else hashes.SHA384()
        public.verify(again.sign(b"data", ec.ECDSA(digest)), b"data", ec.ECDSA(digest))
    else:
        assert isinstance(again, rsa.RSAPrivateKey)
        for chosen in (padding.PKCS1v15(), padding.PSS(padding.MGF1(hashes.SHA256()), 32)):
            public.verify(again.sign(b"data", chosen, hashes.SHA256()), b"data", chosen, hashes.SHA256())
    with pytest.raises(TypeError, match="does not leave it"):
        again.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(TypeError, match="does not leave it"):
        again.private_numbers()


def test_keys_are_listed_never_overwritten_and_forgotten(keys):
    assert keys.ids() == frozenset()
    first = keys.generate("one", "ec-p256").public_key()
    keys.generate("x509-2", "ec-p256")
    assert keys.ids() == {"one", "x509-2"}
    with pytest.raises(KeyManagerError, match="never overwritten"):
        keys.generate("one", "ec-p256")
    assert keys.private_key("one").public_key() == first
    keys.delete("one")
    keys.delete("one")
    assert keys.ids() == {"x509-2"}
    with pytest.raises(KeyManagerError, match="not in Vault"):
        keys.private_key("one")
    with pytest.raises(KeyManagerError, match=KEY_TYPES[-1]):
        keys.generate("three", "ed25519")
    with pytest.raises(KeyManagerError, match="no id of a key"):
        keys.generate("../root", "ec-p256")


def test_an_ed25519_key_signs_and_a_missing_one_is_not_made_unasked(keys):
    with pytest.raises(KeyManagerError, match="not in Vault"):
        keys.ed25519("log", make=False)
    key, made = keys.ed25519("log", make=True)
    assert made
    assert not keys.ed25519("log", make=True)[1]
    key.public_key().verify(key.sign(b"data"), b"data")
    with pytest.raises(TypeError, match="does not leave it"):
        key.private_bytes_raw()
    assert keys.hmac("log", b"a") == keys.hmac("log", b"a") != keys.hmac("log", b"b")


def test_a_sealed_vault_signs_nothing_and_says_so(keys, bao):
    key = keys.generate("one", "ec-p256")
    bao.seal()
    with pytest.raises(KeyManagerError, match="sealed"):
        key.sign(b"data", ec.ECDSA(hashes.SHA256()))
    bao.unseal()
    key.public_key().verify(key.sign(b"data", ec.ECDSA(hashes.SHA256())), b"data", ec.ECDSA(hashes.SHA256()))


MODEL = "example-chat"


@pytest.fixture(scope="module")
def gateway(bao: OpenBao, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway whose trust domain, log and evidence have their keys in OpenBao, logged in by AppRole."""
    with FaultyBackend() as backend:
        running = RunningGateway(tmp_path_factory.mktemp("gateway") / "home", backend.url, [MODEL])
        shutil.rmtree(running.directory / "state" / "authority")
        shown = bao.approle("gateway", ["gateway"], "10m")
        for name, value in zip(("role_id", "secret_id"), shown, strict=True):
            file = running.directory / name
            file.touch(0o600)
            file.write_text(value)
        running.edit_config(
            {
                "secrets": {
                    "vault": {
                        "addresses": [bao.address],
                        "ca_file": str(bao.ca_file),
                        "login": {"method": "approle", "role_id": "file:role_id", "secret_id": "file:secret_id"},
                        "keys": {"authority": True, "checkpoints": True, "evidence": True},
                    }
                }
            }
        )
        printed = govctl(running.directory, "secret", "doctor", "--print-policy").stdout
        bao.policy("gateway", printed)  # what the gateway says it needs is enough, and all that it gets
        govctl(running.directory, "authority", "create")
        running.start()
        yield running
        running.end()


def test_a_trust_domain_lives_without_a_key_on_this_machine(gateway, bao):
    agent = gateway.register("agent/caller")
    with plain(gateway, agent) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    chain = x509.load_pem_x509_certificates((agent.directory / "svid.pem").read_bytes())
    [root] = x509.load_pem_x509_certificates((agent.directory / "bundle.pem").read_bytes())
    for lower, upper in pairwise((*chain, root)):
        lower.verify_directly_issued_by(upper)  # the judge is cryptography, not our verification
    kept = {path.name for path in (gateway.directory / "state").rglob("*") if "key" in path.name}
    assert not any(name.endswith(".sealed") for name in kept), kept
    assert not {"checkpoint.key", "evidence.key"} & kept
    names = {name.split(".")[1] for name in bao.root.list("transit/keys")["data"]["keys"] if name.startswith("govg")}
    assert names == {"authority", "log"}


def test_a_jwt_svid_is_taken_by_pyjwt(gateway):
    token = govctl(gateway.directory, "svid", "jwt", f"spiffe://{gateway.trust_domain}/agent/caller", "--audience", "x")
    keys = json.loads((gateway.directory / "state" / "authority" / "bundle.jwks").read_text())["keys"]
    [jwk] = [key for key in keys if key["use"] == "jwt-svid"]
    claims = jwt.decode(token.stdout.strip(), jwt.PyJWK(jwk, "ES256").key, ["ES256"], audience="x")
    assert claims["sub"] == f"spiffe://{gateway.trust_domain}/agent/caller"


def test_a_checkpoint_is_verified_by_its_published_key(gateway):
    audit = gateway.directory / "state" / "audit"
    name, _, encoded = (audit / "checkpoint.vkey").read_text().strip().split("+", 2)
    public = Ed25519PublicKey.from_public_bytes(b64decode(encoded)[1:])
    note = eventually("a checkpoint", lambda: (p := audit / "tree" / "checkpoint").exists() and p.read_text())
    text, _, signatures = note.rpartition("\n\n")
    line = next(each for each in signatures.splitlines() if each.startswith(f"\u2014 {name} "))
    public.verify(b64decode(line.rsplit(" ", 1)[1])[4:], f"{text}\n".encode())
    assert "good" in govctl(gateway.directory, "audit", "verify").stdout


def test_the_evidence_key_is_there_and_signs(gateway):
    shown = govctl(gateway.directory, "evidence", "key").stdout
    assert "BEGIN PUBLIC KEY" in shown or shown
    config = load_config(gateway.config_path)
    key = open_evidence_key(config)
    key.private.public_key().verify(key.private.sign(b"x"), b"x")
    assert key.pseudonyms("one") != key.pseudonyms("two")
    assert len(key.pseudonyms("one")) == 32


def test_while_vault_is_sealed_calls_go_on_and_what_needs_a_key_says_so(gateway, bao):
    agent = gateway.register("agent/other")
    bao.seal()
    with plain(gateway, agent) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    refused = govctl(gateway.directory, "agent", "issue", agent.id, "--out", "again", check=False)
    assert refused.returncode == 1
    assert "sealed" in refused.stderr
    bao.unseal()
    govctl(gateway.directory, "agent", "issue", agent.id, "--out", "again")


def test_keys_in_vault_need_a_login_that_works_before_the_gateway_has_an_identity():
    for method in ({"method": "jwt", "role": "x"}, {"method": "cert"}):
        with pytest.raises(ValueError, match="approle, kubernetes or token"):
            Vault.model_validate({"addresses": ["https://127.0.0.1:1"], "login": method, "keys": {"authority": True}})


def test_the_pki_engine_signs_our_authority_and_its_root_is_the_trust_domains(bao, tmp_path):
    pem = bao.pki("gateway.test", mount="ca")
    bao.policy("ca", 'path "ca/root/sign-intermediate" { capabilities = ["update"] }\n' + RULES)
    role_id, secret_id = bao.approle("ca", ["ca"], "10m")
    with FaultyBackend() as backend:
        running = RunningGateway(tmp_path / "home", backend.url, [MODEL], trust_domain="gateway.test")
        shutil.rmtree(running.directory / "state" / "authority")
        for name, value in (("role_id", role_id), ("secret_id", secret_id)):
            file = running.directory / name
            file.touch(0o600)
            file.write_text(value)
        running.edit_config(
            {
                "identity": {"authority": {"upstream_vault": "ca/root/sign-intermediate"}},
                "secrets": {
                    "vault": {
                        "addresses": [bao.address],
                        "ca_file": str(bao.ca_file),
                        "login": {"method": "approle", "role_id": "file:role_id", "secret_id": "file:secret_id"},
                    }
                },
            }
        )
        govctl(running.directory, "authority", "create")
        running.start()
        try:
            agent = running.register("agent/caller")
            with plain(running, agent) as client:
                assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
            [root] = x509.load_pem_x509_certificates((agent.directory / "bundle.pem").read_bytes())
            assert root == x509.load_pem_x509_certificate(pem.encode())
            chain = x509.load_pem_x509_certificates((agent.directory / "svid.pem").read_bytes())
            for lower, upper in pairwise((*chain, root)):
                lower.verify_directly_issued_by(upper)
            govctl(running.directory, "authority", "x509", "prepare", "--reason", "a test")
            refused = govctl(
                running.directory, "authority", "x509", "prepare", "--new-root", "--reason", "x", check=False
            )
            assert "upstream authority" in refused.stderr
        finally:
            running.end()


def sealing(
    bao: OpenBao, directory: Path, monkeypatch: pytest.MonkeyPatch, **bounds: Any
) -> tuple[Sealer, VaultClient]:
    """A sealer whose data keys OpenBao wraps."""
    monkeypatch.setenv("GOVGATEWAY_TEST_VAULT_TOKEN", bao.token(["keys"], "10m"))
    login = {"method": "token", "token": "env:GOVGATEWAY_TEST_VAULT_TOKEN"}
    settings = {"addresses": [bao.address], "ca_file": bao.ca_file, "login": login, "timeout_seconds": 5}
    client = VaultClient(Vault.model_validate(settings), Local())
    store = SqlContentStore(open_sqlite(directory), "example.org/audit")
    wrapper = TransitWrapper(client, "transit", f"wrap{next(NUMBERS)}")
    return Sealer(store, wrapper, b"p" * 32, time.time_ns, **bounds), client


def content(number: int, subject: str = "ada", case: str = "") -> Content:
    return Content(str(uuid7()), "request", subject, case, b"canary-content-%d" % number)


def trips(bao: OpenBao) -> int:
    """How often a Transit key was used."""
    return sum('"path":"transit/encrypt' in line or '"path":"transit/decrypt' in line for line in requests_of(bao))


def requests_of(bao: OpenBao) -> list[str]:
    return [line for line in bao.audit_log.read_text().splitlines() if '"type":"request"' in line]


def test_sealed_content_costs_no_round_trip_once_its_key_is_known(bao, tmp_path, monkeypatch):
    sealer, client = sealing(bao, tmp_path, monkeypatch)
    first = content(0, case="c-1")
    sealer.seal([first])
    before = trips(bao)
    for number in range(1, 20):
        sealer.seal([content(number, case="c-1")])
    assert trips(bao) == before
    _, opened = sealer.open(first.event_id, "request")
    assert opened.content == first.data
    assert trips(bao) == before + 1  # the keys of subject and case in one batch, and never from memory
    client.close()


def test_what_is_remembered_is_bounded_in_number_uses_and_age(bao, tmp_path, monkeypatch):
    for name, bounds in {
        "uses": {"remember_uses": 3},
        "keys": {"remember_keys": 1},
        "age": {"remember_seconds": 0.0},
    }.items():
        sealer, client = sealing(bao, tmp_path / name, monkeypatch, **bounds)
        sealer.seal([content(0)])
        sealer.seal([content(1, "grace")])
        before = trips(bao)
        for number in range(2, 8):
            sealer.seal([content(number, ("ada", "grace")[number % 2])])
        assert trips(bao) - before >= 2, name
        client.close()


def test_another_context_does_not_open_and_a_sealed_vault_is_no_broken_seal(bao, tmp_path, monkeypatch):
    sealer, client = sealing(bao, tmp_path, monkeypatch)
    wrapper = sealer._wrapper
    wrapped = wrapper.wrap(b"k" * 32, b"one")
    assert wrapper.unwrap(wrapped, b"one") == b"k" * 32
    for broken, context in ((wrapped, b"two"), (wrapped[:-4] + b"AAAA", b"one"), (b"\x01" + wrapped[1:], b"one")):
        with pytest.raises(SealBrokenError):
            wrapper.unwrap(broken, context)
    item = content(0)
    sealer.seal([item])
    bao.seal()
    with pytest.raises(SealingUnavailableError, match="sealed"):
        sealer.open(item.event_id, "request")
    bao.unseal()
    assert sealer.open(item.event_id, "request")[1].content == item.data
    client.close()
