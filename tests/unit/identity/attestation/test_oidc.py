"""Tokens of OIDC issuers: a real local HTTPS issuer, tokens by PyJWT and joserfc, and every way to be refused."""

import asyncio
import hmac
import json
from contextlib import asynccontextmanager

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey

from identity.attestation import oidc_keys
from identity.attestation.base import AttestationError, AttestationUnavailableError
from identity.attestation.oidc import OidcAttestor
from identity.attestation.oidc_token import IssuerKey, OidcIssuer, parse_token, verify_token
from identity.fetching import FetchError
from identity.jwk import encode, public_jwk
from identity.registry import Registry
from tests.support.https_server import Answer, serving
from tests.unit.identity.attestation.conftest import TD

AUDIENCE = "https://gateway.home.test"
RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)

GITHUB = {
    "sub": "repo:acme/payments:environment:production",
    "repository": "acme/payments",
    "repository_owner": "acme",
    "ref": "refs/heads/main",
    "environment": "production",
    "job_workflow_ref": "acme/payments/.github/workflows/deploy.yml@refs/heads/main",
    "actor": "mallory",
}
GITLAB = {"sub": "project_path:acme/web:ref_type:branch:ref:main", "project_path": "acme/web", "ref_protected": "true"}
CLOUD = {
    "sub": "112233445566",
    "email": "vm@acme.iam.test",
    "email_verified": True,
    "google": {"compute_engine": {"project_id": "acme-prod", "instance_id": 42}},
    "groups": ["ops", "sre", " bad", 7.5],
}


class Issuer:
    """A local issuer; its documents are what a test makes them."""

    def __init__(self, clock):
        self.clock = clock
        self.keys = {"k1": RSA_KEY}
        self.answers = {}

    @property
    def url(self):
        return self.server.url

    def answer(self, request):
        if request.path in self.answers:
            return self.answers[request.path]
        if request.path == "/.well-known/openid-configuration":
            return Answer(json.dumps(self.discovery).encode())
        assert request.path == "/keys"
        keys = [{"kid": kid, "use": "sig", **public_jwk(key.public_key())} for kid, key in self.keys.items()]
        return Answer(json.dumps({"keys": keys}).encode())

    def claims(self, base=None, **changes):
        now = self.clock.now
        whole = {"iss": self.url, "aud": AUDIENCE, "iat": now, "exp": now + 300, **(base or GITHUB), **changes}
        return {name: value for name, value in whole.items() if value is not None}

    def token(self, base=None, *, key=RSA_KEY, kid="k1", alg="RS256", headers=None, **changes):
        whole = {**({"kid": kid} if kid is not None else {}), **(headers or {})}
        return jwt.encode(self.claims(base, **changes), key, algorithm=alg, headers=whole)

    @property
    def fetches(self):
        return sum(request.path == "/keys" for request in self.server.requests)


@asynccontextmanager
async def running_issuer(web, directory, clock):
    running = Issuer(clock)
    async with serving(web.leaf, directory, running.answer) as server:
        running.server = server
        running.discovery = {"issuer": running.url, "jwks_uri": running.url + "/keys"}
        yield running


@pytest.fixture
async def issuer(web, tmp_path, clock):
    async with running_issuer(web, tmp_path, clock) as running:
        yield running


@pytest.fixture
def attestor(issuer, web, clock):
    return make(issuer, web, clock)


def make(issuer, web, clock, used=None, name="github", claims=("sub", "repository", "ref", "environment"), **changes):
    configured = OidcIssuer(name, issuer.url, AUDIENCE, claims, ca_file=web.ca_file, **changes)
    return OidcAttestor(TD, [configured], clock, used)


async def refusal(attestor, silent, token):
    with pytest.raises(AttestationError) as caught:
        await attestor.attest({"token": token}, silent)
    return caught.value.rule


async def test_a_github_job_gets_selectors_of_the_configured_claims_alone(issuer, attestor, silent):
    attested = await attestor.attest({"token": issuer.token()}, silent)
    assert attested.selectors == {
        "oidc:github:sub:repo:acme/payments:environment:production",
        "oidc:github:repository:acme/payments",
        "oidc:github:ref:refs/heads/main",
        "oidc:github:environment:production",
    }
    assert attested.spiffe_id.startswith(f"spiffe://{TD}/node/oidc/github/")
    assert attested.can_reattest
    again = await attestor.attest({"token": issuer.token(ref="refs/heads/other")}, silent)
    assert again.spiffe_id == attested.spiffe_id
    other = await attestor.attest({"token": issuer.token(sub="repo:acme/other")}, silent)
    assert other.spiffe_id != attested.spiffe_id


async def test_a_gitlab_job_by_joserfc_on_an_elliptic_curve(issuer, web, clock, silent):
    key = ec.generate_private_key(ec.SECP256R1())
    issuer.keys = {"gl": key}
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    token = joserfc_jwt.encode({"alg": "ES256", "kid": "gl"}, issuer.claims(GITLAB), ECKey.import_key(pem))
    attestor = make(issuer, web, clock, name="gitlab", claims=("project_path", "ref_protected"))
    attested = await attestor.attest({"token": token}, silent)
    assert attested.selectors == {
        "oidc:gitlab:project_path:acme/web",
        "oidc:gitlab:ref_protected:true",
    }


async def test_claims_of_a_cloud_machine_inside_objects_and_lists(issuer, web, clock, silent):
    names = ("google.compute_engine.instance_id", "google.none.x", "email_verified", "groups", "google")
    attested = await make(issuer, web, clock, name="gcp", claims=names).attest({"token": issuer.token(CLOUD)}, silent)
    assert attested.selectors == {
        "oidc:gcp:google.compute_engine.instance_id:42",
        "oidc:gcp:email_verified:true",
        "oidc:gcp:groups:ops",
        "oidc:gcp:groups:sre",
    }


async def test_tokens_without_a_signature_or_with_a_shared_secret_are_refused_without_a_fetch(issuer, attestor, silent):
    public = RSA_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert await refusal(attestor, silent, issuer.token(alg="none", key=None)) == "oidc-algorithm"
    for alg in ("HS256", "HS384", "HS512"):
        head = encode(json.dumps({"alg": alg, "kid": "k1"}).encode())
        text = f"{head}.{issuer.token().split('.')[1]}"
        mac = hmac.digest(public, text.encode(), f"sha{alg[2:]}")
        assert await refusal(attestor, silent, f"{text}.{encode(mac)}") == "oidc-algorithm"
    for alg in ("None", "NONE", "nOnE", "", None, 7, "RS1", "RS512"):
        header = encode(json.dumps({"alg": alg, "kid": "k1"}).encode())
        forged = f"{header}.{issuer.token().split('.')[1]}."
        assert await refusal(attestor, silent, forged) == "oidc-algorithm"
    assert issuer.server.requests == []


async def test_a_token_under_another_key_or_changed_after_signing_is_refused(issuer, attestor, silent):
    assert await refusal(attestor, silent, issuer.token(key=OTHER_KEY)) == "oidc-signature"
    head, _, signature = issuer.token().split(".")
    other = issuer.token(repository="evil/repo").split(".")[1]
    assert await refusal(attestor, silent, f"{head}.{other}.{signature}") == "oidc-signature"
    assert await refusal(attestor, silent, f"{issuer.token().rpartition('.')[0]}.") == "oidc-signature"


async def test_keys_in_the_header_are_never_used(issuer, attestor, silent):
    jwk = public_jwk(OTHER_KEY.public_key())
    token = issuer.token(key=OTHER_KEY, headers={"jwk": jwk, "jku": issuer.url + "/evil", "x5u": issuer.url + "/evil"})
    assert await refusal(attestor, silent, token) == "oidc-signature"
    assert all("evil" not in request.path for request in issuer.server.requests)


async def test_missing_and_unknown_keys_are_refused_and_unknown_ones_cause_few_fetches(issuer, attestor, silent, clock):
    assert await refusal(attestor, silent, issuer.token(kid=None)) == "oidc-key-missing"
    for n in range(20):
        assert await refusal(attestor, silent, issuer.token(kid=f"unknown-{n}")) == "oidc-key-unknown"
    assert issuer.fetches == 1
    issuer.keys["k2"] = OTHER_KEY
    assert await refusal(attestor, silent, issuer.token(key=OTHER_KEY, kid="k2")) == "oidc-key-unknown"
    clock.now += oidc_keys.MIN_REFRESH_SECONDS
    await attestor.attest({"token": issuer.token(key=OTHER_KEY, kid="k2")}, silent)
    assert issuer.fetches == 2


async def test_concurrent_first_tokens_share_one_fetch(issuer, attestor, silent):
    await asyncio.gather(*(attestor.attest({"token": issuer.token()}, silent) for _ in range(10)))
    assert issuer.fetches == 1


async def test_a_key_that_the_issuer_withdrew_is_refused_after_the_refresh(issuer, attestor, silent, clock):
    await attestor.attest({"token": issuer.token()}, silent)
    issuer.keys = {"k2": OTHER_KEY}
    clock.now += oidc_keys.REFRESH_SECONDS
    assert await refusal(attestor, silent, issuer.token()) == "oidc-key-unknown"


async def test_keys_that_cannot_be_refreshed_are_used_for_a_while_and_then_not(issuer, attestor, silent, clock):
    await attestor.attest({"token": issuer.token()}, silent)
    issuer.answers["/keys"] = Answer(status=500)
    clock.now += oidc_keys.MAX_STALE_SECONDS
    await attestor.attest({"token": issuer.token()}, silent)
    clock.now += 1
    assert await refusal(attestor, silent, issuer.token()) == "oidc-unavailable"


@pytest.mark.parametrize(
    "audience", ["https://other.test", [], [AUDIENCE, "https://other.test"], [AUDIENCE, AUDIENCE], None, 7, "", {}]
)
async def test_a_token_that_is_not_for_us_alone_is_refused(issuer, attestor, silent, audience):
    # PyJWT refuses to write some of these, so they are signed as plain JSON.
    token = signed(issuer, issuer.claims(aud=audience))
    assert await refusal(attestor, silent, token) == "oidc-audience"


def signed(issuer, claims):
    return jwt.api_jws.encode(json.dumps(claims).encode(), RSA_KEY, algorithm="RS256", headers={"kid": "k1"})


async def test_a_list_with_our_audience_alone_is_ours(issuer, attestor, silent):
    assert await attestor.attest({"token": issuer.token(aud=[AUDIENCE])}, silent)


async def test_times_are_kept_to_the_second(issuer, web, clock, silent):
    strict, lenient = make(issuer, web, clock), make(issuer, web, clock, leeway_seconds=10)
    now = clock.now
    cases = [
        ("oidc-expired", {"exp": now, "iat": now - 9}, {"exp": now + 1, "iat": now - 9}, {"exp": now - 10}),
        ("oidc-not-yet-valid", {"nbf": now + 1}, {"nbf": now}, {"nbf": now + 11}),
        ("oidc-not-yet-valid", {"iat": now + 1}, {"iat": now}, {"iat": now + 11}),
        ("oidc-too-old", {"iat": now - 3601}, {"iat": now - 3600}, {"iat": now - 3611}),
    ]
    for rule, late, good, too_late in cases:
        assert await refusal(strict, silent, issuer.token(**late)) == rule
        assert await strict.attest({"token": issuer.token(**good)}, silent)
        assert await lenient.attest({"token": issuer.token(**late)}, silent)
        assert await refusal(lenient, silent, issuer.token(**too_late)) == rule


@pytest.mark.parametrize("changes", [{"exp": None}, {"iat": None}, {"exp": "soon"}, {"exp": True}, {"iat": -1}])
async def test_times_that_are_missing_or_no_numbers_are_refused(issuer, attestor, silent, changes):
    assert (await refusal(attestor, silent, signed(issuer, issuer.claims(**changes)))).startswith("oidc-time")


async def test_one_issuer_cannot_speak_for_another(issuer, web, clock, silent, tmp_path):
    (tmp_path / "second").mkdir()
    async with running_issuer(web, tmp_path / "second", clock) as second:
        second.keys = {"k1": OTHER_KEY}
        both = [
            OidcIssuer("first", issuer.url, AUDIENCE, ca_file=web.ca_file),
            OidcIssuer("second", second.url, AUDIENCE, ca_file=web.ca_file),
        ]
        attestor = OidcAttestor(TD, both, clock)
        assert (await attestor.attest({"token": issuer.token()}, silent)).spiffe_id
        assert (await attestor.attest({"token": second.token(key=OTHER_KEY)}, silent)).spiffe_id
        # The key of one under the name of the other, each way round.
        assert await refusal(attestor, silent, issuer.token(key=OTHER_KEY)) == "oidc-signature"
        assert await refusal(attestor, silent, second.token(key=RSA_KEY)) == "oidc-signature"
    for wrong in (issuer.url + "/", issuer.url.upper(), "https://evil.test", "", None, ["x"], issuer.url + "#"):
        assert await refusal(attestor, silent, signed(issuer, issuer.claims(iss=wrong))) == "oidc-issuer"


def test_the_issuer_in_the_token_is_compared_also_when_its_keys_fit():
    claims = {"iss": "https://b.test", "aud": AUDIENCE, "iat": 1000, "exp": 1300}
    token = parse_token(jwt.encode(claims, RSA_KEY, algorithm="RS256", headers={"kid": "k"}))
    keys = {"k": [IssuerKey(RSA_KEY.public_key())]}
    assert verify_token(token, OidcIssuer("b", "https://b.test", AUDIENCE), keys, 1100) == claims
    with pytest.raises(AttestationError) as caught:
        verify_token(token, OidcIssuer("a", "https://a.test", AUDIENCE), keys, 1100)
    assert caught.value.rule == "oidc-issuer"


async def test_a_discovery_document_of_another_issuer_is_not_believed(issuer, attestor, silent):
    issuer.discovery["issuer"] = "https://other.test"
    assert await refusal(attestor, silent, issuer.token()) == "oidc-unavailable"


@pytest.mark.parametrize(
    "uri",
    ["http://localhost/keys", "https://169.254.169.254/latest", "https://other.test/keys", "file:///etc/passwd", 7],
)
async def test_keys_are_fetched_from_the_issuers_own_host_alone(issuer, attestor, silent, uri):
    issuer.discovery["jwks_uri"] = uri
    assert await refusal(attestor, silent, issuer.token()) == "oidc-unavailable"
    assert issuer.fetches == 0


async def test_keys_may_lie_on_a_host_that_is_configured(issuer, web, clock, silent, tmp_path):
    (tmp_path / "second").mkdir()
    async with running_issuer(web, tmp_path / "second", clock) as keys:
        issuer.discovery["jwks_uri"] = keys.url + "/keys"
        assert await refusal(make(issuer, web, clock), silent, issuer.token()) == "oidc-unavailable"
        assert keys.fetches == 0
        allowed = make(issuer, web, clock, key_hosts=frozenset({keys.url.removeprefix("https://")}))
        assert await allowed.attest({"token": issuer.token()}, silent)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=302, headers={"location": "/elsewhere"}),
        Answer(status=307, headers={"location": "https://127.0.0.1/keys"}),
        Answer(b"x" * (oidc_keys.MAX_DOCUMENT_BYTES + 1)),
        Answer(b'{"keys": 7}'),
        Answer(b'{"keys": [], "keys": []}'),
        Answer(json.dumps({"keys": [{}] * 101}).encode()),
        Answer(b"<html>"),
        Answer(b"x", headers={"content-encoding": "gzip"}),
        Answer(status=404),
    ],
    ids=["redirect", "redirect-away", "oversized", "no-list", "twice", "too-many", "html", "compressed", "missing"],
)
async def test_an_answer_that_is_not_a_key_set_gives_no_keys(issuer, attestor, silent, answer):
    issuer.answers["/keys"] = answer
    with pytest.raises(AttestationUnavailableError):
        await attestor.attest({"token": issuer.token()}, silent)
    assert all(request.path != "/elsewhere" for request in issuer.server.requests)


async def test_an_issuer_with_a_certificate_of_an_unknown_authority_is_not_believed(issuer, silent, clock):
    attestor = OidcAttestor(TD, [OidcIssuer("github", issuer.url, AUDIENCE)], clock)
    assert await refusal(attestor, silent, issuer.token()) == "oidc-unavailable"


async def test_weak_and_private_keys_and_those_for_encryption_or_another_algorithm_are_not_used(
    issuer, attestor, silent
):
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it must be refused
    jwk = public_jwk(RSA_KEY.public_key())
    keys = [
        {"kid": "weak", **public_jwk(weak.public_key())},
        {"kid": "private", **jwk, "d": "AQAB"},
        {"kid": "enc", **jwk, "use": "enc"},
        {"kid": "ps", **jwk, "alg": "PS256"},
        {"kid": "oct", "kty": "oct", "k": "AAAA"},
        {"kid": 7, **jwk},
        "nonsense",
    ]
    issuer.answers["/keys"] = Answer(json.dumps({"keys": keys}).encode())
    for kid in ("private", "enc", "oct"):
        assert await refusal(attestor, silent, issuer.token(kid=kid)) == "oidc-key-unknown"
    assert await refusal(attestor, silent, issuer.token(kid="ps")) == "oidc-signature"


async def test_a_token_is_taken_once_where_that_is_asked_for(issuer, web, clock, silent, tmp_path):
    registry = Registry(tmp_path / "registry.sqlite", clock)
    attestor, token = make(issuer, web, clock, used=registry.used_tokens), issuer.token()
    assert not (await attestor.attest({"token": token}, silent)).can_reattest
    outcomes = await asyncio.gather(
        *(attestor.attest({"token": issuer.token(n=n % 2)}, silent) for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(each, AttestationError) and each.rule == "oidc-used" for each in outcomes) == 6
    assert await refusal(attestor, silent, token) == "oidc-used"
    registry.close()


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c.d", "....", "a" * 20_000, 7, None, "e30.e30.", "W10.W10.AA"])
async def test_what_is_no_token_is_refused(attestor, silent, token):
    await refusal(attestor, silent, token)


async def test_other_types_of_token_and_critical_extensions_are_refused(issuer, attestor, silent):
    assert await refusal(attestor, silent, issuer.token(headers={"typ": "at+jwt"})) == "oidc-type"
    assert await refusal(attestor, silent, issuer.token(headers={"crit": ["b64"]})) == "oidc-critical"
    assert await refusal(attestor, silent, signed(issuer, issuer.claims(sub=None))) == "oidc-subject"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Git Hub"},
        {"name": "a:b"},
        {"audience": ""},
        {"algorithms": frozenset({"HS256"})},
        {"algorithms": frozenset()},
        {"leeway_seconds": 61},
        {"leeway_seconds": -1},
        {"max_age_seconds": 0},
        {"claims": ("a:b",)},
    ],
)
def test_a_configuration_that_would_weaken_a_rule_is_refused(changes):
    whole = {"name": "github", "url": "https://issuer.test", "audience": AUDIENCE, **changes}
    with pytest.raises(ValueError, match=r".+"):
        OidcIssuer(**whole)


@pytest.mark.parametrize("url", ["http://issuer.test", "https://u@issuer.test", "https://issuer.test?x", "https://"])
def test_an_issuer_address_that_is_not_plain_https_is_refused(url):
    with pytest.raises(FetchError):
        OidcIssuer("github", url, AUDIENCE)


def test_two_issuers_of_one_name_or_address_are_refused(clock):
    one = OidcIssuer("one", "https://a.test", AUDIENCE)
    for other in (OidcIssuer("one", "https://b.test", AUDIENCE), OidcIssuer("two", "https://a.test", AUDIENCE)):
        with pytest.raises(ValueError, match="the same name"):
            OidcAttestor(TD, [one, other], clock)
