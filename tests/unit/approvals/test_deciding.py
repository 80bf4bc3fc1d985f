"""Who decides on what: never on a call of their own, two where two are asked for, always with a reason and on record."""

from pathlib import Path
from typing import Any

import pytest

from gateway.admin.access import Caller
from gateway.admin.oversight import _person
from gateway.approvals.deciding import Decisions, Halting, Person
from gateway.approvals.gate import _own
from gateway.approvals.model import Approval, Asked, Terms
from gateway.approvals.store import OversightStore
from gateway.errors import GatewayError, PolicyDeniedError
from identity.registry import Agent
from identity.verification import PeerIdentity

SECOND = 10**9
PEER = {"serial": "01", "fingerprint": "ab"}
ADA = Person("spiffe://t/person/ada", "ada@t", PEER)
GRACE = Person("spiffe://t/person/grace", "grace@t", PEER)
GRACE_TOO = Person("spiffe://t/person/grace-2", "Grace@T", PEER)


class World:
    def __init__(self, directory: Path) -> None:
        self.store = OversightStore(directory)
        self.now = 1_000 * SECOND
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.decisions = Decisions(self.store, self.record, lambda: self.now)
        self.halting = Halting(self.store, self.record, lambda: self.now)
        self.failing = False

    def record(self, kind: str, fields: dict[str, Any]) -> None:
        if self.failing:
            raise OSError("the disk is full")
        self.records.append((kind, fields))

    def request(self, own: tuple[str, ...] = ("spiffe://t/agent/a",), **terms: object) -> Approval:
        asked = Asked(own[0], own[1:], "model.infer", "model", "m", "chat", "held", "d" * 64)
        made = self.store.request(asked, Terms(**terms), own=own, owner="ada@t", size=5, now_ns=self.now)
        return self.store.recorded(made)

    def state(self, approval: Approval) -> str:
        found = self.store.get(approval.approval_id)
        assert found is not None
        return found.state


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.store.close()


def test_a_decision_is_on_record_with_how_long_it_took(world):
    approval = world.request()
    world.now += 90 * SECOND
    world.decisions.grant(approval.approval_id, GRACE, " fine ")
    ((kind, fields),) = world.records
    assert (kind, fields["principal"], fields["cause"], fields["seconds"]) == (
        "oversight.approved", GRACE.id, "fine", 90,
    )  # fmt: skip
    assert world.state(approval) == "granted"


def test_a_decision_that_cannot_be_recorded_does_not_count(world):
    approval = world.request()
    world.failing = True
    with pytest.raises(OSError, match="full"):
        world.decisions.grant(approval.approval_id, GRACE, "fine")
    assert world.state(approval) == "pending"


@pytest.mark.parametrize("reason", ["", "   ", "\u2800", "\u200b"])
def test_a_decision_without_a_reason_is_refused(world, reason):
    approval = world.request()
    with pytest.raises(GatewayError) as caught:
        world.decisions.grant(approval.approval_id, GRACE, reason)
    assert caught.value.code == "reason_missing"


@pytest.mark.parametrize("own", [("spiffe://t/person/grace",), ("spiffe://t/agent/a", "grace@t"), ("GRACE@t ",)])
@pytest.mark.parametrize("how", ["grant", "refuse"])
def test_nobody_decides_on_a_call_on_their_own_behalf(world, own, how):
    approval = world.request(own)
    with pytest.raises(PolicyDeniedError) as caught:
        getattr(world.decisions, how)(approval.approval_id, GRACE, "fine")
    assert caught.value.code == "own_call"
    assert world.records == []


def test_where_one_person_is_asked_for_the_owner_does(world):
    approval = world.request()
    world.decisions.grant(approval.approval_id, ADA, "mine, and fine")
    assert world.state(approval) == "granted"


@pytest.mark.parametrize("again", [GRACE, GRACE_TOO])
def test_where_two_are_asked_for_one_with_two_identities_is_one(world, again):
    approval = world.request(four_eyes=True)
    world.decisions.grant(approval.approval_id, GRACE, "fine")
    with pytest.raises(PolicyDeniedError) as caught:
        world.decisions.grant(approval.approval_id, again, "fine")
    assert caught.value.code == "same_person"
    assert world.state(approval) == "pending"
    world.decisions.grant(approval.approval_id, ADA, "fine")
    assert world.state(approval) == "granted"


def test_one_refusal_is_enough_where_two_approve(world):
    approval = world.request(four_eyes=True)
    world.decisions.grant(approval.approval_id, GRACE, "fine")
    world.decisions.refuse(approval.approval_id, GRACE, "on second thoughts")
    assert world.state(approval) == "refused"


@pytest.mark.parametrize("change", ["used", "expired", "refused", "unknown", "not recorded"])
def test_what_is_settled_is_not_decided_again(world, change):
    approval = world.request()
    name = approval.approval_id
    if change == "used":
        world.decisions.grant(name, GRACE, "fine")
        assert world.store.use(name, world.now)
    elif change == "expired":
        world.now = approval.expires_ns
    elif change == "refused":
        world.decisions.refuse(name, GRACE, "no")
    elif change == "unknown":
        name = "0190d3a0-0000-7000-8000-000000000000"
    else:
        asked = Asked("spiffe://t/b", (), "model.infer", "model", "m", "chat", "held", "e" * 64)
        name = world.store.request(asked, Terms(), own=(), owner="", size=0, now_ns=world.now).approval_id
    before = list(world.records)
    with pytest.raises(GatewayError) as caught:
        world.decisions.grant(name, ADA, "fine")
    assert caught.value.status in {400, 404}
    assert world.records == before


def test_a_stop_holds_although_it_cannot_be_recorded_and_a_resumption_does_not(world):
    world.failing = True
    with pytest.raises(OSError, match="full"):
        world.halting.stop("held", "operator:alex", "odd answers")
    assert "held" in world.store.stops()
    with pytest.raises(OSError, match="full"):
        world.halting.resume("held", "operator:alex", "all is well")
    assert "held" in world.store.stops()


def agent(kind: str, name: str) -> Agent:
    return Agent(
        id=f"spiffe://t/{kind}/{name}", kind=kind, team="t", owner=f"{name}@t", purpose="p", status="active",
        risk_tier="limited", system="", environment="", attributes={}, created_at=0,
    )  # fmt: skip


def test_the_people_a_call_is_made_for_are_known_by_their_names_too():
    assert _own(agent("agent", "a"), (agent("human", "ada"),)) == (
        "ada@t",
        "spiffe://t/agent/a",
        "spiffe://t/human/ada",
    )


@pytest.mark.parametrize("kind", ["agent", "service", "pipeline"])
def test_what_is_no_person_does_not_oversee_whatever_its_role_says(kind):
    peer = PeerIdentity("spiffe://t/x", "t", "/x", "01", "ab", 0, 1)
    with pytest.raises(PolicyDeniedError) as caught:
        _person(Caller(peer, agent(kind, "a")))
    assert caught.value.code == "not_a_person"
    assert _person(Caller(peer, agent("human", "ada"))).owner == "ada@t"
