"""Token exchange: what is given, and each refusal by its rule, with a real authority and a real inventory."""

import asyncio
import time
from urllib.parse import urlencode

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.admin.persons import Persons
from gateway.admin.token_exchange import GRANT, ID_TOKEN, JWT, ExchangeError, TokenExchange
from gateway.authentication import thumbprint
from gateway.config.model import Delegation, PersonIssuer
from gateway.errors import UnavailableError
from identity.authority import Authority, create_trust_domain
from identity.clock import NANOSECONDS
from identity.delegation import chain_of
from identity.errors import IdentityError, RegistryError
from identity.jwt_svid import verify_jwt_svid
from identity.keys import MemoryKeyManager
from identity.registry import Registry
from identity.spiffe_id import SpiffeId
from identity.verification import verify_peer
from tests.support.certificates import new_key
from tests.support.oidc_issuer import oidc_issuer

START = int(time.time())
TD = "home.test"
GATEWAY = f"spiffe://{TD}/gateway"
EXCHANGE = f"{GATEWAY}/exchange"
AGENTS = A, B, C, D = tuple(f"spiffe://{TD}/agent/{name}" for name in "abcd")
PERSON = f"spiffe://{TD}/human/ada"
AWAY = "spiffe://away.test/agent/x"
BY = "operator:tests"
CORP = "corp:ada@home.test"


class Domain:
    """A trust domain with an authority."""

    def __init__(self, directory, name, clock):
        keys = MemoryKeyManager()
        create_trust_domain(directory, name, keys, clock)
        self.authority = Authority.open(directory, name, keys, clock)


class Stage(Domain):
    """A token exchange whose surroundings a test moves."""

    def __init__(self, directory, persons=None):
        self.now = START
        super().__init__(directory / TD, TD, self.clock)
        self.away = Domain(directory / "away", "away.test", self.clock).authority
        self.registry = Registry(directory / "registry.sqlite", self.clock)
        self.records = []
        self.record_fails = False
        for spiffe_id in (*AGENTS, AWAY):
            self.registry.register(spiffe_id, team="t", owner="o@home.test", purpose="a test", by=BY)
        self.registry.register(
            PERSON, team="t", owner="o@home.test", purpose="a test", by=BY, kind="human", attributes={"oidc": CORP}
        )
        self.actors = {spiffe_id: self.actor(spiffe_id) for spiffe_id in AGENTS}
        self.configure(persons)

    def configure(self, persons=None, audience="", **changes):
        self.exchange = TokenExchange(
            Delegation(enabled=True, **changes),
            authority=self.authority, gateway_id=GATEWAY, bundles=lambda: self.bundles, record=self.record,
            used=self.registry.used_tokens, clock=self.clock, persons=persons, audience=audience,
        )  # fmt: skip

    def clock(self):
        return self.now * NANOSECONDS

    @property
    def bundles(self):
        return {TD: self.authority.bundle(), "away.test": self.away.bundle()}

    async def record(self, record_type, fields):
        if self.record_fails:
            raise IdentityError("the audit log is full")
        self.records.append((record_type, fields))

    def actor(self, spiffe_id, seconds=3600, authority=None):
        """Return who proved itself with a new certificate."""
        issuer = authority or self.authority
        svid = issuer.issue_x509_svid(SpiffeId.parse(spiffe_id), new_key().public_key(), seconds)
        return verify_peer(svid.chain, self.bundles, self.now)

    def token(self, spiffe_id=A, audience=(GATEWAY,), seconds=300, authority=None, **claims):
        signer = authority or self.authority
        return signer.issue_jwt_svid(SpiffeId.parse(spiffe_id), audience, seconds, claims).token

    async def ask(self, token, actor, kind=JWT, **form):
        peer = self.actors[actor] if isinstance(actor, str) else actor
        body = {"grant_type": GRANT, "subject_token": token, "subject_token_type": kind, **form}
        answer = await self.exchange.exchange(urlencode(body).encode(), peer, self.registry.snapshot(entries=False))
        return answer["access_token"]

    async def pass_on(self, token, holder, to):
        """Hand a token over and take it up."""
        return await self.ask(await self.ask(token, holder, may_act=to), to)

    def read(self, token, audience=GATEWAY):
        return verify_jwt_svid(token, self.bundles, audience, self.now)

    def chain(self, token):
        read = self.read(token)
        return chain_of(read.id, read.claims, TD)


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path)
    yield stage
    stage.registry.close()


class Refused:
    """Expects a refusal by its rule."""

    def __init__(self, rule, oauth_error="invalid_grant"):
        self.rule, self.oauth_error = rule, oauth_error
        self._raises = pytest.raises(ExchangeError)

    def __enter__(self):
        self._caught = self._raises.__enter__()

    def __exit__(self, *error):
        handled = self._raises.__exit__(*error)
        assert (self._caught.value.code, self._caught.value.oauth_error) == (self.rule, self.oauth_error)
        assert self._caught.value.detail
        return handled


# what is given


async def test_a_token_handed_over_is_for_the_exchange_alone_and_names_who_may_take_it_up(stage):
    handed = await stage.ask(stage.token(), A, may_act=B)
    read = stage.read(handed, EXCHANGE)
    assert (read.id, read.audience, read.claims["may_act"]) == (A, (EXCHANGE,), {"sub": B})
    assert "cnf" not in read.claims
    assert stage.records[-1][1] | {"jti": "", "from_jti": "", "peer": ""} == {
        "principal": A, "delegation": [A], "may_act": B, "jti": "", "from_jti": "", "peer": "",
        "not_after": read.not_after,
    }  # fmt: skip


async def test_who_takes_it_up_gets_the_whole_chain_bound_to_its_certificate(stage):
    taken = await stage.pass_on(stage.token(), A, B)
    read = stage.read(taken)
    assert read.audience == (GATEWAY,)
    assert read.claims["cnf"] == {"x5t#S256": thumbprint(stage.actors[B])}
    assert "may_act" not in read.claims
    assert stage.chain(taken) == (A, B)
    assert stage.chain(await stage.pass_on(taken, B, C)) == (A, B, C)
    jtis = [fields["jti"] for _, fields in stage.records]
    assert [fields["from_jti"] for _, fields in stage.records][1:] == [jtis[0], read.jti, jtis[2]]


async def test_what_kind_of_token_was_given_is_said(stage):
    form = {"grant_type": GRANT, "subject_token": stage.token(), "subject_token_type": JWT, "may_act": B}
    agents = stage.registry.snapshot(entries=False)
    handed = await stage.exchange.exchange(urlencode(form).encode(), stage.actors[A], agents)
    assert (handed["token_type"], handed["issued_token_type"], handed["expires_in"]) == ("N_A", JWT, 300)
    form = {"grant_type": GRANT, "subject_token": handed["access_token"], "subject_token_type": JWT}
    taken = await stage.exchange.exchange(urlencode(form).encode(), stage.actors[B], agents)
    assert (taken["token_type"], taken["issued_token_type"], taken["expires_in"]) == ("Bearer", JWT, 300)


async def test_tokens_carry_the_audience_that_bearer_tokens_are_configured_to_have(stage):
    stage.configure(audience="calls")
    with Refused("jwt-audience"):
        await stage.ask(stage.token(), A, may_act=B)
    taken = await stage.pass_on(stage.token(audience=("calls",)), A, B)
    assert stage.read(taken, "calls").audience == ("calls",)


async def test_an_actor_of_a_federated_domain_may_take_up_what_it_was_given(stage):
    stage.actors[AWAY] = stage.actor(AWAY, authority=stage.away)
    assert stage.chain(await stage.pass_on(stage.token(), A, AWAY)) == (A, AWAY)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    life=st.integers(5, 3000),
    certificates=st.lists(st.integers(60, 3000), min_size=3, max_size=3),
    waits=st.lists(st.integers(0, 400), min_size=4, max_size=4),
    configured=st.integers(10, 3600),
)
def test_no_token_outlives_the_one_it_came_from_nor_its_certificate(stage, life, certificates, waits, configured):
    stage.now = START
    stage.configure(ttl_seconds=configured)
    peers = {name: stage.actor(name, seconds) for name, seconds in zip((A, B, C), certificates, strict=True)}
    steps = [(A, {"may_act": B}), (B, {}), (B, {"may_act": C}), (C, {})]

    async def walk():
        token, ends = stage.token(seconds=life), START + life
        for (actor, more), wait in zip(steps, waits, strict=True):
            stage.now += wait
            if stage.now >= min(ends, peers[actor].not_after):
                with pytest.raises(ExchangeError) as caught:
                    await stage.ask(token, peers[actor], **more)
                assert caught.value.code in {"jwt-expired", "leaf-expired"}
                return
            token = await stage.ask(token, peers[actor], **more)
            read = stage.read(token, (GATEWAY, EXCHANGE))
            assert read.not_after <= min(ends, peers[actor].not_after, stage.now + configured)
            ends = read.not_after

    asyncio.run(walk())


# forms


@pytest.mark.parametrize(
    ("body", "rule", "oauth_error"),
    [
        (b"", "grant-type", "unsupported_grant_type"),
        (b"grant_type=password", "grant-type", "unsupported_grant_type"),
        (b"%zz", "form-malformed", "invalid_request"),
        (b"grant_type", "form-malformed", "invalid_request"),
        ("grant_type=é".encode(), "form-malformed", "invalid_request"),
        (b"&".join(b"a=%d" % number for number in range(17)), "form-malformed", "invalid_request"),
        (b"{}", "form-malformed", "invalid_request"),
    ],
)
async def test_a_body_that_is_no_form_of_this_grant_is_refused(stage, body, rule, oauth_error):
    with Refused(rule, oauth_error):
        await stage.exchange.exchange(body, stage.actors[A], stage.registry.snapshot(entries=False))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"scope": "all"}, "form-malformed"),
        ({"audience": "https://elsewhere.test"}, "form-malformed"),
        ({"actor_token": "x"}, "form-malformed"),
        ({"subject_token": None}, "subject-token"),
        ({"subject_token_type": None}, "subject-token"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "subject-token"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "requested-token-type"),
        ({"requested_token_type": ""}, "requested-token-type"),
        ({"subject_token_type": ID_TOKEN}, "subject-token"),
    ],
)
async def test_a_parameter_that_is_missing_unknown_or_of_another_kind_is_refused(stage, change, rule):
    form = {"grant_type": GRANT, "subject_token": stage.token(), "subject_token_type": JWT, "may_act": B} | change
    body = urlencode({name: value for name, value in form.items() if value is not None}).encode()
    with Refused(rule, "invalid_request"):
        await stage.exchange.exchange(body, stage.actors[A], stage.registry.snapshot(entries=False))


@pytest.mark.parametrize("name", ["grant_type", "subject_token", "subject_token_type", "may_act"])
async def test_a_parameter_given_twice_is_refused(stage, name):
    pairs = [("grant_type", GRANT), ("subject_token", stage.token()), ("subject_token_type", JWT), ("may_act", B)]
    pairs.append(next(pair for pair in pairs if pair[0] == name))
    with Refused("form-malformed", "invalid_request"):
        await stage.exchange.exchange(
            urlencode(pairs).encode(), stage.actors[A], stage.registry.snapshot(entries=False)
        )
    assert stage.records == []


# tokens


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda stage: "", "jwt-malformed"),
        (lambda stage: "x" * 20_000, "jwt-too-large"),
        (lambda stage: stage.token()[:-4] + "AAAA", "jwt-signature"),
        (lambda stage: stage.token(audience=("another",)), "jwt-audience"),
        (lambda stage: stage.token(act="x"), "delegation-malformed"),
        (lambda stage: stage.token(act={"sub": A}), "delegation-cycle"),
        (lambda stage: stage.token(B), "delegation-not-holder"),
        (lambda stage: stage.token(act={"sub": B}), "delegation-not-holder"),
        (lambda stage: stage.token(audience=(EXCHANGE,), may_act={"sub": A}), "delegation-not-holder"),
        (lambda stage: stage.token(cnf={"x5t#S256": thumbprint(stage.actors[B])}), "jwt-binding"),
        (lambda stage: stage.token(cnf={"jkt": "x"}), "jwt-binding"),
        (lambda stage: stage.token(AWAY, authority=stage.away), "delegation-not-holder"),
        (lambda stage: stage.token(AWAY, authority=stage.away, act={"sub": A}), "delegation-foreign"),
    ],
)
async def test_a_token_that_is_not_the_holders_own_is_not_handed_over(stage, make, rule):
    with Refused(rule):
        await stage.ask(make(stage), A, may_act=B)
    assert stage.records == []


@pytest.mark.parametrize(
    ("may_act", "rule"),
    [
        ("", "delegation-malformed"),
        ("b", "delegation-malformed"),
        (f"spiffe://{TD}", "delegation-malformed"),
        (A, "delegation-cycle"),
    ],
)
async def test_a_token_is_handed_over_to_another_member_only(stage, may_act, rule):
    with Refused(rule):
        await stage.ask(stage.token(), A, may_act=may_act)


@pytest.mark.parametrize(
    "make",
    [
        lambda stage: stage.token(),
        lambda stage: stage.token(audience=(EXCHANGE,)),
        lambda stage: stage.token(may_act={"sub": B}),
        lambda stage: stage.token(audience=(EXCHANGE, GATEWAY), may_act={"sub": B}),
        lambda stage: stage.token(audience=(EXCHANGE,), may_act={"sub": C}),
        lambda stage: stage.token(audience=(EXCHANGE,), may_act=B),
        lambda stage: stage.token(audience=(EXCHANGE,), may_act={"sub": B, "iss": "x"}),
    ],
)
async def test_what_nobody_handed_to_this_actor_is_not_taken_up(stage, make):
    with Refused("delegation-not-granted"):
        await stage.ask(make(stage), B)


async def test_a_token_of_another_domain_is_not_turned_into_one_of_ours(stage):
    foreign = stage.token(AWAY, (EXCHANGE,), authority=stage.away, may_act={"sub": B})
    with Refused("delegation-not-issued"):
        await stage.ask(foreign, B)
    assert stage.records == []


async def test_a_token_without_an_id_is_not_exchanged(stage):
    signer = stage.authority._signer
    body = {"sub": A, "aud": GATEWAY, "iat": stage.now, "exp": stage.now + 60}
    token = jwt.encode(body, signer.jwt_key, algorithm="ES256", headers={"kid": signer.jwt.authority_id})
    with Refused("jwt-id-missing"):
        await stage.ask(token, A, may_act=B)


async def test_a_token_that_was_taken_up_is_good_for_its_certificate_alone(stage):
    taken = await stage.pass_on(stage.token(), A, B)
    with Refused("jwt-binding"):
        await stage.ask(taken, stage.actor(B), may_act=C)
    assert stage.chain(await stage.pass_on(taken, B, C)) == (A, B, C)


# chains


async def test_a_chain_grows_no_deeper_than_configured_and_is_refused_when_handed_over(stage):
    stage.configure(max_depth=2)
    token = await stage.pass_on(await stage.pass_on(stage.token(), A, B), B, C)
    with Refused("delegation-too-deep"):
        await stage.ask(token, C, may_act=D)


async def test_a_chain_handed_over_before_the_depth_was_lowered_is_refused_when_taken_up(stage):
    handed = await stage.ask(await stage.pass_on(stage.token(), A, B), B, may_act=C)
    stage.configure(max_depth=1)
    with Refused("delegation-too-deep"):
        await stage.ask(handed, C)


async def test_nobody_is_in_a_chain_twice(stage):
    token = await stage.pass_on(await stage.pass_on(stage.token(), A, B), B, C)
    for up_the_chain in (A, B, C):
        with Refused("delegation-cycle"):
            await stage.ask(token, C, may_act=up_the_chain)


# standing


@pytest.mark.parametrize("link", [A, B, C])
@pytest.mark.parametrize("status", ["suspended", "quarantined", "retired"])
async def test_a_chain_with_a_link_that_does_not_stand_is_not_passed_on(stage, link, status):
    handed = await stage.ask(await stage.pass_on(stage.token(), A, B), B, may_act=C)
    stage.registry.set_status(link, status, "a test", by=BY)
    with Refused(f"identity-{status}"):
        await stage.ask(handed, C)


@pytest.mark.parametrize("link", [A, B, C])
async def test_a_chain_with_a_revoked_link_is_not_passed_on(stage, link):
    handed = await stage.ask(await stage.pass_on(stage.token(), A, B), B, may_act=C)
    stage.registry.revocations.revoke("id", link, "a test", by=BY)
    with Refused("identity-revoked"):
        await stage.ask(handed, C)


async def test_an_unregistered_actor_takes_up_nothing(stage):
    nobody = f"spiffe://{TD}/agent/nobody"
    stage.actors[nobody] = stage.actor(nobody)
    with Refused("identity-unregistered"):
        await stage.pass_on(stage.token(), A, nobody)


async def test_a_revoked_token_or_certificate_is_not_exchanged(stage):
    token = stage.token()
    stage.registry.revoke_serial(stage.read(token).jti, "lost", by=BY)
    with Refused("identity-revoked"):
        await stage.ask(token, A, may_act=B)
    stage.registry.revoke_serial(stage.actors[A].serial, "lost", by=BY)
    with Refused("certificate-revoked"):
        await stage.ask(stage.token(), A, may_act=B)


async def test_what_a_revoked_authority_signed_is_not_exchanged(stage):
    token = stage.token()
    stage.registry.revocations.revoke("authority", stage.read(token).key_id, "lost", by=BY)
    with Refused("identity-revoked"):
        await stage.ask(token, A, may_act=B)


# once


async def test_a_token_is_exchanged_once(stage):
    token = stage.token()
    handed = await stage.ask(token, A, may_act=B)
    with Refused("jwt-replayed"):
        await stage.ask(token, A, may_act=C)
    await stage.ask(handed, B)
    with Refused("jwt-replayed"):
        await stage.ask(handed, B)


async def test_of_many_exchanges_of_one_token_at_once_one_succeeds(stage):
    token = stage.token()
    results = await asyncio.gather(*(stage.ask(token, A, may_act=B) for _ in range(8)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, ExchangeError)]
    assert len(refused) == 7
    assert {error.code for error in refused} == {"jwt-replayed"}
    assert len(stage.records) == 1


async def test_a_refused_request_does_not_use_the_token_up(stage):
    token = stage.token()
    for wrong in ({"may_act": A}, {"may_act": "x"}, {}):
        with pytest.raises(ExchangeError):
            await stage.ask(token, A, **wrong)
    assert await stage.ask(token, A, may_act=B)


# what fails


async def test_nothing_is_given_that_the_audit_log_does_not_have(stage):
    stage.record_fails = True
    with pytest.raises(UnavailableError) as caught:
        await stage.ask(stage.token(), A, may_act=B)
    assert caught.value.code == "audit_unavailable"


async def test_nothing_is_exchanged_while_replays_cannot_be_told(stage, monkeypatch):
    def gone(*_):
        raise RegistryError("the inventory cannot be written")

    monkeypatch.setattr(stage.registry.used_tokens, "use", gone)
    with pytest.raises(UnavailableError) as caught:
        await stage.ask(stage.token(), A, may_act=B)
    assert caught.value.code == "replay_unavailable"
    assert stage.records == []


# people


@pytest.fixture
def people(stage, tmp_path):
    with oidc_issuer(tmp_path) as issuer:
        config = PersonIssuer(
            name="corp", url=issuer.url, audience=GATEWAY, algorithms=["ES256"], ca_file=issuer.ca_file, claim="email"
        )
        stage.now = int(time.time()) + 1
        stage.configure(Persons([config], stage.registry.used_tokens, stage.clock))
        yield issuer


def id_token(issuer, **claims):
    return issuer.token(**{"sub": "1", "aud": GATEWAY, "email": "ada@home.test", **claims})


async def test_an_agent_acts_for_a_person_no_longer_than_the_id_token(stage, people):
    taken = await stage.ask(id_token(people, exp=stage.now + 100), A, ID_TOKEN)
    assert stage.chain(taken) == (PERSON, A)
    read = stage.read(taken)
    assert read.not_after <= stage.now + 100
    assert read.claims["cnf"] == {"x5t#S256": thumbprint(stage.actors[A])}


@pytest.mark.parametrize(
    ("claims", "rule"),
    [
        ({"email": "eve@home.test"}, "person-unknown"),
        ({"email": None}, "person-unknown"),
        ({"aud": "another"}, None),
        ({"exp": START - 1000}, None),
        ({"iss": "https://another.test"}, "oidc-issuer"),
    ],
)
async def test_an_id_token_that_proves_nobody_here_is_refused(stage, people, claims, rule):
    with pytest.raises(ExchangeError) as caught:
        await stage.ask(id_token(people, **claims), A, ID_TOKEN)
    assert caught.value.oauth_error == "invalid_grant"
    assert caught.value.code == rule or (rule is None and caught.value.code.startswith("oidc-"))
    assert stage.records == []


async def test_an_id_token_is_exchanged_once_also_at_the_same_time(stage, people):
    token = id_token(people)
    results = await asyncio.gather(*(stage.ask(token, name, ID_TOKEN) for name in AGENTS), return_exceptions=True)
    assert sorted(getattr(result, "code", "") for result in results) == ["", *["jwt-replayed"] * 3]


async def test_an_id_token_is_not_handed_over_and_not_taken_for_another_kind(stage, people):
    with Refused("subject-token", "invalid_request"):
        await stage.ask(id_token(people), A, ID_TOKEN, may_act=B)
    with pytest.raises(ExchangeError, match=r"subject|SPIFFE"):
        await stage.ask(id_token(people), A, JWT)


@pytest.mark.parametrize("link", [PERSON, A])
async def test_nobody_acts_for_a_suspended_person_and_no_suspended_agent_acts(stage, people, link):
    stage.registry.set_status(link, "suspended", "a test", by=BY)
    with Refused("identity-suspended"):
        await stage.ask(id_token(people), A, ID_TOKEN)
