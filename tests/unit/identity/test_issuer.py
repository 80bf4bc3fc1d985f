"""What workloads are given and when it is replaced, with a real authority and a real inventory."""

import asyncio
from dataclasses import replace

import pytest
from cryptography import x509

from identity import issuer as issuer_module
from identity.authority import Authority, create_trust_domain
from identity.bundle import TrustBundle
from identity.clock import NANOSECONDS
from identity.entries import Entry
from identity.errors import IdentityError, RegistryError
from identity.issuer import RETRY_SECONDS, Issuer
from identity.jwt_svid import verify_jwt_svid
from identity.keys import MemoryKeyManager
from identity.registry import Registry
from identity.verification import verify_peer
from identity.workload_api.source import NoIdentityError

START = 1_800_000_000
TD = "home.test"
GATEWAY = f"spiffe://{TD}/gateway"
A, B = f"spiffe://{TD}/agent/a", f"spiffe://{TD}/agent/b"
BY = "operator:tests"
ONE, TWO = frozenset({"unix:uid:1"}), frozenset({"unix:uid:2"})
BOTH = ONE | TWO
TTL = 600


class Stage:
    """An issuer whose surroundings a test moves."""

    def __init__(self, directory):
        self.now = START
        keys = MemoryKeyManager()
        create_trust_domain(directory, TD, keys, self.clock)
        self.authority = Authority.open(directory, TD, keys, self.clock)
        self.registry = Registry(directory / "registry.sqlite", self.clock)
        self.records = []
        self.record_fails = False
        self.gate = None
        self.drawn = 1.0
        self.away = {}
        for spiffe_id in (A, B):
            self.registry.register(spiffe_id, team="t", owner="o@home.test", purpose="a test", by=BY)
        self.issuer = Issuer(
            authority=self.authority, registry=self.registry, parent_id=GATEWAY, federated=lambda: self.away,
            record=self.record, clock=self.clock, x509_ttl_seconds=TTL, jwt_issuer="https://issuer.test",
            jitter=self.jitter,
        )  # fmt: skip

    def clock(self):
        return self.now * NANOSECONDS

    def jitter(self, low, high):
        assert (low, high) == (0.9, 1.1)
        return self.drawn

    async def record(self, record_type, fields):
        if self.gate is not None:
            await self.gate.wait()
        if self.record_fails:
            raise IdentityError("the audit log is full")
        self.records.append((record_type, fields))

    @property
    def issued(self):
        return [fields["serial"] for kind, fields in self.records if kind == "identity.issued"]

    def entry(self, spiffe_id=A, selectors=ONE, **changes):
        entry = replace(Entry("", spiffe_id, GATEWAY, selectors), **changes)
        return self.registry.entries.create(entry, by=BY)

    def lose_inventory(self, monkeypatch):
        def gone(_rows):
            raise RegistryError("the inventory cannot be written")

        monkeypatch.setattr(self.registry, "record_svids", gone)

    def taint(self):
        """Put another authority into service and taint the one before."""
        before = next(each for each in self.authority.show().x509 if each.state == "active")
        self.authority.prepare("x509")
        self.authority.activate("x509")
        self.authority.taint("x509", before.authority_id)

    async def only(self, selectors=ONE):
        [svid] = (await self.issuer.x509_context(selectors)).svids
        return svid

    async def stream(self, selectors):
        """Start to wait as a stream does that was just served."""
        await self.issuer.x509_context(selectors)
        version = self.issuer.version(selectors)
        task = asyncio.create_task(self.issuer.changed(selectors, version))
        await asyncio.sleep(0)
        assert not task.done()
        return task

    async def woken(self, *streams):
        """Return whether each stream was woken."""
        for _ in range(3):
            await asyncio.sleep(0)
        return [each.done() for each in streams]


def serial(svid):
    return f"{x509.load_der_x509_certificate(svid.chain[0]).serial_number:x}"


@pytest.fixture
async def stage(tmp_path):
    stage = Stage(tmp_path)
    yield stage
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    stage.registry.close()


@pytest.fixture
async def ready(stage):
    """A stage with one entry, taken in."""
    stage.first = stage.entry()
    await stage.issuer.tick()
    return stage


# what is given


async def test_nothing_is_given_before_the_inventory_was_read(stage):
    stage.entry()
    assert not stage.issuer.ready
    with pytest.raises(RegistryError, match="not read yet"):
        await stage.issuer.x509_context(ONE)
    await stage.issuer.tick()
    assert stage.issuer.ready
    assert (await stage.only()).spiffe_id == A


async def test_an_svid_is_shared_by_all_who_match_and_on_record_once(ready):
    first, second = await asyncio.gather(ready.only(), ready.only(BOTH))
    assert first is second is await ready.only()
    assert ready.issued == [serial(first)]
    assert ready.registry.issued(serial(first)).spiffe_id == A
    peer = verify_peer(first.chain, {TD: ready.authority.bundle()}, ready.now)
    assert (peer.id, peer.not_after) == (A, START + TTL)


async def test_a_workload_gets_one_svid_for_each_entry_that_matches_it_whole(ready):
    ready.entry(B, BOTH, hint="second", x509_ttl_seconds=120)
    await ready.issuer.tick()
    assert {svid.spiffe_id for svid in (await ready.issuer.x509_context(BOTH)).svids} == {A, B}
    assert {svid.spiffe_id for svid in (await ready.issuer.x509_context(ONE)).svids} == {A}
    with pytest.raises(NoIdentityError, match="no registration entry"):
        await ready.issuer.x509_context(TWO)


async def test_federated_bundles_are_those_that_the_entries_name(ready):
    ready.away = {name: TrustBundle(name, ()) for name in ("away.test", "other.test")}
    ready.entry(B, TWO, federates_with=("away.test", "unknown.test"))
    await ready.issuer.tick()
    assert set((await ready.issuer.x509_context(TWO)).federated) == {"away.test"}
    assert set(ready.issuer.bundles(ONE)) == {TD}
    assert set(ready.issuer.bundles(BOTH)) == {TD, "away.test"}


# what is not


@pytest.mark.parametrize("status", ["pending", "suspended", "quarantined", "retired", "unknown"])
async def test_an_identity_that_is_not_active_is_given_nothing(stage, status):
    spiffe_id = f"spiffe://{TD}/agent/c"
    if status != "unknown":
        first = "pending" if status == "pending" else "active"
        stage.registry.register(spiffe_id, team="t", owner="o@home.test", purpose="a test", by=BY, status=first)
    if status not in {"unknown", "pending"}:
        stage.registry.set_status(spiffe_id, status, "a test", by=BY)
    stage.entry(spiffe_id)
    await stage.issuer.tick()
    with pytest.raises(NoIdentityError, match="not in the inventory" if status == "unknown" else status):
        await stage.issuer.x509_context(ONE)
    with pytest.raises(NoIdentityError):
        await stage.issuer.jwt_svids(ONE, ["x"], None)
    with pytest.raises(NoIdentityError):
        stage.issuer.bundles(ONE)
    assert stage.records == []


@pytest.mark.parametrize("kind", ["id", "entry", "suspended", "removed"])
async def test_what_is_taken_back_is_given_no_more_and_its_streams_are_told(ready, kind):
    await ready.only()
    stream = await ready.stream(ONE)
    if kind == "suspended":
        ready.registry.set_status(A, "suspended", "a test", by=BY)
    elif kind == "removed":
        ready.registry.entries.delete(ready.first.entry_id, by=BY)
    else:
        ready.registry.revocations.revoke(kind, A if kind == "id" else ready.first.entry_id, "a test", by=BY)
    await ready.issuer.tick()
    assert await ready.woken(stream) == [True]
    with pytest.raises(NoIdentityError):
        await ready.issuer.x509_context(ONE)


async def test_an_entry_ends_by_time_without_any_change_to_the_inventory(stage):
    stage.entry(A, ONE)
    stage.entry(B, BOTH, expires_at=START + 100)
    await stage.issuer.tick()
    stream = await stage.stream(BOTH)
    stage.now = START + 99
    await stage.issuer.tick()
    assert await stage.woken(stream) == [False]
    stage.now = START + 100
    await stage.issuer.tick()
    assert await stage.woken(stream) == [True]
    assert [svid.spiffe_id for svid in (await stage.issuer.x509_context(BOTH)).svids] == [A]


async def test_an_identity_suspended_while_its_svid_goes_on_record_is_not_given_it(ready):
    ready.gate = asyncio.Event()
    asking = asyncio.create_task(ready.issuer.x509_context(ONE))
    while not ready.registry.svids(A):
        await asyncio.sleep(0.01)
    ready.registry.set_status(A, "suspended", "a test", by=BY)
    await ready.issuer.tick()
    ready.gate.set()
    with pytest.raises(NoIdentityError, match="suspended"):
        await asking


async def test_an_entry_changed_while_its_svid_goes_on_record_is_served_as_it_is_now(ready):
    ready.gate = asyncio.Event()
    asking = asyncio.create_task(ready.issuer.x509_context(ONE))
    while not ready.registry.svids(A):
        await asyncio.sleep(0.01)
    ready.registry.entries.update(ready.first.entry_id, {"spiffe_id": B}, by=BY)
    await ready.issuer.tick()
    ready.gate.set()
    assert [svid.spiffe_id for svid in (await asking).svids] == [B]
    assert (await ready.only()).spiffe_id == B


async def test_a_token_whose_entry_changes_while_it_goes_on_record_is_not_kept(ready):
    ready.gate = asyncio.Event()
    asking = asyncio.create_task(ready.issuer.jwt_svids(ONE, ["x"], None))
    while not ready.registry.svids(A):
        await asyncio.sleep(0.01)
    ready.registry.entries.update(ready.first.entry_id, {"spiffe_id": B}, by=BY)
    await ready.issuer.tick()
    ready.gate.set()
    assert [token.spiffe_id for token in await asking] == [B]
    assert [token.spiffe_id for token in await ready.issuer.jwt_svids(ONE, ["x"], None)] == [B]


# renewal


@pytest.mark.parametrize(("drawn", "at"), [(0.9, 270), (1.0, 300), (1.1, 330)])
async def test_an_svid_is_renewed_at_half_its_life_give_or_take_a_tenth(ready, drawn, at):
    ready.drawn = drawn
    first = await ready.only()
    stream = await ready.stream(ONE)
    ready.now = START + at - 1
    await ready.issuer.tick()
    assert await ready.only() is first
    assert await ready.woken(stream) == [False]
    ready.now = START + at
    await ready.issuer.tick()
    assert await ready.woken(stream) == [True]
    second = await ready.only()
    assert second.not_after == START + at + TTL
    assert ready.issued == [serial(first), serial(second)]
    assert first.key != second.key


async def test_an_svid_that_nobody_waits_for_is_not_renewed_but_made_anew_when_asked_for(ready):
    first = await ready.only()
    ready.now = START + TTL // 2
    await ready.issuer.tick()
    assert ready.issued == [serial(first)]
    assert (await ready.only()).not_after == ready.now + TTL


async def test_a_stream_that_is_still_sending_when_its_svid_falls_due_asks_again(ready):
    version = ready.issuer.version(ONE)
    await ready.only()
    ready.now = START + TTL // 2
    await ready.issuer.tick()  # nobody waits yet
    assert await asyncio.wait_for(ready.issuer.changed(ONE, version), 1) > version


async def test_a_workload_that_begins_to_wait_during_a_renewal_is_woken(ready):
    others = await ready.stream(ONE)
    ready.gate = asyncio.Event()
    ready.now = START + TTL // 2
    renewal = asyncio.create_task(ready.issuer.tick())
    while len(ready.registry.svids(A)) < 2:
        await asyncio.sleep(0.01)
    late = await ready.stream(BOTH)
    ready.gate.set()
    await renewal
    assert await ready.woken(others, late) == [True, True]


async def test_only_the_streams_that_an_entry_concerns_are_woken_by_its_renewal(ready):
    ready.entry(B, TWO, x509_ttl_seconds=200)
    await ready.issuer.tick()
    one, two, both = [await ready.stream(selectors) for selectors in (ONE, TWO, BOTH)]
    ready.now = START + 100
    await ready.issuer.tick()
    assert await ready.woken(one, two, both) == [False, True, True]


async def test_a_taint_rotates_every_svid_at_once_and_wakes_every_stream(ready):
    ready.entry(B, TWO)
    await ready.issuer.tick()
    before = [await ready.only(ONE), await ready.only(TWO)]
    streams = [await ready.stream(selectors) for selectors in (ONE, TWO, BOTH)]
    ready.taint()
    ready.now += 1
    await ready.issuer.tick()
    assert await ready.woken(*streams) == [True, True, True]
    after = [await ready.only(ONE), await ready.only(TWO)]
    assert {serial(svid) for svid in before} & {serial(svid) for svid in after} == set()
    tainted = ready.authority.tainted()
    assert all(fields["authority"] not in tainted for _, fields in ready.records[2:])
    await ready.issuer.tick()
    assert len(ready.issued) == 4


async def test_a_revoked_serial_is_replaced_at_once(ready):
    first = await ready.only()
    stream = await ready.stream(ONE)
    ready.registry.revoke_serial(serial(first), "lost", by=BY)
    await ready.issuer.tick()
    assert await ready.woken(stream) == [True]
    second = await ready.only()
    assert serial(second) != serial(first)
    assert await ready.only() is second


async def test_a_change_elsewhere_in_the_inventory_replaces_no_svid(ready):
    first = await ready.only()
    ready.entry(B, TWO)
    await ready.issuer.tick()
    assert await ready.only() is first


# what fails


async def test_nothing_is_handed_out_that_the_audit_log_does_not_have(ready):
    ready.record_fails = True
    with pytest.raises(IdentityError, match="audit log is full"):
        await ready.issuer.x509_context(ONE)
    with pytest.raises(IdentityError, match="audit log is full"):
        await ready.issuer.jwt_svids(ONE, ["x"], None)
    ready.record_fails = False
    assert serial(await ready.only()) == ready.issued[-1]


async def test_nothing_is_handed_out_that_the_inventory_does_not_have(ready, monkeypatch):
    with monkeypatch.context() as patch:
        ready.lose_inventory(patch)
        with pytest.raises(RegistryError):
            await ready.issuer.x509_context(ONE)
        with pytest.raises(RegistryError):
            await ready.issuer.jwt_svids(ONE, ["x"], None)
    assert ready.records == []
    assert ready.registry.issued(serial(await ready.only())) is not None


async def test_a_renewal_that_fails_keeps_what_is_held_and_is_tried_again_later(ready):
    first = await ready.only()
    stream = await ready.stream(ONE)
    ready.record_fails, ready.now = True, START + TTL // 2
    with pytest.raises(IdentityError, match="audit log is full"):
        await ready.issuer.tick()
    assert await ready.only() is first
    ready.record_fails, ready.now = False, ready.now + 1
    await ready.issuer.tick()
    assert await ready.only() is first
    ready.now += RETRY_SECONDS
    await ready.issuer.tick()
    assert await ready.woken(stream) == [True]
    assert await ready.only() is not first


async def test_a_taint_that_cannot_be_followed_is_not_tried_at_every_tick(ready, monkeypatch):
    await ready.stream(ONE)
    ready.taint()
    with monkeypatch.context() as patch:
        ready.lose_inventory(patch)
        with pytest.raises(RegistryError):
            await ready.issuer.tick()
        await ready.issuer.tick()  # not due again yet
    ready.now += RETRY_SECONDS + 1
    await ready.issuer.tick()
    assert len(ready.issued) == 2


async def test_a_stream_whose_svid_ran_out_gets_one_once_the_inventory_is_back(ready, monkeypatch):
    await ready.only()
    stream = await ready.stream(ONE)
    ready.now = START + TTL + 1
    with monkeypatch.context() as patch:
        ready.lose_inventory(patch)
        with pytest.raises(RegistryError):
            await ready.issuer.tick()
        with pytest.raises(RegistryError):
            await ready.issuer.x509_context(ONE)
    ready.now += RETRY_SECONDS + 1
    await ready.issuer.tick()
    assert await ready.woken(stream) == [True]
    assert (await ready.only()).not_after == ready.now + TTL


async def crowd(stage, number):
    """Return a stream for each of several workloads, each with an entry of its own."""
    for place in range(number):
        spiffe_id = f"spiffe://{TD}/crowd/{place}"
        stage.registry.register(spiffe_id, team="t", owner="o@home.test", purpose="a test", by=BY)
        stage.entry(spiffe_id, frozenset({f"unix:uid:{5000 + place}"}))
    await stage.issuer.tick()
    return [await stage.stream(frozenset({f"unix:uid:{5000 + place}"})) for place in range(number)]


async def test_one_svid_that_cannot_be_renewed_keeps_no_other_from_it(stage, monkeypatch):
    streams = await crowd(stage, 5)
    real = stage.registry.record_svids

    def refuse_one(rows):
        if any(row.spiffe_id.endswith("/crowd/2") for row in rows):
            raise RegistryError("this one not")
        real(rows)

    monkeypatch.setattr(stage.registry, "record_svids", refuse_one)
    stage.now = START + TTL // 2
    with pytest.raises(RegistryError, match="this one not"):
        await stage.issuer.tick()
    assert await stage.woken(*streams) == [True, True, False, True, True]


async def test_an_inventory_that_is_away_is_not_asked_for_every_svid(stage, monkeypatch):
    monkeypatch.setattr(issuer_module, "BATCH", 4)
    streams = await crowd(stage, 12)
    asked = []

    def gone(rows):
        asked.append(len(rows))
        raise RegistryError("away")

    stage.now = START + TTL // 2
    with monkeypatch.context() as patch:
        patch.setattr(stage.registry, "record_svids", gone)
        with pytest.raises(RegistryError, match="away"):
            await stage.issuer.tick()
    assert asked == [4, 1, 1, 1]
    stage.now += RETRY_SECONDS + 1
    await stage.issuer.tick()
    assert await stage.woken(*streams) == [True] * 12


# tokens


async def test_a_token_is_kept_for_its_audience_until_half_its_life(ready):
    async def token(*audience):
        [svid] = await ready.issuer.jwt_svids(ONE, audience, None)
        return svid.token

    first = await token("x")
    assert await token("x") == first
    assert await token("y") != first
    assert await token("x", "y") not in {first, await token("y", "x")}
    ready.now = START + 149
    assert await token("x") == first
    ready.now = START + 150
    second = await token("x")
    assert second != first
    claims = verify_jwt_svid(second, {TD: ready.authority.bundle()}, "x", ready.now)
    assert (claims.id, claims.not_after, claims.claims["iss"]) == (A, ready.now + 300, "https://issuer.test")
    assert claims.jti in ready.issued
    assert ready.issuer.validate_jwt_svid(ONE, "x", second).id == A


async def test_a_token_is_given_for_the_identity_asked_for_alone(ready):
    ready.entry(B, TWO)
    await ready.issuer.tick()
    assert [token.spiffe_id for token in await ready.issuer.jwt_svids(BOTH, ["x"], B)] == [B]
    with pytest.raises(NoIdentityError, match=r"agent/b"):
        await ready.issuer.jwt_svids(ONE, ["x"], B)


async def test_a_token_of_a_tainted_key_is_not_given_again(ready):
    before = next(each for each in ready.authority.show().jwt if each.state == "active")
    [first] = await ready.issuer.jwt_svids(ONE, ["x"], None)
    ready.authority.prepare("jwt")
    ready.authority.activate("jwt")
    ready.authority.taint("jwt", before.authority_id)
    [second] = await ready.issuer.jwt_svids(ONE, ["x"], None)
    assert second.token != first.token
    key_id = verify_jwt_svid(second.token, {TD: ready.authority.bundle()}, "x", ready.now).key_id
    assert key_id != before.authority_id


async def test_a_revoked_token_is_not_given_again(ready):
    [first] = await ready.issuer.jwt_svids(ONE, ["x"], None)
    ready.registry.revoke_serial(ready.issued[-1], "lost", by=BY)
    await ready.issuer.tick()
    [second] = await ready.issuer.jwt_svids(ONE, ["x"], None)
    assert first.token != second.token


# who waits


async def test_a_stream_that_is_cancelled_leaves_nothing_behind(ready):
    streams = [await ready.stream(selectors) for selectors in (ONE, ONE, BOTH)]
    for stream in streams:
        stream.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stream
    assert ready.issuer._waiting == {}


async def test_of_two_streams_of_one_workload_one_ends_and_the_other_goes_on(ready):
    first, second = [await ready.stream(ONE) for _ in range(2)]
    first.cancel()
    await ready.woken(first)
    ready.issuer.bundles_changed()
    assert await ready.woken(second) == [True]
    assert ready.issuer._waiting == {}


async def test_a_thousand_streams_are_all_woken_and_share_the_svids(ready):
    ready.entry(B, TWO)
    await ready.issuer.tick()
    streams = [await ready.stream((ONE, TWO)[place % 2]) for place in range(1000)]
    ready.taint()
    await ready.issuer.tick()
    assert sum(await ready.woken(*streams)) == 1000
    assert len(ready.issued) == 4
    assert ready.issuer._waiting == {}


async def test_what_is_remembered_of_entries_ends_with_them(ready):
    stream = await ready.stream(ONE)
    ready.now = START + TTL // 2
    await ready.issuer.tick()
    assert await ready.woken(stream) == [True]
    ready.registry.entries.delete(ready.first.entry_id, by=BY)
    await ready.issuer.tick()
    kept = ready.issuer
    assert (kept._held, kept._rotated, kept._making, kept._tokens) == ({}, {}, {}, {})
