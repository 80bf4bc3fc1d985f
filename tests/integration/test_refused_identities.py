"""Identities that a running gateway refuses: each by its rule, with a record where an identity was proven."""

import contextlib
import json
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.app import open_authority
from gateway.config import load_config
from tests.support.calls import chat, eventually, metric, plain, recorded
from tests.support.certificates import CertificateAuthority, Leaf, key_usage
from tests.support.running_gateway import TRUST_DOMAIN, AgentFiles, RunningGateway, govctl

MODEL = "example-chat"
PARTNER = "partner.test"
HOUR = 3600
CALLER = f"spiffe://{TRUST_DOMAIN}/agent/caller"


@dataclass
class Domain:
    """A gateway, the authority that signs for its trust domain, and a federated one."""

    gateway: RunningGateway
    own: CertificateAuthority
    partner: CertificateAuthority

    def leaf(self, *uris: str, authority: CertificateAuthority | None = None, **broken: Any) -> Leaf:
        """Return a leaf signed by the gateway's own authority that breaks what `broken` says."""
        now = int(time.time())
        span = {"not_before": now - 60, "not_after": now + HOUR} | broken
        return (authority or self.own).issue(*(uris or (CALLER,)), **span)


@pytest.fixture(scope="module")
def domain(example_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Domain]:
    directory = tmp_path_factory.mktemp("refused")
    now = int(time.time())
    partner = CertificateAuthority.root(PARTNER, now=now)
    (directory / "partner.jwks").write_bytes(partner.bundle(PARTNER).to_jwks())
    running = RunningGateway(directory / "home", example_backend, [MODEL])
    running.edit_config(
        {"identity": {"federated": [{"trust_domain": PARTNER, "file": str(directory / "partner.jwks")}]}}
    )
    own = signing_authority(running)
    running.register("agent/caller")
    running.start()
    yield Domain(running, own, partner)
    assert running.stop() == 0


def signing_authority(gateway: RunningGateway) -> CertificateAuthority:
    """Return the gateway's own signing authority, as somebody who holds its key would have it."""
    authority = open_authority(load_config(gateway.config_path))
    return CertificateAuthority.self_made(authority._signer.certificate, authority._signer.signing_key)


@contextlib.contextmanager
def calling(gateway: RunningGateway, leaf: Leaf | None, directory: Path) -> Iterator[httpx.Client]:
    """Yield a client that presents `leaf`, or nothing."""
    context = ssl.create_default_context(cafile=str(gateway.directory / "agent-caller" / "bundle.pem"))
    if leaf is not None:
        context.load_cert_chain(*leaf.files(directory))
    with httpx.Client(
        base_url=f"https://localhost:{gateway.port}", verify=context, trust_env=False, timeout=15
    ) as client:
        yield client


Broken = Callable[[Domain], Leaf]

ANSWERED: list[tuple[str, Broken]] = [
    ("leaf-two-uri-sans", lambda d: d.leaf(CALLER, f"spiffe://{TRUST_DOMAIN}/agent/other")),
    ("leaf-no-uri-san", lambda d: d.leaf(san=False)),
    ("leaf-no-uri-san", lambda d: d.own.issue(dns=["localhost"], not_before=0, not_after=int(time.time()) + HOUR)),
    ("leaf-root-path", lambda d: d.leaf(f"spiffe://{TRUST_DOMAIN}")),
    ("leaf-not-a-spiffe-id", lambda d: d.leaf("https://gateway.test/agent/caller")),
    ("leaf-key-cert-sign", lambda d: d.leaf(usage=key_usage("digital_signature", "key_cert_sign"))),
    ("leaf-crl-sign", lambda d: d.leaf(usage=key_usage("digital_signature", "crl_sign"))),
    ("leaf-digital-signature-missing", lambda d: d.leaf(usage=key_usage("key_agreement"))),
    ("leaf-key-usage-missing", lambda d: d.leaf(usage_present=False)),
    ("leaf-key-usage-not-critical", lambda d: d.leaf(usage_critical=False)),
    ("leaf-extended-key-usage", lambda d: d.leaf(extended=[ExtendedKeyUsageOID.CLIENT_AUTH])),
    ("chain-not-trusted", lambda d: d.leaf(authority=d.partner)),
    ("trust-domain-unknown", lambda d: d.leaf("spiffe://nobody.test/agent/caller")),
]


@pytest.mark.parametrize(("rule", "broken"), ANSWERED, ids=[f"{i}-{rule}" for i, (rule, _) in enumerate(ANSWERED)])
def test_a_leaf_that_breaks_a_rule_gets_a_401_that_names_it(domain, tmp_path, rule, broken):
    counted = f'govgateway_handshake_failures_total{{rule="{rule}"}}'
    before = metric(domain.gateway, counted)
    with calling(domain.gateway, broken(domain), tmp_path) as client:
        answer = client.post("/v1/chat/completions", json=chat(MODEL))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, rule)
    eventually("it is counted", lambda: metric(domain.gateway, counted) == before + 1)


def signing_leaf(domain: Domain) -> Leaf:
    """A certificate of the domain's authority that may itself sign."""
    return domain.leaf(ca=True, usage=key_usage("digital_signature", "key_cert_sign"))


CUT: list[tuple[str, Broken | None]] = [
    ("no-certificate", None),
    ("certificate-expired", lambda d: d.leaf(not_before=1_600_000_000, not_after=int(time.time()) - 1)),
    ("certificate-not-yet-valid", lambda d: d.leaf(not_before=int(time.time()) + 600)),
    ("self-signed", lambda d: d.leaf(self_signed=True)),
    (
        "unknown-authority",
        lambda d: d.leaf(authority=CertificateAuthority.root(TRUST_DOMAIN, now=int(time.time()))),
    ),
    ("certificate-purpose", lambda d: Leaf(d.own.certificate, d.own.key)),
    ("certificate-purpose", lambda d: d.leaf(extended=[ExtendedKeyUsageOID.SERVER_AUTH])),
]


@pytest.mark.parametrize(("rule", "broken"), CUT, ids=[f"{i}-{rule}" for i, (rule, _) in enumerate(CUT)])
def test_what_openssl_refuses_is_cut_in_the_handshake_and_counted_by_its_rule(domain, tmp_path, rule, broken):
    counted = f'govgateway_handshake_failures_total{{rule="{rule}"}}'
    before = metric(domain.gateway, counted)
    leaf = broken(domain) if broken is not None else None
    with calling(domain.gateway, leaf, tmp_path) as client, pytest.raises((httpx.ReadError, httpx.ConnectError)):
        client.post("/v1/chat/completions", json=chat(MODEL))
    eventually("it is counted", lambda: metric(domain.gateway, counted) == before + 1)


def test_a_signing_certificate_is_never_a_peer(domain, tmp_path):
    with calling(domain.gateway, signing_leaf(domain), tmp_path) as client:
        answer = client.post("/v1/chat/completions", json=chat(MODEL))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "leaf-is-ca")


def test_tls_1_2_is_refused(domain, tmp_path):
    counted = 'govgateway_handshake_failures_total{rule="tls-version"}'
    before = metric(domain.gateway, counted)
    files = AgentFiles(CALLER, domain.gateway.directory / "agent-caller")
    context = files.tls()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.ConnectError), httpx.Client(verify=context, trust_env=False) as client:
        client.get(f"https://localhost:{domain.gateway.port}/v1/models")
    eventually("it is counted", lambda: metric(domain.gateway, counted) == before + 1)


def test_an_identity_that_nobody_registered_is_refused_and_recorded(domain, tmp_path):
    stranger = f"spiffe://{TRUST_DOMAIN}/agent/stranger"
    with calling(domain.gateway, domain.leaf(stranger), tmp_path) as client:
        answer = client.post("/v1/chat/completions", json=chat(MODEL))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "identity-unregistered")
    denied = recorded(domain.gateway, "access.denied", principal=stranger)
    assert denied["reasons"] == ["identity-unregistered"]


def test_a_member_of_a_federated_domain_is_known_but_not_registered(domain, tmp_path):
    partner = f"spiffe://{PARTNER}/agent/a"
    with calling(domain.gateway, domain.leaf(partner, authority=domain.partner), tmp_path) as client:
        answer = client.post("/v1/chat/completions", json=chat(MODEL))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "identity-unregistered")
    recorded(domain.gateway, "access.denied", principal=partner)


def ask(client: httpx.Client) -> tuple[int, str, int]:
    """Ask for the models; return status, code of the refusal, and the client's port of the connection."""
    with client.stream("GET", "/v1/models") as answer:
        port = int(answer.extensions["network_stream"].get_extra_info("client_addr")[1])
        answer.read()
        code = "" if answer.status_code == 200 else answer.json()["error"]["code"]
        return answer.status_code, code, port


def test_a_revoked_serial_is_refused_on_the_connection_that_is_open_within_a_second(domain):
    agent = domain.gateway.register("agent/revoked")
    shown = json.loads(govctl(domain.gateway.directory, "agent", "show", agent.id, "--json").stdout)
    serial = shown["svids"][0]["serial"]
    with plain(domain.gateway, agent) as client:
        status, _, port = ask(client)
        assert status == 200
        govctl(domain.gateway.directory, "agent", "revoke", serial, "--reason", "a test")
        changed = time.monotonic()
        while (answer := ask(client))[0] == 200 and time.monotonic() < changed + 1:
            time.sleep(0.02)
        assert answer == (401, "certificate-revoked", port)
    denied = recorded(domain.gateway, "access.denied", principal=agent.id)
    assert denied["reasons"] == ["certificate-revoked"]
    assert denied["peer"]["serial"] == serial


def test_a_leaf_that_expires_is_refused_on_the_connection_that_is_open(domain, tmp_path):
    not_after = int(time.time()) + 3
    with calling(domain.gateway, domain.leaf(not_after=not_after), tmp_path) as client:
        status, _, port = ask(client)
        assert status == 200
        while (answer := ask(client))[0] == 200 and time.time() < not_after + 2:
            time.sleep(0.02)
        assert answer == (401, "leaf-expired", port)
        assert time.time() >= not_after
    denied = recorded(domain.gateway, "access.denied", principal=CALLER)
    assert denied["reasons"] == ["leaf-expired"]


def test_a_leaf_of_the_own_authority_made_by_the_tests_is_accepted(domain, tmp_path):
    """The refusals above are worth nothing if these leaves were refused for another reason."""
    with calling(domain.gateway, domain.leaf(), tmp_path) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
