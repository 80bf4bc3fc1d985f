"""The gate of one worker: what it lets through, makes wait, and refuses where it cannot be certain."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audit.errors import AuditUnavailableError
from audit.log import AuditLog
from audit.store import SqliteStore
from gateway.approvals import gate as gate_module
from gateway.approvals.gate import OversightGate, check_not_stopped
from gateway.approvals.model import Approval, Stop, Terms, Verdict
from gateway.approvals.store import OversightStore
from gateway.errors import ApprovalRefusedError, ApprovalRequiredError, SystemStoppedError, UnavailableError
from identity.registry import Agent, RegistrySnapshot

RUNTIME: Any = SimpleNamespace(policies=SimpleNamespace(revision="r1", data_digest="0" * 64))
TERMS = Terms()


def agent(name: str, kind: str, status: str = "active") -> Agent:
    return Agent(
        id=f"spiffe://t/{name}", kind=kind, team="t", owner=f"{name}@t", purpose="p", status=status,
        risk_tier="limited", system="", environment="", attributes={}, created_at=0,
    )  # fmt: skip


CALLER, GRACE = agent("caller", "agent"), agent("grace", "human")


def exchange(body: bytes = b"{}") -> Any:
    call = SimpleNamespace(action="model.infer", resource_type="model", resource_id="m", operation="chat")
    return SimpleNamespace(
        peer=SimpleNamespace(id=CALLER.id), agent=CALLER, delegation=(), delegators=(), call=call, body=body,
        policy_input={"resource": {"system": "held"}}, trace=None, approval=None, request_id="",
    )  # fmt: skip


def people(*agents: Agent) -> RegistrySnapshot:
    return RegistrySnapshot(1, {each.id: each for each in agents})


class World:
    def __init__(self, directory: Path) -> None:
        self.audit = AuditLog(
            SqliteStore(directory / "audit", "example.org/audit"), "worker-0", digest_key=b"k" * 32, clock=time.time_ns
        )
        self.store = OversightStore(directory)
        self.gate = OversightGate(self.audit, self.store, time.time_ns)
        self.agents = people(CALLER, GRACE)

    async def obtain(self, call: Any, terms: Terms = TERMS) -> None:
        await self.gate.obtain(call, terms, RUNTIME, lambda: self.agents)

    async def held_back(self, call: Any) -> Approval:
        with pytest.raises(ApprovalRequiredError):
            await self.obtain(call)
        approval: Approval = call.approval
        return approval

    def decide(self, approval: Approval, *, approve: bool = True) -> None:
        verdict = Verdict(GRACE.id, GRACE.owner, approve, "why", time.time_ns())
        assert self.store.decide(approval, verdict, "granted" if approve else "refused")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.audit.close()
    made.store.close()


async def test_a_granted_call_is_used_by_one_and_the_other_gets_a_request_of_its_own(world):
    approval = await world.held_back(exchange())
    world.decide(approval)
    first, second = exchange(), exchange()
    await world.obtain(first)
    await world.obtain(second)
    await world.gate.use(first, TERMS, RUNTIME)
    with pytest.raises(ApprovalRequiredError):
        await world.gate.use(second, TERMS, RUNTIME)
    assert (first.approval.approval_id, second.approval.state) == (approval.approval_id, "pending")
    assert second.approval.approval_id != approval.approval_id


async def test_a_refused_call_is_told_so(world):
    world.decide(await world.held_back(exchange()), approve=False)
    with pytest.raises(ApprovalRefusedError):
        await world.obtain(exchange())


@pytest.mark.parametrize("lost", ["gone", "suspended", "no person any more"])
async def test_an_approval_of_somebody_who_lost_their_standing_is_void(world, lost):
    approval = await world.held_back(exchange())
    world.decide(approval)
    left = {
        "gone": (),
        "suspended": (agent("grace", "human", "suspended"),),
        "no person any more": (agent("grace", "service"),),
    }
    world.agents = people(CALLER, *left[lost])
    again = await world.held_back(exchange())
    assert again.approval_id != approval.approval_id
    world.agents = people(CALLER, GRACE)
    assert (await world.held_back(exchange())).approval_id == again.approval_id


async def test_a_request_that_cannot_be_recorded_is_not_there_to_be_decided(world):
    def full(*_: object) -> None:
        raise AuditUnavailableError("the disk is full")

    broken: Any = SimpleNamespace(digest=world.audit.digest, append=full)
    call = exchange()
    with pytest.raises(UnavailableError):
        await OversightGate(broken, world.store, time.time_ns).obtain(call, TERMS, RUNTIME, lambda: world.agents)
    assert world.store.all() == []
    await world.held_back(call)
    assert len(world.store.all()) == 1, "the next try puts it on record"


async def test_a_call_that_waits_goes_on_with_the_news_and_is_refused_without(world):
    waiting = asyncio.create_task(world.obtain(exchange(), Terms(wait_seconds=60)))
    while not (found := world.store.all()):
        await asyncio.sleep(0.01)
    world.decide(found[0])
    assert world.gate.look()
    await waiting
    assert not world.gate.look()


async def test_no_more_calls_wait_than_the_bound(world, monkeypatch):
    monkeypatch.setattr(gate_module, "MAX_WAITING", 0)
    with pytest.raises(ApprovalRequiredError):
        await world.obtain(exchange(), Terms(wait_seconds=60))


async def test_calls_of_stopped_systems_are_refused_and_what_has_no_system_is_not(world):
    world.store.stop(Stop("held", "g", "a secret reason", time.time_ns()))
    assert world.gate.look()
    with pytest.raises(SystemStoppedError) as caught:
        check_not_stopped(world.gate.stops, exchange())
    assert "secret" not in f"{caught.value.detail}{caught.value.remedy}{caught.value.extensions}"
    for policy_input in ({}, {"resource": {"system": ""}}, {"resource": {"system": "other"}}):
        check_not_stopped(world.gate.stops, SimpleNamespace(policy_input=policy_input))  # type: ignore[arg-type]
