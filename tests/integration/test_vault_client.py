"""The client of Vault against a real OpenBao: every login, the engines, addresses in turn, and servers that are none."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hvac
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.config.vault import Vault, VaultMount
from gateway.secrets.fetched import SecretSourceError
from gateway.secrets.reference_store import ReferenceStore
from gateway.secrets.store import Secret
from gateway.secrets.vault.client import VaultClient
from gateway.secrets.vault.places import parse_place
from tests.support.certificates import CertificateAuthority, Leaf
from tests.support.openbao import OpenBao
from tests.support.running_gateway import free_port
from tests.support.token_review import token_review

GATEWAY = "spiffe://example.org/gateway"
CANARY = "canary-client-8b1c"
MOUNTS = [{"path": "secret"}, {"path": "old", "engine": "kv-v1"}, {"path": "pki", "engine": "pki"}]
READS = """
path "secret/data/model" { capabilities = ["read"] }
path "old/model" { capabilities = ["read"] }
path "pki/issue/client" { capabilities = ["update"] }
"""


class Shown:
    """What a test lets a login show."""

    def __init__(self, leaf: Leaf | None = None) -> None:
        self.leaf = leaf
        self.logins = 0

    def jwt_svid(self, audience: str) -> str:
        raise SecretSourceError("none here", "secret_unavailable")

    def x509_svid(self) -> tuple[bytes, bytes]:
        self.logins += 1
        assert self.leaf is not None
        return self.leaf.chain_pem, self.leaf.key_pem

    def read(self, reference: str) -> Secret:
        self.logins += 1
        return ReferenceStore().read(reference)


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with OpenBao(tmp_path_factory.mktemp("openbao") / "bao") as server:
        server.enable_kv()
        server.enable_kv("old", 1)
        server.pki()
        server.policy("model", READS)
        server.put("model", key=f"{CANARY}-1")
        server.put("model", key=f"{CANARY}-2")
        server.put("model", mount="old", key=f"{CANARY}-old")
        yield server


def settings(bao: OpenBao, login: dict[str, Any], **more: Any) -> Vault:
    base = {"addresses": [bao.address], "ca_file": bao.ca_file, "timeout_seconds": 2, "mounts": MOUNTS}
    return Vault.model_validate({**base, "login": login, **more})


def by_token(bao: OpenBao, monkeypatch: pytest.MonkeyPatch, ttl: str = "10m", **more: Any) -> tuple[Vault, Shown]:
    monkeypatch.setenv("GOVGATEWAY_TEST_VAULT_TOKEN", bao.token(["model"], ttl))
    return settings(bao, {"method": "token", "token": "env:GOVGATEWAY_TEST_VAULT_TOKEN"}, **more), Shown()


def value(client: VaultClient, reference: str = "vault://secret/model") -> bytes:
    mounts = [VaultMount.model_validate(mount) for mount in MOUNTS]
    return client.read(parse_place(reference, mounts)).fields["key"].reveal()


def refusal(client: VaultClient, reference: str = "vault://secret/model") -> SecretSourceError:
    with pytest.raises(SecretSourceError) as caught:
        value(client, reference)
    assert CANARY not in str(caught.value)
    return caught.value


def test_the_engines_give_latest_pinned_and_unversioned_values(bao, monkeypatch):
    client = VaultClient(*by_token(bao, monkeypatch))
    assert value(client) == f"{CANARY}-2".encode()
    assert value(client, "vault://secret/model?version=1") == f"{CANARY}-1".encode()
    assert value(client, "vault://old/model") == f"{CANARY}-old".encode()
    fetched = client.read(parse_place("vault://secret/model", [VaultMount(path="secret")]))
    assert (fetched.version, fetched.lifetime_seconds, fetched.lease_id) == (2, None, "")
    assert abs((fetched.since or 0) - time.time()) < 120
    assert refusal(client, "vault://secret/other").code == "secret_denied"
    client.close()


def test_a_certificate_for_an_upstream_is_issued_with_its_chain(bao, monkeypatch):
    client = VaultClient(*by_token(bao, monkeypatch))
    place = parse_place(
        "vault://pki/issue/client?uri_sans=spiffe://example.org/gateway&ttl=10m",
        [VaultMount(path="pki", engine="pki")],
    )
    issued = client.read(place)
    assert issued.fields["chain"].reveal().count(b"BEGIN CERTIFICATE") == 2
    assert b"PRIVATE KEY" in issued.fields["private_key"].reveal()
    assert 500 < (issued.lifetime_seconds or 0) <= 600
    client.close()


def test_login_by_certificate(bao):
    now = int(time.time())
    root = CertificateAuthority.root("example.org", now=now)
    bao.cert_role("gateway", root.certificate.public_bytes(Encoding.PEM).decode(), GATEWAY, ["model"])
    client = VaultClient(
        settings(bao, {"method": "cert", "role": "gateway"}),
        Shown(root.issue(GATEWAY, not_before=now - 60, not_after=now + 600)),
    )
    assert value(client) == f"{CANARY}-2".encode()
    client.close()
    other = VaultClient(
        settings(bao, {"method": "cert"}),
        Shown(root.issue("spiffe://example.org/agent/x", not_before=now - 60, not_after=now + 600)),
    )
    assert refusal(other).code == "secret_denied"


def test_login_by_approle(bao, monkeypatch):
    role_id, secret_id = bao.approle("gateway", ["model"])
    monkeypatch.setenv("GOVGATEWAY_TEST_ROLE", role_id)
    monkeypatch.setenv("GOVGATEWAY_TEST_SECRET_ID", secret_id)
    login = {"method": "approle", "role_id": "env:GOVGATEWAY_TEST_ROLE", "secret_id": "env:GOVGATEWAY_TEST_SECRET_ID"}
    client = VaultClient(settings(bao, login), Shown())
    assert value(client) == f"{CANARY}-2".encode()
    client.close()
    monkeypatch.setenv("GOVGATEWAY_TEST_SECRET_ID", "wrong")
    assert refusal(VaultClient(settings(bao, login), Shown())).code == "secret_denied"
    monkeypatch.delenv("GOVGATEWAY_TEST_SECRET_ID")
    assert "GOVGATEWAY_TEST_SECRET_ID" in str(refusal(VaultClient(settings(bao, login), Shown())))


def test_login_by_a_pods_token(bao, tmp_path):
    with token_review(tmp_path) as api:
        bao.kubernetes_role("gateway", api, "ai", "govgateway", ["model"])
        file = tmp_path / "token"
        file.write_text(api.token("ai", "govgateway", ["openbao"]))
        file.chmod(0o644)  # as Kubernetes mounts it
        login = {"method": "kubernetes", "role": "gateway", "token_file": file}
        client = VaultClient(settings(bao, login), Shown())
        assert value(client) == f"{CANARY}-2".encode()
        client.close()
        assert refusal(VaultClient(settings(bao, {**login, "role": "other"}), Shown())).code == "secret_denied"
        missing = VaultClient(settings(bao, {**login, "token_file": tmp_path / "none"}), Shown())
        assert "token_file" in refusal(missing).remedy


def test_a_token_is_renewed_and_its_end_brings_another_login(bao, monkeypatch):
    role_id, secret_id = bao.approle("short", ["model"], "6s")
    monkeypatch.setenv("GOVGATEWAY_TEST_ROLE", role_id)
    monkeypatch.setenv("GOVGATEWAY_TEST_SECRET_ID", secret_id)
    login = {"method": "approle", "role_id": "env:GOVGATEWAY_TEST_ROLE", "secret_id": "env:GOVGATEWAY_TEST_SECRET_ID"}
    now = [1000.0]
    client = VaultClient(settings(bao, login), Shown(), clock=lambda: now[0])
    value(client)
    now[0] += 5  # past two thirds: the renewal gives no more than the rest of its longest life
    value(client)
    assert client.logins <= 2
    now[0] += 7
    assert value(client) == f"{CANARY}-2".encode()
    assert client.logins >= 2
    client.close()


def test_a_token_that_was_revoked_brings_another_login_at_once(bao, monkeypatch):
    role_id, secret_id = bao.approle("again", ["model"])
    monkeypatch.setenv("GOVGATEWAY_TEST_ROLE", role_id)
    monkeypatch.setenv("GOVGATEWAY_TEST_SECRET_ID", secret_id)
    login = {"method": "approle", "role_id": "env:GOVGATEWAY_TEST_ROLE", "secret_id": "env:GOVGATEWAY_TEST_SECRET_ID"}
    client = VaultClient(settings(bao, login), Shown())
    value(client)
    bao.root.sys.revoke_prefix("auth/approle/login")
    time.sleep(0.01)
    assert value(client) == f"{CANARY}-2".encode()
    assert client.logins == 2
    client.close()


def test_addresses_are_tried_in_turn_and_the_one_that_serves_stays_first(bao, monkeypatch):
    dead = f"https://127.0.0.1:{free_port()}"
    made, shown = by_token(bao, monkeypatch, addresses=[dead, bao.address])
    client = VaultClient(made, shown)
    assert value(client) == f"{CANARY}-2".encode()
    assert client.address == bao.address
    health = client.health()
    assert "cannot be reached" in health[dead]["error"]
    assert health[bao.address]["sealed"] is False
    client.close()


def test_a_namespace_is_asked_in(bao, monkeypatch):
    bao.root.write_data("sys/namespaces/team", data={})
    session = bao.root.adapter.session
    inside = hvac.Client(bao.address, bao.root_token, session=session, namespace="team", allow_redirects=False)
    inside.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
    inside.sys.create_or_update_policy("model", READS)
    until = time.monotonic() + 30
    while True:  # the engine upgrades itself first
        try:
            inside.write_data("secret/data/model", data={"data": {"key": "of-the-team"}})
            break
        except hvac.exceptions.VaultError:
            assert time.monotonic() < until
            time.sleep(0.05)
    token = inside.auth.token.create(policies=["model"], ttl="10m")["auth"]["client_token"]
    monkeypatch.setenv("GOVGATEWAY_TEST_VAULT_TOKEN", token)
    login = {"method": "token", "token": "env:GOVGATEWAY_TEST_VAULT_TOKEN"}
    assert value(VaultClient(settings(bao, login, namespace="team"), Shown())) == b"of-the-team"
    made, shown = by_token(bao, monkeypatch, namespace="nowhere")
    assert refusal(VaultClient(made, shown)).code in {"secret_missing", "secret_denied"}


def test_a_sealed_a_silent_and_an_untrusted_server_are_told_apart(bao, monkeypatch, tmp_path):
    made, shown = by_token(bao, monkeypatch)
    client = VaultClient(made, shown)
    value(client)
    bao.seal()
    assert "sealed" in str(refusal(client))
    bao.unseal()
    assert value(client) == f"{CANARY}-2".encode()
    bao.pause()
    try:
        silent = refusal(client)
    finally:
        bao.resume()
    assert silent.code == "secret_unavailable"
    assert "did not answer in time" in str(silent)
    other = CertificateAuthority.root("b.test", now=int(time.time()), uri="")
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(other.certificate.public_bytes(Encoding.PEM))
    untrusted = refusal(VaultClient(made.model_copy(update={"ca_file": wrong}), shown))
    assert "certificate is not trusted" in str(untrusted)
    missing = refusal(VaultClient(made.model_copy(update={"ca_file": tmp_path / "none.pem"}), shown))
    assert "secrets.vault.ca_file" in str(missing)
    client.close()


class Impostor:
    """A server that is no Vault; answers as a test says, and remembers the tokens that it was shown."""

    def __init__(self, answer: Callable[[str], tuple[int, dict[str, str], bytes]]) -> None:
        self.tokens: list[str] = []
        impostor = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                impostor.tokens.append(self.headers.get("x-vault-token", ""))
                self.rfile.read(int(self.headers.get("content-length", "0")))
                status, headers, body = answer(self.path)
                self.send_response(status)
                for name, header in headers.items():
                    self.send_header(name, header)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = answer  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "Impostor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


TOKEN = {"data": {"ttl": 600, "renewable": False}}


@pytest.mark.parametrize(
    ("document", "code", "said"),
    [
        pytest.param(b"<html>", "secret_unavailable", "something else than JSON", id="a page"),
        pytest.param(b"[]", "secret_unusable", "something else than JSON", id="a list"),
        pytest.param(b"{}", "secret_unusable", "without data", id="nothing"),
        pytest.param(b'{"data": {"key": "x"}}', "secret_unusable", "no KV version 2", id="another engine"),
        pytest.param(b" " * 5_000_000, "secret_unusable", "larger than", id="5 MB"),
    ],
)
def test_garbage_is_no_secret(monkeypatch, document, code, said):
    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, json.dumps(TOKEN).encode() if "lookup-self" in path else document

    monkeypatch.setenv("GOVGATEWAY_TEST_VAULT_TOKEN", "t")
    with Impostor(answer) as impostor:
        login = {"method": "token", "token": "env:GOVGATEWAY_TEST_VAULT_TOKEN"}
        client = VaultClient(Vault.model_validate({"addresses": [impostor.address], "login": login}), Shown())
        found = refusal(client)
    assert (found.code, said in str(found)) == (code, True), str(found)


def test_a_redirect_is_refused_and_the_token_goes_nowhere_else(monkeypatch):
    monkeypatch.setenv("GOVGATEWAY_TEST_VAULT_TOKEN", "t")
    login = {"method": "token", "token": "env:GOVGATEWAY_TEST_VAULT_TOKEN"}
    with Impostor(lambda _path: (200, {}, b"{}")) as target:

        def answer(path: str) -> tuple[int, dict[str, str], bytes]:
            if "lookup-self" in path:
                return 200, {}, json.dumps(TOKEN).encode()
            return 307, {"location": f"{target.address}{path}"}, b""

        with Impostor(answer) as impostor:
            client = VaultClient(Vault.model_validate({"addresses": [impostor.address], "login": login}), Shown())
            assert "redirects to" in str(refusal(client))
    assert target.tokens == []


def test_an_answer_that_never_ends_is_cut(monkeypatch):
    monkeypatch.setenv("GOVGATEWAY_TEST_VAULT_TOKEN", "t")
    login = {"method": "token", "token": "env:GOVGATEWAY_TEST_VAULT_TOKEN"}
    times = iter(range(0, 10**6, 3))

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, json.dumps(TOKEN).encode() if "lookup-self" in path else b" " * 500_000

    monkeypatch.setattr("gateway.secrets.vault.transport.time.monotonic", lambda: float(next(times)))
    with Impostor(answer) as impostor:
        vault = Vault.model_validate({"addresses": [impostor.address], "login": login, "timeout_seconds": 4})
        assert refusal(VaultClient(vault, Shown())).code == "secret_unavailable"


def test_what_the_environment_says_of_vault_is_not_heeded(bao, monkeypatch, tmp_path: Path):
    for name, value_ in {
        "VAULT_ADDR": "https://127.0.0.1:1", "VAULT_TOKEN": "x", "VAULT_CACERT": "/nowhere", "VAULT_NAMESPACE": "n",
        "HTTPS_PROXY": "http://127.0.0.1:1", "REQUESTS_CA_BUNDLE": "/nowhere", "HOME": str(tmp_path),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value_)
    (tmp_path / ".vault-token").write_text("x")
    client = VaultClient(*by_token(bao, monkeypatch))
    assert value(client) == f"{CANARY}-2".encode()
    client.close()


def test_no_value_is_in_openbaos_own_audit_log_nor_the_gateways_errors(bao):
    assert CANARY not in bao.audit_log.read_text()
