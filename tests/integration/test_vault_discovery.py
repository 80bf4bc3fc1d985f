"""OpenBao learns the gateway's keys from its discovery document, and follows them when they are rotated."""

import json
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hvac.exceptions import Forbidden, InvalidRequest

from tests.support.calls import chat, eventually, plain
from tests.support.certificates import CertificateAuthority
from tests.support.faulty_backend import FaultyBackend
from tests.support.https_server import loopback_leaf
from tests.support.openbao import OpenBao
from tests.support.running_gateway import RunningGateway, free_port, govctl

MODEL = "example-chat"
RULES = 'path "secret/data/*" { capabilities = ["read"] }'


def written(bao: OpenBao, config: dict[str, str]) -> bool:
    """Whether OpenBao takes the configuration, for which it asks the endpoint."""
    try:
        bao.root.write_data("auth/jwt/config", data=config)
    except InvalidRequest:
        return False
    return True


def test_login_by_the_discovery_document_survives_a_rotation_of_the_keys(tmp_path: Path) -> None:
    now = int(time.time())
    root = CertificateAuthority.root("web.test", now=now, uri="")
    ca_pem = root.certificate.public_bytes(Encoding.PEM).decode()
    with OpenBao(tmp_path / "bao") as bao, FaultyBackend() as backend:
        bao.enable_kv()
        bao.policy("gateway", RULES)
        bao.put("vllm", key="sk-one")
        bao.put("late", key="sk-late")
        gateway = RunningGateway(tmp_path / "home", backend.url, [MODEL])
        chain, key = loopback_leaf(root, now, "localhost").files(gateway.directory)
        port = free_port()
        issuer = f"https://localhost:{port}"
        gateway.edit_config(
            {
                "identity": {
                    "endpoint": {
                        "enabled": True, "port": port, "cert_file": str(chain), "key_file": str(key), "issuer": issuer,
                    }
                },
                "secrets": {
                    "vault": {
                        "addresses": [bao.address], "ca_file": str(bao.ca_file),
                        "login": {"method": "jwt", "role": "gateway"}, "refresh_seconds": 1,
                    }
                },
                "backends": [{"name": "default", "url": backend.url, "credential": "vault://secret/vllm#key"}],
            }
        )  # fmt: skip
        gateway.start(wait=False)  # it is not ready before Vault lets it in
        try:
            bao.root.sys.enable_auth_method("jwt")
            config = {"oidc_discovery_url": issuer, "oidc_discovery_ca_pem": ca_pem, "bound_issuer": issuer}
            eventually("Vault reads the discovery document", lambda: written(bao, config), 30)
            role = {
                "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"],
                "bound_subject": f"spiffe://{gateway.trust_domain}/gateway", "token_policies": ["gateway"],
                "token_ttl": "1m",
            }  # fmt: skip
            bao.root.write_data("auth/jwt/role/gateway", data=role)
            gateway.wait_ready()
            agent = gateway.register("agent/caller")

            def call() -> bool:
                with plain(gateway, agent) as client:
                    return client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200

            eventually("the first login", call, 30)
            govctl(gateway.directory, "authority", "jwt", "prepare", "--reason", "a test")
            govctl(gateway.directory, "authority", "jwt", "activate", "--reason", "a test")
            bao.root.sys.revoke_prefix("auth/jwt/login")  # the next fetch needs another login, with the new key
            reference = "vault://secret/late#key"
            gateway.edit_config({"backends": [{"name": "default", "url": backend.url, "credential": reference}]})
            govctl(gateway.directory, "reload")
            eventually("a login with the new key", call, 30)
            sent = {value for name, value in backend.requests[-1].headers if name == "authorization"}
            assert sent == {"Bearer sk-late"}
            printed = govctl(gateway.directory, "secret", "doctor", "--print-setup").stdout
            assert f"oidc_discovery_url={issuer}" in printed
            assert json.loads(govctl(gateway.directory, "secret", "doctor", "--json").stdout)
        finally:
            gateway.end()


def test_login_by_the_gateways_own_svid_and_by_nobody_elses(tmp_path: Path) -> None:
    with OpenBao(tmp_path / "bao") as bao, FaultyBackend() as backend:
        bao.enable_kv()
        bao.policy("gateway", RULES)
        bao.put("vllm", key="sk-one")
        gateway = RunningGateway(tmp_path / "home", backend.url, [MODEL])
        gateway.edit_config(
            {
                "secrets": {
                    "vault": {
                        "addresses": [bao.address],
                        "ca_file": str(bao.ca_file),
                        "login": {"method": "cert", "role": "gateway"},
                        "refresh_seconds": 1,
                    }
                },
                "backends": [{"name": "default", "url": backend.url, "credential": "vault://secret/vllm#key"}],
            }
        )
        agent = gateway.register("agent/caller")
        roots = (agent.directory / "bundle.pem").read_text()
        bao.cert_role("gateway", roots, f"spiffe://{gateway.trust_domain}/gateway", ["gateway"])
        gateway.start()
        try:
            with plain(gateway, agent) as client:
                assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
            assert ("authorization", "Bearer sk-one") in backend.requests[-1].headers
            found = json.loads(govctl(gateway.directory, "secret", "doctor", "--json").stdout)
            assert ("login", "pass") in {(each["step"], each["state"]) for each in found}
            # An agent's SVID is of the same authority, and opens nothing.
            other = bao.client(cert=(agent.directory / "svid.pem", agent.directory / "svid.key"))
            with pytest.raises((InvalidRequest, Forbidden)):
                other.write_data("auth/cert/login", data={"name": "gateway"})
        finally:
            gateway.end()
