"""Renewal of what attested nodes hold: granted as long as attesting again would be, and refused rule by rule."""

import asyncio
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from identity.attestation.base import Attested
from identity.authority import Authority, create_trust_domain
from identity.certificate_request import make_request
from identity.clock import NANOSECONDS
from identity.entries import Entry
from identity.errors import IdentityError, RegistryError
from identity.keys import MemoryKeyManager
from identity.registry import Registry
from identity.remote_issuing import NotGrantedError, RemoteIssuer, RenewalRefusedError
from identity.verification import verify_peer

TD, START = "home.test", 1_800_000_000
GATEWAY, AGENT, OTHER = (f"spiffe://{TD}/{path}" for path in ("gateway", "agent/a", "agent/b"))
NODE = f"spiffe://{TD}/node/x509pop/n1"
PROVED = frozenset({"x509pop:subject:cn:n1", "x509pop:serialnumber:01"})
BY = "operator:alex"


class Stage:
    def __init__(self, tmp_path):
        self.now = START
        keys = MemoryKeyManager()
        create_trust_domain(tmp_path, TD, keys, self.clock)
        self.authority = Authority.open(tmp_path, TD, keys, self.clock)
        self.registry = Registry(tmp_path / "registry.sqlite", self.clock)
        self.records = []
        self.issuer = RemoteIssuer(
            authority=self.authority, registry=self.registry, gateway_id=GATEWAY, record=self.record,
            clock=self.clock, ttl_seconds=600,
        )  # fmt: skip
        for spiffe_id in (AGENT, OTHER):
            self.registry.register(spiffe_id, team="t", owner="o@home.test", purpose="a test", by=BY)
        self.entry = self.create()

    def clock(self):
        return self.now * NANOSECONDS

    async def record(self, record_type, fields):
        self.records.append((record_type, fields))

    def create(self, **changes):
        entry = Entry("", AGENT, GATEWAY, frozenset({"x509pop:subject:cn:n1"}))
        return self.registry.entries.create(replace(entry, **changes), by=BY)

    def change(self, **changes):
        self.registry.entries.update(self.entry.entry_id, changes, by=BY)

    async def attest(self):
        return self.verified(await self.issuer.issue(Attested(NODE, PROVED, True), request()))

    async def renew(self, held, spiffe_id="", named=""):
        return self.verified(await self.issuer.renew(spiffe_id or held.id, held.serial, request(named)))

    def verified(self, chain):
        return verify_peer(chain, {TD: self.authority.bundle()}, self.now)


def request(spiffe_id=""):
    return make_request(ec.generate_private_key(ec.SECP256R1()), spiffe_id)


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    made.registry.close()


async def refused(stage, held, rule, **how):
    before = len(stage.records)
    with pytest.raises(RenewalRefusedError) as caught:
        await stage.renew(held, **how)
    assert caught.value.rule == rule
    assert len(stage.records) == before
    return str(caught.value)


async def test_a_renewed_certificate_is_on_record_as_the_first_was(stage):
    held = await stage.attest()
    stage.now += 300
    renewed = await stage.renew(held, named=AGENT)
    assert (renewed.id, renewed.not_after) == (AGENT, START + 900)
    assert renewed.serial != held.serial
    row = stage.registry.issued(renewed.serial)
    assert (row.spiffe_id, row.entry_id, row.node_id) == (AGENT, stage.entry.entry_id, NODE)
    (first_type, first), (second_type, second) = stage.records
    assert first_type == second_type == "identity.issued"
    assert set(second) - set(first) == {"renewed"}
    assert second["renewed"] == held.serial
    for same in ("agent", "entry", "parent", "selectors", "svid"):
        assert first[same] == second[same]
    assert stage.registry.nodes.get(NODE).serial == held.serial, "a renewal is no attestation"
    assert (await stage.renew(renewed)).id == AGENT


async def test_the_lifetime_is_that_of_the_entry_as_it_is_now(stage):
    held = await stage.attest()
    stage.change(x509_ttl_seconds=120)
    assert (await stage.renew(held)).not_after == START + 120


async def test_nobody_renews_another(stage):
    held = await stage.attest()
    assert "itself alone" in await refused(stage, held, "renewal-id", named=OTHER)
    await refused(stage, held, "renewal-unknown", spiffe_id=OTHER)
    await refused(stage, replace(held, serial="ab" * 19), "renewal-unknown")


async def test_what_was_issued_by_hand_or_by_the_workload_api_is_not_renewed(stage):
    held = await stage.attest()
    stage.registry.record_svid("a1", AGENT, START + 600)
    assert "by hand" in await refused(stage, replace(held, serial="a1"), "renewal-by-hand")
    stage.registry.record_svid("a2", AGENT, START + 600, entry_id=stage.entry.entry_id, node_id=GATEWAY)
    assert "Workload API" in await refused(stage, replace(held, serial="a2"), "renewal-not-attested")


@pytest.mark.parametrize(
    "changes",
    [
        {"selectors": frozenset({"x509pop:subject:cn:other"})},
        {"selectors": PROVED | {"x509pop:subject:cn:more"}},
        {"spiffe_id": OTHER},
        {"parent_id": f"spiffe://{TD}/node/another"},
        {"expires_at": START + 1},
    ],
)
async def test_an_entry_that_would_not_be_found_by_attesting_again_renews_nothing(stage, changes):
    held = await stage.attest()
    stage.change(**changes)
    stage.now += 1
    await refused(stage, held, "renewal-entry")


async def test_a_deleted_entry_renews_nothing_even_if_another_grants_the_same(stage):
    held = await stage.attest()
    stage.registry.entries.delete(stage.entry.entry_id, by=BY)
    stage.create()
    await refused(stage, held, "renewal-entry")


@pytest.mark.parametrize("kind", ["id", "entry", "node", "serial"])
async def test_what_is_revoked_is_not_renewed(stage, kind):
    held = await stage.attest()
    subject = {"id": AGENT, "entry": stage.entry.entry_id, "node": NODE, "serial": held.serial}[kind]
    stage.registry.revocations.revoke(kind, subject, "a test", by=BY)
    await refused(stage, held, "renewal-entry" if kind in {"id", "entry"} else "renewal-refused")
    if kind == "serial":
        return
    stage.registry.revocations.lift(kind, subject, by=BY)
    assert (await stage.renew(held)).id == AGENT


@pytest.mark.parametrize("status", ["suspended", "quarantined", "retired"])
async def test_an_identity_that_does_not_stand_is_not_renewed(stage, status):
    held = await stage.attest()
    stage.registry.set_status(AGENT, status, "a test", by=BY)
    assert status in await refused(stage, held, "renewal-refused")


async def test_a_revocation_in_the_middle_of_a_renewal_keeps_it_back(stage, monkeypatch):
    held = await stage.attest()
    sign = stage.authority.issue_x509_svid

    def revoked_meanwhile(*arguments):
        stage.registry.revocations.revoke("node", NODE, "a test", by=BY)
        return sign(*arguments)

    monkeypatch.setattr(stage.authority, "issue_x509_svid", revoked_meanwhile)
    with pytest.raises(RegistryError, match="revoked"):
        await stage.renew(held)
    assert len(stage.records) == 1


async def test_without_an_audit_record_nothing_is_handed_out(stage):
    held = await stage.attest()

    async def unavailable(*_):
        raise IdentityError("the audit log is away")

    stage.issuer._record = unavailable
    with pytest.raises(IdentityError, match="audit log is away"):
        await stage.renew(held)


async def test_many_renew_at_once(stage):
    held = await stage.attest()
    renewed = await asyncio.gather(*(stage.renew(held) for _ in range(20)))
    assert len({each.serial for each in renewed}) == 20


async def test_a_node_whose_selectors_match_nothing_is_told_so(stage):
    with pytest.raises(NotGrantedError, match="no registration entry matches"):
        await stage.issuer.issue(Attested(NODE, frozenset({"x509pop:subject:cn:n2"}), True), request())
    with pytest.raises(NotGrantedError, match=f"no registration entry grants {OTHER}"):
        await stage.issuer.issue(Attested(NODE, PROVED, True), request(OTHER))
    stage.registry.set_status(AGENT, "suspended", "a test", by=BY)
    with pytest.raises(NotGrantedError, match="suspended"):
        await stage.issuer.issue(Attested(NODE, PROVED, True), request())
