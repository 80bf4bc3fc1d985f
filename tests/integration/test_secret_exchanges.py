"""A JWT-SVID is exchanged at STS (moto, which checks no token) and at stand-ins for Entra ID and Google that check it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.test import Client

from gateway.config.vault import Exchange
from gateway.secrets.exchanging import audience_of, exchange
from gateway.secrets.fetched import Fetched, SecretSourceError
from tests.support.certificates import CertificateAuthority
from tests.support.https_server import Answer, Handler, Request, loopback_leaf, serving

GATEWAY = "spiffe://example.org/gateway"
KEY = ec.generate_private_key(ec.SECP256R1())
CANARY = "canary-token-8d2f"
TOKEN = Answer(json.dumps({"access_token": CANARY, "expires_in": 3600}).encode())
HOUR_NS = 3600 * 10**9


def svid(audience: str) -> str:
    now = int(time.time())
    return jwt.encode({"sub": GATEWAY, "aud": [audience], "iat": now, "exp": now + 300}, KEY, "ES256")


def check(token: str, audience: str) -> bool:
    """Whether a stand-in takes a JWT-SVID: PyJWT verifies signature, end and audience."""
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        return bool(jwt.decode(token, public, ["ES256"], audience=audience)["sub"] == GATEWAY)
    except jwt.InvalidTokenError:
        return False


def refused(code: str, status: int = 401) -> Answer:
    return Answer(json.dumps({"error": code, "error_description": f"AADSTS700213: {CANARY}"}).encode(), status)


def moto(request: Request) -> Answer:
    """What moto's STS answers."""
    client = Client(DomainDispatcherApplication(create_backend_app))
    made = client.open(
        "/", method="POST", data=request.body, base_url="http://sts.eu-west-1.amazonaws.com",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    return Answer(made.data, made.status_code, {"date": made.headers.get("date", "")} if "date" in made.headers else {})


def entra(request: Request) -> Answer:
    """A stand-in for Entra ID's token endpoint."""
    form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    if form["client_id"] != "app-1" or not check(form["client_assertion"], "api://AzureADTokenExchange"):
        return refused("invalid_client")
    return TOKEN


def google(request: Request) -> Answer:
    """A stand-in for Google's token exchange and its service accounts."""
    document = json.loads(request.body)
    if request.path.endswith(":generateAccessToken"):
        assert request.headers["authorization"] == "Bearer federated"
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1800))
        return Answer(json.dumps({"accessToken": CANARY, "expireTime": end}).encode())
    if not check(document["subjectToken"], "//iam.googleapis.com/pool"):
        return refused("invalid_grant", 400)
    return Answer(json.dumps({"access_token": "federated", "expires_in": 3599, "token_type": "Bearer"}).encode())


async def given(
    directory: Path, handler: Handler, shown_to: str = "", skew: int = 0, **settings: object
) -> tuple[Exchange, Fetched]:
    """Exchange a JWT-SVID with a server that answers by `handler`."""
    now = int(time.time())
    root = CertificateAuthority.root("exchange.test", now=now, uri="")
    ca_file = directory / "ca.pem"
    ca_file.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    async with serving(loopback_leaf(root, now), directory, handler) as server:
        made = Exchange.model_validate(
            {"name": "x", "url": server.url + "/token", "impersonation_url": server.url, "ca_file": ca_file, **settings}
        )
        return made, await exchange(made, svid(shown_to or audience_of(made)), lambda: time.time_ns() + skew)


AWS = {"kind": "aws-sts", "role_arn": "arn:aws:iam::123456789012:role/gateway", "region": "eu-west-1"}
ENTRA = {"kind": "entra", "tenant": "t", "client_id": "app-1", "scope": "https://ai.example/.default"}
GOOGLE = {"kind": "google", "audience": "//iam.googleapis.com/pool", "scope": "https://www.googleapis.com/auth/cloud"}


async def test_sts_gives_credentials_that_end(tmp_path):
    _, fetched = await given(tmp_path, moto, **AWS)
    assert set(fetched.fields) == {"access_key", "secret_key", "session_token"}
    assert fetched.fields["access_key"].reveal().startswith(b"ASIA")
    assert 3000 < (fetched.lifetime_seconds or 0) <= 3600


async def test_entra_and_google_take_the_svid_and_give_a_token(tmp_path):
    for handler, settings in ((entra, ENTRA), (google, {**GOOGLE, "service_account": "bot@p.iam"})):
        _, fetched = await given(tmp_path, handler, **settings)
        assert fetched.fields["access_token"].reveal() == CANARY.encode()
    assert 1700 < (fetched.lifetime_seconds or 0) <= 1800  # the service account's ends first


async def test_an_svid_for_somebody_else_is_refused_with_the_providers_code(tmp_path):
    for handler, settings, code in ((entra, ENTRA, "AADSTS700213"), (google, GOOGLE, "AADSTS700213")):
        with pytest.raises(SecretSourceError, match=code) as caught:
            await given(tmp_path, handler, "somebody-else", **settings)
        assert caught.value.code == "secret_denied"
        assert CANARY not in str(caught.value) + caught.value.remedy


@pytest.mark.parametrize("skew", [-HOUR_NS, HOUR_NS])
async def test_a_clock_of_ours_that_is_wrong_does_no_harm(tmp_path, skew):
    dated = {"date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())}

    def handler(request: Request) -> Answer:
        answer = moto(request)
        return Answer(answer.body, answer.status, dated)

    _, fetched = await given(tmp_path, handler, skew=skew, **AWS)
    assert 3000 < (fetched.lifetime_seconds or 0) <= 3600


STS = "<R><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey><SessionToken>T</SessionToken>"


def body(text: str, status: int = 200) -> Callable[[Request], Answer]:
    return lambda _: Answer(text.encode(), status)


@pytest.mark.parametrize(
    ("settings", "text", "status", "code", "said"),
    [
        pytest.param(ENTRA, "{", 200, "secret_unusable", "no JSON", id="no JSON"),
        pytest.param(ENTRA, "[]", 200, "secret_unusable", "no JSON object", id="no object"),
        pytest.param(ENTRA, '{"expires_in": 1}', 200, "secret_unusable", "missing", id="no token"),
        pytest.param(ENTRA, '{"expires_in": 1, "access_token": 7}', 200, "secret_unusable", "missing", id="a number"),
        pytest.param(
            ENTRA, '{"expires_in": 1, "access_token": "a\\r\\nb"}', 200, "secret_unusable", "header", id="a line break"
        ),
        pytest.param(ENTRA, '{"expires_in": -1, "access_token": "a"}', 200, "secret_unusable", "expires_in", id="over"),
        pytest.param(ENTRA, '{"expires_in": true, "access_token": "a"}', 200, "secret_unusable", "expires_in", id="true"),
        pytest.param(ENTRA, "x" * 5_000_000, 200, "secret_unavailable", "more than", id="5 MB"),
        pytest.param(ENTRA, "", 302, "secret_unavailable", "302", id="a redirect"),
        pytest.param(ENTRA, "", 503, "secret_unavailable", "503", id="away"),
        pytest.param(ENTRA, '{"error": "<script>"}', 400, "secret_denied", "no code", id="a code that is none"),
        pytest.param(AWS, "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", 200, "secret_unusable", "type", id="entities"),
        pytest.param(AWS, "<a>", 200, "secret_unusable", "no XML", id="no XML"),
        pytest.param(AWS, "<E><Code>AccessDenied</Code></E>", 403, "secret_denied", "AccessDenied", id="denied"),
        pytest.param(AWS, f"{STS}</Credentials></R>", 200, "secret_unusable", "no time", id="no end"),
        pytest.param(
            AWS, f"{STS}<Expiration>2001-01-01T00:00:00Z</Expiration></Credentials></R>", 200, "secret_unusable",
            "ended", id="ended",
        ),
    ],
)  # fmt: skip
async def test_what_goes_wrong_is_named(tmp_path, settings, text, status, code, said):
    with pytest.raises(SecretSourceError, match=said) as caught:
        await given(tmp_path, body(text, status), **settings)
    assert caught.value.code == code
    assert "eyJ" not in str(caught.value)  # no part of the JWT-SVID


async def test_a_server_that_is_not_trusted_gets_nothing(tmp_path):
    now = int(time.time())
    root, other = (CertificateAuthority.root(name, now=now, uri="") for name in ("a.test", "b.test"))
    ca_file = tmp_path / "other.pem"
    ca_file.write_bytes(other.certificate.public_bytes(Encoding.PEM))
    async with serving(loopback_leaf(root, now), tmp_path, lambda _: TOKEN) as server:
        made = Exchange.model_validate({"name": "x", "url": server.url, "ca_file": ca_file, **ENTRA})
        with pytest.raises(SecretSourceError, match="certificate"):
            await exchange(made, svid("x"), time.time_ns)
    assert server.requests == []
