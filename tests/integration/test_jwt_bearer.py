"""JWT-SVIDs as bearer tokens, and chains of delegation, through a running gateway with the real clients."""

import contextlib
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import openai
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from openai import DefaultHttpxClient, OpenAI

from gateway.app import open_authority
from gateway.config import load_config
from tests.support.calls import chat, eventually, outcome, plain, recorded, records
from tests.support.oidc_issuer import OidcIssuer, oidc_issuer
from tests.support.running_gateway import TRUST_DOMAIN, AgentFiles, RunningGateway, govctl

MODEL = "example-chat"
GATEWAY = f"spiffe://{TRUST_DOMAIN}/gateway"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
BINDINGS = """
team:research: [chat-user, delegate]
team:narrow: [delegate]
team:platform: [platform-admin]
"""


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcIssuer]:
    """The identity provider of people."""
    with oidc_issuer(tmp_path_factory.mktemp("people")) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def home(
    example_backend: str, people: OidcIssuer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    running = RunningGateway(tmp_path_factory.mktemp("bearer") / "home", example_backend, [MODEL, "example-other"])
    running.edit_config(
        {
            "identity": {
                "jwt_bearer": {"routes": ["/v1/chat/*"], "leeway_seconds": 0},
                "delegation": {
                    "enabled": True,
                    "max_depth": 2,
                    "persons": [
                        {
                            "name": "corp",
                            "url": people.url,
                            "audience": GATEWAY,
                            "algorithms": ["ES256"],
                            "ca_file": str(people.ca_file),
                            "claim": "email",
                        }
                    ],
                },
            }
        }
    )
    (running.directory / "policies" / "govgateway" / "bindings" / "data.yaml").write_text(BINDINGS)
    running.start(workers=2)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def agent(home: RunningGateway) -> AgentFiles:
    return home.register("agent/bearer")


def token_of(home: RunningGateway, identity: str, *, audience: str = GATEWAY, ttl: int = 300) -> str:
    return govctl(home.directory, "svid", "jwt", identity, "--audience", audience, "--ttl", str(ttl)).stdout.strip()


def crafted(home: RunningGateway, *, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:
    """Return a token signed with the trust domain's own key, with claims that no authority would issue."""
    signer = open_authority(load_config(home.config_path))._signer
    now = int(time.time())
    body = {"sub": f"spiffe://{TRUST_DOMAIN}/agent/bearer", "aud": [GATEWAY], "iat": now, "exp": now + 60} | claims
    shown = {"kid": signer.jwt.authority_id} | (header or {})
    return jwt.encode(
        {name: value for name, value in body.items() if value is not None},
        key or signer.jwt_key,
        algorithm=(header or {}).get("alg", "ES256"),
        headers={name: value for name, value in shown.items() if value is not None},
    )


@contextlib.contextmanager
def without_certificate(home: RunningGateway, agent: AgentFiles, **options: Any) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=str(agent.directory / "bundle.pem"))
    with httpx.Client(
        base_url=f"https://localhost:{home.port}", verify=context, trust_env=False, timeout=15, **options
    ) as client:
        yield client


def ask(client: httpx.Client, token: str | None, path: str = "/v1/chat/completions") -> tuple[int, str]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    answer = client.post(path, json=chat(MODEL), headers=headers)
    return answer.status_code, "" if answer.status_code == 200 else answer.json()["error"]["code"]


def test_the_sdk_calls_with_a_token_alone_and_the_record_says_so(home, agent):
    context = ssl.create_default_context(cafile=str(agent.directory / "bundle.pem"))
    token = token_of(home, agent.id)
    with OpenAI(
        base_url=home.base_url, api_key=token, max_retries=0,
        http_client=DefaultHttpxClient(verify=context, trust_env=False),
    ) as client:  # fmt: skip
        answer = client.chat.completions.create(model=MODEL, messages=chat()["messages"], max_tokens=8)
        assert answer.choices[0].message.content
    intent = recorded(home, "access.intent", principal=agent.id)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert intent["token"]["jti"] == claims["jti"]
    assert intent["peer"]["serial"] == claims["jti"]
    assert outcome(home, intent["event_id"])["result"] == "completed"


def test_a_kept_alive_connection_proves_each_request_anew(home, agent):
    with without_certificate(home, agent) as client:
        token = token_of(home, agent.id)
        assert ask(client, token) == (200, "")
        assert ask(client, None) == (401, "no-certificate")
        assert ask(client, token) == (200, "")


@pytest.mark.parametrize(
    ("claims", "header", "rule"),
    [
        ({"aud": ["spiffe://gateway.test/other"]}, {}, "jwt-audience"),
        ({"aud": []}, {}, "jwt-audience"),
        ({"exp": 1_700_000_000, "iat": 1_699_999_999}, {}, "jwt-expired"),
        ({"exp": None}, {}, "jwt-expiry-missing"),
        ({"iat": None}, {}, "jwt-lifetime"),
        ({"exp": int(time.time()) + 4000}, {}, "jwt-lifetime"),
        ({"nbf": int(time.time()) + 600}, {}, "jwt-not-yet-valid"),
        ({"sub": "spiffe://gateway.test"}, {}, "jwt-subject"),
        ({"sub": "spiffe://nobody.test/a"}, {}, "trust-domain-unknown"),
        ({}, {"kid": None}, "jwt-key-id-missing"),
        ({}, {"kid": "unknown"}, "jwt-key-unknown"),
        ({"cnf": {"x5t#S256": "A" * 43}}, {}, "jwt-binding"),
        ({"cnf": {"jkt": "A" * 43}}, {}, "jwt-binding"),
        ({"act": {"sub": "spiffe://gateway.test/agent/bearer"}}, {}, "delegation-cycle"),
        ({"act": "spiffe://gateway.test/agent/x"}, {}, "delegation-malformed"),
        ({"act": {"sub": "somebody"}}, {}, "delegation-malformed"),
    ],
)
def test_a_token_that_breaks_a_rule_gets_a_401_that_names_it(home, agent, claims, header, rule):
    with without_certificate(home, agent) as client:
        assert ask(client, crafted(home, header=header, **claims)) == (401, rule)


def test_unsigned_and_symmetric_tokens_and_those_of_other_keys_are_refused(home, agent):
    now = int(time.time())
    body = {"sub": agent.id, "aud": [GATEWAY], "iat": now, "exp": now + 60}
    signer = open_authority(load_config(home.config_path))._signer
    kid = {"kid": signer.jwt.authority_id}
    with without_certificate(home, agent) as client:
        assert ask(client, jwt.encode(body, None, algorithm="none", headers=kid)) == (401, "jwt-algorithm")
        secret = "s" * 32
        assert ask(client, jwt.encode(body, secret, algorithm="HS256", headers=kid)) == (401, "jwt-algorithm")
        assert ask(client, crafted(home, key=ec.generate_private_key(ec.SECP256R1()))) == (401, "jwt-signature")


def test_routes_that_are_not_configured_take_no_token(home, agent):
    with without_certificate(home, agent) as client:
        assert ask(client, token_of(home, agent.id), "/v1/completions") == (401, "jwt-not-accepted")
        assert ask(client, None, "/v1/completions") == (401, "no-certificate")
        url = f"/v1/chat/completions?access_token={token_of(home, agent.id)}"
        assert ask(client, None, url) == (401, "no-certificate")


def test_a_token_never_lends_its_identity_to_another_certificate(home, agent):
    other = home.register("agent/thief")
    with plain(home, other) as client:
        assert ask(client, token_of(home, agent.id)) == (401, "jwt-of-another")
        assert ask(client, token_of(home, other.id)) == (200, "")
        assert ask(client, "not-a-token") == (200, ""), "an API key that is no token is the certificate's business"


def test_a_token_is_refused_once_its_identity_or_its_id_is_revoked(home):
    agent = home.register("agent/short")
    first, second = token_of(home, agent.id), token_of(home, agent.id)
    with without_certificate(home, agent) as client:
        assert ask(client, first) == (200, "")
        jti = jwt.decode(first, options={"verify_signature": False})["jti"]
        govctl(home.directory, "agent", "revoke", jti, "--reason", "a test")
        eventually("the token is refused", lambda: ask(client, first) == (401, "certificate-revoked"))
        assert ask(client, second) == (200, "")
        govctl(home.directory, "agent", "suspend", agent.id, "--reason", "a test")
        eventually("the identity is refused", lambda: ask(client, second) == (401, "identity-suspended"))


# Delegation


def exchange(home: RunningGateway, actor: AgentFiles, subject_token: str, **more: str) -> httpx.Response:
    with httpx.Client(verify=actor.tls(), trust_env=False, timeout=15) as client:
        return client.post(
            f"https://localhost:{home.admin_port}/oauth2/token",
            data={"grant_type": EXCHANGE, "subject_token": subject_token, "subject_token_type": JWT} | more,
        )


def hand_over(home: RunningGateway, holder: AgentFiles, token: str, to: AgentFiles) -> str:
    answer = exchange(home, holder, token, may_act=to.id)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def take_up(home: RunningGateway, actor: AgentFiles, handed: str) -> str:
    answer = exchange(home, actor, handed)
    assert answer.status_code == 200, answer.text
    assert answer.json()["token_type"] == "Bearer"
    return str(answer.json()["access_token"])


@pytest.fixture(scope="module")
def parent(home: RunningGateway) -> AgentFiles:
    return home.register("agent/parent")


@pytest.fixture(scope="module")
def child(home: RunningGateway) -> AgentFiles:
    return home.register("agent/child")


def test_an_agent_acts_for_another_and_the_chain_is_in_policy_input_and_record(home, parent, child):
    handed = hand_over(home, parent, token_of(home, parent.id), child)
    token = take_up(home, child, handed)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["sub"], claims["act"]) == (parent.id, {"sub": child.id})
    with plain(home, child) as client:
        assert ask(client, token) == (200, "")
    intent = recorded(home, "access.intent", principal=child.id)
    assert intent["delegation"] == [parent.id]
    assert intent["policy_input"]["principal"]["delegation"] == [parent.id]
    assert [each["principal"]["id"] for each in intent["delegated_inputs"]] == [parent.id]
    delegated = [entry for entry in records(home) if entry["type"] == "identity.delegated"]
    assert [(entry["principal"], entry["delegation"]) for entry in delegated[-2:]] == [
        (parent.id, [parent.id]),
        (child.id, [parent.id, child.id]),
    ]


def test_a_handed_over_token_is_worth_nothing_to_anybody_else(home, agent, parent, child):
    handed = hand_over(home, parent, token_of(home, parent.id), child)
    with without_certificate(home, agent) as client:
        assert ask(client, handed) == (401, "jwt-audience")
    stolen = exchange(home, agent, handed)
    assert (stolen.status_code, stolen.json()["code"]) == (400, "delegation-not-granted")
    token = take_up(home, child, handed)
    with without_certificate(home, agent) as client:
        assert ask(client, token) == (401, "jwt-binding")
    with plain(home, agent) as client:
        assert ask(client, token) == (401, "jwt-binding")


def test_a_token_is_exchanged_once(home, parent, child):
    handed = hand_over(home, parent, token_of(home, parent.id), child)
    take_up(home, child, handed)
    again = exchange(home, child, handed)
    assert (again.status_code, again.json()["error"], again.json()["code"]) == (400, "invalid_grant", "jwt-replayed")


def test_nobody_acts_for_who_acts_for_it_and_no_chain_is_too_deep(home, parent, child):
    third, fourth = home.register("agent/third"), home.register("agent/fourth")
    token = take_up(home, child, hand_over(home, parent, token_of(home, parent.id), child))
    up = exchange(home, child, token, may_act=parent.id)
    assert (up.status_code, up.json()["code"]) == (400, "delegation-cycle")
    deeper = take_up(home, third, hand_over(home, child, token, third))
    with plain(home, third) as client:
        assert ask(client, deeper) == (200, "")
    assert recorded(home, "access.intent", principal=third.id)["delegation"] == [parent.id, child.id]
    too_deep = exchange(home, third, deeper, may_act=fourth.id)
    assert (too_deep.status_code, too_deep.json()["code"]) == (400, "delegation-too-deep")


def test_a_chain_may_do_only_what_each_of_its_links_may(home, parent):
    narrow = home.register("agent/narrow", team="narrow")
    with plain(home, narrow) as client:
        assert ask(client, None) == (403, "model_not_granted")
    down = take_up(home, narrow, hand_over(home, parent, token_of(home, parent.id), narrow))
    with plain(home, narrow) as client:
        assert ask(client, down) == (403, "model_not_granted"), "the parent's roles are not lent"
    up = take_up(home, parent, hand_over(home, narrow, token_of(home, narrow.id), parent))
    with plain(home, parent) as client:
        assert ask(client, None) == (200, "")
        assert ask(client, up) == (403, "model_not_granted"), "acting for a narrow one narrows"


def test_a_chain_falls_with_any_of_its_links(home, child):
    grandparent = home.register("agent/grandparent")
    token = take_up(home, child, hand_over(home, grandparent, token_of(home, grandparent.id), child))
    with plain(home, child) as client:
        assert ask(client, token) == (200, "")
        govctl(home.directory, "agent", "suspend", grandparent.id, "--reason", "a test")
        eventually("the chain is refused", lambda: ask(client, token) == (401, "identity-suspended"))
    with plain(home, child) as client:
        assert ask(client, None) == (200, ""), "acting for itself it still may"


def test_a_delegated_token_lives_no_longer_than_the_one_it_came_from(home, parent, child):
    handed = hand_over(home, parent, token_of(home, parent.id, ttl=30), child)
    token = take_up(home, child, handed)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - time.time() <= 30


def test_who_has_no_role_for_it_exchanges_nothing(home, parent):
    outsider = home.register("agent/outsider", team="elsewhere")
    answer = exchange(home, outsider, token_of(home, outsider.id), may_act=parent.id)
    assert answer.status_code == 403


ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


def for_person(home: RunningGateway, actor: AgentFiles, id_token: str, **more: str) -> httpx.Response:
    return exchange(home, actor, id_token, subject_token_type=ID_TOKEN, **more)


@pytest.fixture(scope="module")
def grace(home: RunningGateway) -> str:
    """A person of the inventory."""
    spiffe_id = f"spiffe://{TRUST_DOMAIN}/person/grace"
    govctl(
        home.directory, "agent", "register", spiffe_id, "--kind", "human", "--team", "research", "--owner", "grace",
        "--purpose", "works here", "--attribute", "oidc=corp:grace@corp.test",
    )  # fmt: skip
    time.sleep(1.5)  # the control process looks at the inventory every half second
    return spiffe_id


def test_an_agent_acts_for_a_person_with_their_id_token(home, people, child, grace):
    claims = {"sub": "4711", "email": "grace@corp.test", "aud": GATEWAY}
    id_token = people.token(**claims)
    answer = for_person(home, child, id_token)
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    with plain(home, child) as client:
        assert ask(client, token) == (200, "")
    intent = recorded(home, "access.intent", principal=child.id)
    assert intent["delegation"] == [grace]
    assert intent["delegated_inputs"][0]["principal"]["kind"] == "human"
    again = for_person(home, child, id_token)
    assert (again.status_code, again.json()["code"]) == (400, "jwt-replayed")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"email": "nobody@corp.test"}, "person-unknown"),
        ({"email": None}, "person-unknown"),
        ({"aud": "somebody else"}, "oidc-audience"),
        ({"aud": [GATEWAY, "another"]}, "oidc-audience"),
        ({"exp": 1_700_000_000}, "oidc-expired"),
        ({"iss": "https://127.0.0.1:1"}, "oidc-issuer"),
    ],
)
def test_an_id_token_that_proves_nobody_here_is_refused(home, people, child, grace, change, rule):
    claims = {"sub": "4711", "email": "grace@corp.test", "aud": GATEWAY} | change
    answer = for_person(home, child, people.token(**claims))
    assert (answer.status_code, answer.json()["code"]) == (400, rule)


def test_an_id_token_is_no_jwt_svid(home, people, child, grace):
    id_token = people.token(sub=grace, email="grace@corp.test", aud=GATEWAY)
    assert exchange(home, child, id_token).json()["code"] in {"jwt-key-unknown", "jwt-signature"}
    with without_certificate(home, child) as client:
        assert ask(client, id_token)[0] == 401


def test_the_sdk_raises_its_own_error_for_a_refused_token(home, agent):
    context = ssl.create_default_context(cafile=str(agent.directory / "bundle.pem"))
    with OpenAI(
        base_url=home.base_url, api_key=crafted(home, aud=["x"]), max_retries=0,
        http_client=DefaultHttpxClient(verify=context, trust_env=False),
    ) as client, pytest.raises(openai.AuthenticationError, match="meant for x"):  # fmt: skip
        client.chat.completions.create(model=MODEL, messages=chat()["messages"])


def test_tokens_that_may_be_shown_once_are_told_apart_across_workers(example_backend, tmp_path):
    running = RunningGateway(tmp_path / "home", example_backend, [MODEL])
    running.edit_config({"identity": {"jwt_bearer": {"routes": ["/v1/*"], "once": True}}})
    agent = running.register("agent/once")
    running.start(workers=2)
    try:
        token = token_of(running, agent.id)
        answers = []
        for _ in range(4):
            with without_certificate(running, agent) as client:
                answers.append(ask(client, token))
        assert answers == [(200, "")] + [(401, "jwt-replayed")] * 3
    finally:
        running.stop()


def test_without_configured_routes_nobody_connects_without_a_certificate(example_backend, tmp_path):
    running = RunningGateway(tmp_path / "home", example_backend, [MODEL])
    agent = running.register("agent/plain")
    running.start()
    try:
        with without_certificate(running, agent) as client, pytest.raises(httpx.TransportError):
            ask(client, token_of(running, agent.id))
        with plain(running, agent) as client:
            assert ask(client, token_of(running, agent.id)) == (200, "")
    finally:
        running.stop()


def test_thumbprints_are_those_of_rfc_8705(home, parent, child):
    token = take_up(home, child, hand_over(home, parent, token_of(home, parent.id), child))
    claims = jwt.decode(token, options={"verify_signature": False})
    leaf = x509.load_pem_x509_certificate((child.directory / "svid.pem").read_bytes())
    expected = urlsafe_b64encode(leaf.fingerprint(hashes.SHA256())).rstrip(b"=").decode()
    assert claims["cnf"]["x5t#S256"] == expected
