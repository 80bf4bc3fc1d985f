"""Other trust domains' bundles: what each attempt makes of what is known, what is kept, and who may serve them."""

import asyncio
import json
import stat
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from identity.bundle import TrustBundle
from identity.clock import NANOSECONDS
from identity.errors import BundleError, SealError, SvidError
from identity.federation import (
    FIRST_RETRY_SECONDS,
    MAX_REFRESH_SECONDS,
    MIN_REFRESH_SECONDS,
    BundleEndpoint,
    Failed,
    FederatedDomain,
    Fetched,
    first_state,
    is_empty,
)
from identity.federation_fetching import fetch_bundle
from identity.federation_manager import FederationManager
from identity.federation_store import FederationStore
from identity.verification import verify_peer
from tests.support.certificates import CertificateAuthority
from tests.support.https_server import Answer, loopback_leaf, serving

AWAY, NOW = "away.test", 1_800_000_000
SERVER_ID = f"spiffe://{AWAY}/bundle-endpoint"
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
ROOT = CertificateAuthority.root(AWAY, now=NOW)


def bundle(sequence=1, *, hint=300, domain=AWAY, authorities=(ROOT.der,), jwt=False):
    return TrustBundle(domain, authorities, sequence, hint, {"k": KEY} if jwt else {})


def held(sequence=5, **changes):
    return FederatedDomain(AWAY).after(Fetched(bundle(sequence, **changes)), NOW)


# the state machine


def test_a_bundle_is_taken_and_the_next_is_due_by_its_hint():
    state = FederatedDomain(AWAY).after(Fetched(bundle(7, hint=600)), NOW)
    assert (state.trusted, state.fetched_at, state.next_refresh) == (bundle(7, hint=600), NOW, NOW + 600)
    status = state.status(NOW + 90)
    assert (status.state, status.sequence, status.authorities, status.age_seconds) == ("fresh", 7, 1, 90)


@pytest.mark.parametrize(
    ("hint", "delay"), [(0, MIN_REFRESH_SECONDS), (1, MIN_REFRESH_SECONDS), (10**9, MAX_REFRESH_SECONDS), (60, 60)]
)
def test_a_hint_is_followed_within_bounds(hint, delay):
    assert held(hint=hint).next_refresh == NOW + delay


def test_a_failure_keeps_the_last_good_bundle_with_its_age_and_says_why():
    state = held().after(Failed("no route"), NOW + 400)
    assert state.trusted == bundle(5)
    status = state.status(NOW + 500)
    assert (status.state, status.error, status.age_seconds, status.failures) == ("stale", "no route", 500, 1)
    assert state.after(Fetched(bundle(5)), NOW + 600).status(NOW + 600).state == "fresh"


def test_failures_wait_ever_longer_and_never_longer_than_the_hint_says():
    state, waits = held(hint=100), []
    for _ in range(40):
        state = state.after(Failed("x"), NOW)
        waits.append(state.next_refresh - NOW)
    assert waits[:5] == [FIRST_RETRY_SECONDS, 10, 20, 40, 80]
    assert set(waits[5:]) == {100}


def test_a_sequence_that_goes_backwards_is_kept_out_and_reported():
    state = held(5).after(Fetched(bundle(4, authorities=(b"old",))), NOW + 1)
    assert state.trusted == bundle(5)
    assert "from 5 to 4" in state.error
    assert state.fetched_at == NOW


def test_a_bundle_without_keys_withdraws_at_once_whatever_its_sequence():
    for sequence in (0, 4, 5, 9):
        state = held(5).after(Fetched(bundle(sequence, authorities=())), NOW + 1)
        assert state.trusted is None
        assert state.status(NOW + 1).state == "withdrawn"
        for back in range(max(5, sequence) + 1):
            assert state.after(Fetched(bundle(back)), NOW + 2).trusted is None
        assert state.after(Fetched(bundle(max(5, sequence) + 1)), NOW + 2).trusted is not None


def test_a_bundle_of_jwt_keys_alone_is_no_withdrawal():
    assert held(5).after(Fetched(bundle(6, authorities=(), jwt=True)), NOW).trusted is not None


def test_a_bundle_of_another_domain_is_refused():
    assert held(5).after(Fetched(bundle(6, domain="evil.test")), NOW).trusted == bundle(5)


RESULTS = st.one_of(
    st.builds(Failed, st.just("down")),
    st.builds(
        lambda sequence, empty: Fetched(bundle(sequence, authorities=() if empty else (ROOT.der,))),
        st.integers(0, 8),
        st.booleans(),
    ),
)


@given(st.lists(st.tuples(RESULTS, st.floats(0, 1)), max_size=40))
def test_whatever_comes_sequences_only_rise_and_only_a_newer_bundle_ends_a_withdrawal(steps):
    state, now = FederatedDomain(AWAY), NOW
    for result, spread in steps:
        before, now = state, now + 1000
        state = before.after(result, now, spread)
        assert 1 <= state.next_refresh - now <= MAX_REFRESH_SECONDS
        if before.bundle is None or state.bundle is None:
            assert isinstance(result, Fetched) or state.bundle == before.bundle
            continue
        assert state.bundle.sequence >= before.bundle.sequence
        if is_empty(before.bundle) and not is_empty(state.bundle):
            assert state.bundle.sequence > before.bundle.sequence
        if isinstance(result, Failed):
            assert state.bundle == before.bundle
        elif is_empty(result.bundle):
            assert state.trusted is None


def test_a_bundle_given_by_hand_begins_and_later_counts_only_if_it_is_newer():
    def endpoint(sequence):
        return BundleEndpoint(AWAY, "https://a.test/b", bootstrap=bundle(sequence))

    assert first_state(endpoint(1), None).trusted == bundle(1)
    assert first_state(endpoint(1), None).status(NOW).age_seconds is None
    withdrawn = held(5).after(Fetched(bundle(5, authorities=())), NOW)
    assert first_state(endpoint(5), withdrawn).trusted is None
    assert first_state(endpoint(6), withdrawn).trusted == bundle(6)


@pytest.mark.parametrize(
    "parts",
    [
        {"trust_domain": "Not A Domain"},
        {"url": "http://a.test/bundle"},
        {"url": "https://user@a.test/bundle"},
        {"profile": "https_spiffe"},
        {"profile": "https_spiffe", "server_id": f"spiffe://{AWAY}"},
        {"server_id": SERVER_ID},
        {"bootstrap": bundle(domain="evil.test")},
    ],
)
def test_an_endpoint_whose_parts_do_not_fit_is_refused(parts):
    with pytest.raises(BundleError, match="federation with"):
        BundleEndpoint(**{"trust_domain": AWAY, "url": "https://a.test/bundle", **parts})


# what is kept


def test_what_was_fetched_survives_a_restart_with_its_age_and_nobody_else_can_read_it(tmp_path):
    store = FederationStore(tmp_path / "federation")
    assert store.read(AWAY) is None
    store.write(held(5, jwt=True))
    kept = store.read(AWAY)
    assert (kept.bundle, kept.fetched_at) == (bundle(5, jwt=True), NOW)
    assert stat.S_IMODE(store.path(AWAY).stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path(AWAY).parent.stat().st_mode) == 0o700
    assert kept.next_refresh == 0


def test_a_withdrawal_survives_a_restart(tmp_path):
    store = FederationStore(tmp_path)
    store.write(held(5).after(Fetched(bundle(1, authorities=())), NOW))
    assert store.read(AWAY).trusted is None
    assert store.read(AWAY).bundle.sequence == 5


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"trust_domain": "evil.test", "fetched_at": 1, "bundle": {}}']
)
def test_a_kept_file_that_was_damaged_is_refused_by_name(tmp_path, content):
    store = FederationStore(tmp_path)
    store.write(held())
    store.path(AWAY).write_bytes(content)
    with pytest.raises(BundleError, match="cannot be used"):
        store.read(AWAY)


def test_the_longest_trust_domain_has_a_file_of_its_own(tmp_path):
    store, name = FederationStore(tmp_path), "a" * 255
    store.write(FederatedDomain(name, bundle(domain=name), NOW))
    assert store.read(name).trusted == bundle(domain=name)
    assert store.read("a" * 254) is None


# the manager


class Remote:
    """Answers in place of the network."""

    def __init__(self):
        self.result = Failed("down")
        self.calls = []

    async def __call__(self, endpoint, bundles, now):
        self.calls.append((endpoint.trust_domain, dict(bundles)))
        result = self.result(endpoint) if callable(self.result) else self.result
        if isinstance(result, Exception):
            raise result
        return result


class Host:
    def __init__(self, tmp_path, endpoints, fetch, store=None):
        self.now, self.changes = NOW, []
        self.manager = FederationManager(
            endpoints,
            store or FederationStore(tmp_path),
            lambda name, bundle: self.changes.append((name, bundle)),
            lambda: self.now * NANOSECONDS,
            fetch=fetch,
            spread=lambda: 0.0,
        )


@pytest.fixture
def remote():
    return Remote()


WEB = BundleEndpoint(AWAY, "https://a.test/bundle")


async def test_changes_are_told_once_and_withdrawals_as_none(tmp_path, remote):
    host = Host(tmp_path, [WEB], remote)
    for remote.result in (
        Fetched(bundle(1)), Fetched(bundle(1)), Failed("down"), Fetched(bundle(2)), Fetched(bundle(3, authorities=())),
        Fetched(bundle(2)),
    ):  # fmt: skip
        await host.manager.refresh(AWAY)
    assert host.changes == [(AWAY, bundle(1)), (AWAY, bundle(2)), (AWAY, None)]
    assert host.manager.bundles() == {}


async def test_a_restart_serves_what_was_kept_before_anything_is_fetched(tmp_path, remote):
    remote.result = Fetched(bundle(4))
    await Host(tmp_path, [WEB], remote).manager.refresh(AWAY)
    remote.result = Failed("down")
    again = Host(tmp_path, [WEB], remote)
    assert again.manager.bundles() == {AWAY: bundle(4)}
    again.now += 1000
    assert again.manager.status()[0].age_seconds == 1000


async def test_any_fault_of_one_domain_leaves_the_others_alone(tmp_path, remote):
    other = BundleEndpoint("other.test", "https://o.test/bundle")
    remote.result = lambda e: RuntimeError("boom") if e.trust_domain == AWAY else Fetched(bundle(domain="other.test"))
    host = Host(tmp_path, [WEB, other], remote)
    task = asyncio.create_task(host.manager.run())
    while len(remote.calls) < 2 or not host.changes:
        await asyncio.sleep(0)
    assert set(host.manager.bundles()) == {"other.test"}
    assert "boom" in host.manager.status()[0].error
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_run_fetches_again_when_the_hint_is_over_and_not_before(tmp_path, remote, monkeypatch):
    remote.result = Fetched(bundle(1, hint=600))
    host, slept, sleep = Host(tmp_path, [WEB], remote), [], asyncio.sleep

    async def passing(seconds):
        slept.append(seconds)
        host.now += round(seconds)
        if sum(slept) > 1300:
            raise OSError("enough")
        await sleep(0)

    monkeypatch.setattr("identity.federation_manager.asyncio.sleep", passing)
    with pytest.raises(ExceptionGroup):
        await host.manager.run()
    assert len(remote.calls) == 3
    assert max(slept) <= 60


async def test_a_clock_that_is_set_back_does_not_stop_the_fetching(tmp_path, remote):
    remote.result = Fetched(bundle(1))
    host = Host(tmp_path, [WEB], remote)
    await host.manager.refresh(AWAY)
    host.now -= 10 * 365 * 86_400
    task = asyncio.create_task(host.manager.run())
    for _ in range(200):
        await asyncio.sleep(0.001)
        if len(remote.calls) >= 2:
            break
    task.cancel()
    assert len(remote.calls) == 2


async def test_a_bundle_that_cannot_be_kept_is_in_force_and_the_status_says_so(tmp_path, remote):
    class Full(FederationStore):
        full = True

        def write(self, domain):
            if self.full:
                raise SealError("no space left")
            super().write(domain)

    store = Full(tmp_path)
    host = Host(tmp_path, [WEB], remote, store)
    remote.result = Fetched(bundle(1))
    assert "no space left" in (await host.manager.refresh(AWAY)).error
    assert host.manager.bundles() == {AWAY: bundle(1)}
    store.full, remote.result = False, Failed("down")
    assert "no space left" not in (await host.manager.refresh(AWAY)).error
    assert store.read(AWAY).bundle == bundle(1)


async def test_unknown_and_repeated_domains_are_refused(tmp_path, remote):
    with pytest.raises(BundleError, match="not federated"):
        await Host(tmp_path, [WEB], remote).manager.refresh("other.test")
    with pytest.raises(BundleError, match="twice"):
        Host(tmp_path, [WEB, WEB], remote)


# fetching, over real HTTPS


@pytest.fixture(scope="module")
def real_now():
    return int(time.time())


@pytest.fixture(scope="module")
def away(real_now):
    return CertificateAuthority.root(AWAY, now=real_now)


@pytest.fixture
def web(tmp_path, real_now):
    root = CertificateAuthority.root("web", now=real_now, uri="")
    path = tmp_path / "web-ca.pem"
    path.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    return path, loopback_leaf(root, real_now)


async def fetched(answer, web, tmp_path, **bounds):
    ca_file, leaf = web
    async with serving(leaf, tmp_path, lambda request: answer) as server:
        endpoint = BundleEndpoint(AWAY, server.url + "/bundle", ca_file=ca_file)
        result = await fetch_bundle(endpoint, {}, 0, **bounds)
    return result, server


async def test_https_web_takes_a_bundle_from_a_server_of_the_given_authority(web, tmp_path):
    result, _ = await fetched(Answer(bundle(3, jwt=True).to_jwks()), web, tmp_path)
    assert result == Fetched(bundle(3, jwt=True))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=301, headers={"location": "/other"}), "redirects"),
        (Answer(status=302, headers={"location": "https://127.0.0.1/"}), "redirects"),
        (Answer(status=304), "redirects"),
        (Answer(status=503), "503"),
        (Answer(b"x" * 70_000), "more than 65536 bytes"),
        (Answer(bundle(1).to_jwks(), pause=5), "within 0.5 seconds"),
        (Answer(b"<html>"), "not a JSON object"),
        (Answer(b'{"keys": [], "keys": []}'), "twice"),
        (Answer(b'{"nokeys": []}'), "'keys' is missing"),
        (Answer(bundle(1).to_jwks(), headers={"content-encoding": "gzip"}), "compressed"),
    ],
    ids=["redirect", "redirect-away", "304", "503", "oversized", "slow", "html", "twice", "no-keys", "compressed"],
)
async def test_an_endpoint_that_misbehaves_changes_nothing_and_is_told(web, tmp_path, answer, reason):
    begin = time.monotonic()
    result, server = await fetched(answer, web, tmp_path, timeout_seconds=0.5, max_bytes=65_536)
    assert isinstance(result, Failed)
    assert reason in result.reason
    assert time.monotonic() - begin < 3
    assert [request.path for request in server.requests] == ["/bundle"]


async def test_https_web_refuses_a_server_of_an_unknown_authority_and_one_that_is_away(web, tmp_path):
    async with serving(web[1], tmp_path, lambda request: Answer(bundle().to_jwks())) as server:
        result = await fetch_bundle(BundleEndpoint(AWAY, server.url), {}, 0)
        assert isinstance(result, Failed)
        assert server.requests == []
    assert isinstance(await fetch_bundle(BundleEndpoint(AWAY, server.url, ca_file=web[0]), {}, 0), Failed)


async def spiffe(leaf, bundles, now, tmp_path, server_id=SERVER_ID):
    document = bundle(9).to_jwks()
    async with serving(leaf, tmp_path, lambda request: Answer(document)) as server:
        endpoint = BundleEndpoint(AWAY, server.url + "/bundle", "https_spiffe", server_id=server_id)
        return await fetch_bundle(endpoint, bundles, now)


def svid(authority, now, uri=SERVER_ID, **changes):
    return authority.issue(uri, **{"not_before": now - 60, "not_after": now + 600, **changes})


async def test_https_spiffe_takes_a_bundle_from_the_server_with_the_right_id(away, real_now, tmp_path):
    known = {AWAY: away.bundle(AWAY)}
    assert await spiffe(svid(away, real_now), known, real_now, tmp_path) == Fetched(bundle(9))
    middle = away.intermediate(f"spiffe://{AWAY}", now=real_now)
    assert await spiffe(svid(middle, real_now), known, real_now, tmp_path) == Fetched(bundle(9))


async def test_https_spiffe_refuses_every_server_but_that_one(away, real_now, tmp_path):
    evil = CertificateAuthority.root("evil.test", now=real_now)
    known = {AWAY: away.bundle(AWAY), "evil.test": evil.bundle("evil.test")}
    cases = {
        "another domain's authority for this id": svid(evil, real_now),
        "another domain's server": svid(evil, real_now, "spiffe://evil.test/bundle-endpoint"),
        "another member": svid(away, real_now, f"spiffe://{AWAY}/agent/a"),
        "expired": svid(away, real_now, not_after=real_now - 1),
        "two ids": away.issue(SERVER_ID, SERVER_ID, not_before=real_now - 60, not_after=real_now + 600),
        "an authority as server": svid(away, real_now, ca=True),
        "signed by itself": svid(away, real_now, self_signed=True),
        "an intermediate of another domain": svid(away.intermediate("spiffe://evil.test", now=real_now), real_now),
    }
    for name, leaf in cases.items():
        assert isinstance(await spiffe(leaf, known, real_now, tmp_path), Failed), name


async def test_https_spiffe_without_a_bundle_or_after_a_withdrawal_trusts_nobody(away, real_now, tmp_path):
    for known in ({}, {AWAY: TrustBundle(AWAY, (), 9)}, {"evil.test": away.bundle("evil.test")}):
        result = await spiffe(svid(away, real_now), known, real_now, tmp_path)
        assert isinstance(result, Failed)
        assert "no bundle of away.test" in result.reason


async def test_a_member_is_verified_before_and_not_after_its_domain_withdraws(away, real_now, tmp_path, web):
    ca_file, leaf = web
    documents = [
        TrustBundle(AWAY, (away.der,), 1).to_jwks(),
        json.dumps({"keys": [], "spiffe_sequence": 2}).encode(),
    ]
    async with serving(leaf, tmp_path, lambda request: Answer(documents[0])) as server:
        host = Host(tmp_path / "kept", [BundleEndpoint(AWAY, server.url, ca_file=ca_file)], fetch_bundle)
        member = svid(away, real_now, f"spiffe://{AWAY}/agent/a").chain
        await host.manager.refresh(AWAY)
        assert verify_peer(member, host.manager.bundles(), real_now).trust_domain == AWAY
        documents.pop(0)
        assert (await host.manager.refresh(AWAY)).state == "withdrawn"
        with pytest.raises(SvidError) as caught:
            verify_peer(member, host.manager.bundles(), real_now)
        assert caught.value.rule == "trust-domain-unknown"
