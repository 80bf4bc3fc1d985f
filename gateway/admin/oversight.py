"""Human oversight over the control plane: people approve calls, stop systems, and say which output was not followed.

The caller is a person: an identity of the kind `human`, proven by its certificate, with the permission in the policies.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from audit.errors import AuditError
from audit.store import AuditStore
from gateway.admin.access import AccessControl, Caller
from gateway.approvals.deciding import Decisions, Halting, Person, Record, check_known
from gateway.approvals.drilling import StoppedByWorker, drill
from gateway.approvals.overriding import How, override
from gateway.approvals.showing import approval_view, stop_view
from gateway.approvals.store import OversightStore
from gateway.clock import Clock
from gateway.errors import NotFoundError, PolicyDeniedError, UnavailableError
from identity.errors import IdentityError

_Result = TypeVar("_Result")

DECIDE, STOP = "admin.oversight.decide", "admin.oversight.stop"
"""Actions of which the policy is asked twice: for the route, and for the AI system that it is about."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=2000)


class ReasonBody(_Body):
    """Why."""


class SystemBody(_Body):
    """An AI system of the register, and why."""

    system: str = Field(min_length=1, max_length=1000)


class OverrideBody(_Body):
    """A call (its x-request-id) whose output was not followed: how, and why."""

    call: str = Field(min_length=1, max_length=100)
    how: How


class OversightDesk:
    """What the routes work with.

    Args:
        store: what the workers share.
        audit: the log, for calls that are overridden.
        record: writes to it; may be called in a thread.
        stopped: what the workers say they refuse.
        systems: the AI systems that models of this gateway belong to.
        clock: the time.
    """

    def __init__(
        self,
        store: OversightStore,
        audit: AuditStore,
        record: Record,
        stopped: StoppedByWorker,
        systems: Callable[[], Sequence[str]],
        clock: Clock,
    ) -> None:
        self.store = store
        self.clock = clock
        self._audit = audit
        self._record = record
        self._stopped = stopped
        self._systems = systems
        self._decisions = Decisions(store, record, clock)
        self._halting = Halting(store, record, clock)
        self._lock = asyncio.Lock()

    async def decide(self, approval_id: str, person: Person, reason: str, *, approve: bool) -> dict[str, Any]:
        """Approve or refuse. Raises as `Decisions`."""
        decide = self._decisions.grant if approve else self._decisions.refuse
        approval = await self._alone(lambda: decide(approval_id, person, reason))
        return approval_view(approval, self.clock())

    async def stop(self, system: str, by: str, reason: str, peer: dict[str, str]) -> dict[str, Any]:
        """Stop a system. Raises as `Halting`."""
        self._check_known(system)
        return stop_view(await self._alone(lambda: self._halting.stop(system, by, reason, peer=peer)))

    async def resume(self, system: str, by: str, reason: str, peer: dict[str, str]) -> dict[str, Any]:
        """Let a system be called again. Raises as `Halting`."""
        return stop_view(await self._alone(lambda: self._halting.resume(system, by, reason, peer=peer)))

    async def drill(self, system: str, by: str, reason: str, peer: dict[str, str] | None = None) -> dict[str, Any]:
        """Exercise stopping a system. Raises as `gateway.approvals.drilling.drill`."""
        self._check_known(system)
        return asdict(await self._recorded(drill(self._halting, self._record, self._stopped, system, by, reason, peer)))

    async def override(self, body: OverrideBody, by: str, peer: dict[str, str]) -> dict[str, Any]:
        """Put on record that the output of a call was not followed. Raises as `override`."""
        return await self._alone(
            lambda: override(self._audit, self._record, body.call, body.how, by, body.reason, peer)
        )

    async def system_of_call(self, call: str) -> str:
        """Return the AI system of a call; empty if the log has no such call."""
        found = await self._alone(lambda: self._audit.find(call))
        return str(orjson.loads(found.record).get("system", "")) if found is not None else ""

    def _check_known(self, system: str) -> None:
        check_known(system, self._systems())

    async def _alone(self, call: Callable[[], _Result]) -> _Result:
        """Run a decision off the event loop, one after another."""
        async with self._lock:
            return await self._recorded(asyncio.to_thread(call))

    @staticmethod
    async def _recorded(work: Coroutine[Any, Any, _Result]) -> _Result:
        try:
            return await work
        except (AuditError, IdentityError, TimeoutError) as error:
            raise UnavailableError(str(error) or "the log did not answer in time", code="audit_unavailable") from error


def oversight_routes(access: AccessControl, desk: OversightDesk) -> APIRouter:
    """Return the routes, all below `/v1/oversight`."""
    router = APIRouter(prefix="/v1/oversight", tags=["oversight"])
    may_read = [Depends(access.requires("admin.oversight.read"))]
    decides = Depends(access.requires(DECIDE))
    stops = Depends(access.requires(STOP))

    @router.get("/approvals", summary="Calls that wait for a person (admin.oversight.read)", dependencies=may_read)
    async def approvals(every: bool = False) -> list[dict[str, Any]]:
        now = desk.clock()
        found = await asyncio.to_thread(lambda: desk.store.all(open_at_ns=0 if every else now))
        return [approval_view(each, now) for each in found]

    @router.get("/approvals/{approval_id}", summary="One of them (admin.oversight.read)", dependencies=may_read)
    async def approval(approval_id: str) -> dict[str, Any]:
        found = await asyncio.to_thread(desk.store.get, approval_id)
        if found is None or not found.recorded:
            raise NotFoundError(f"There is no request for approval {approval_id}.")
        return approval_view(found, desk.clock())

    @router.post("/approvals/{approval_id}/grant", summary="Approve a call, once (admin.oversight.decide)")
    async def grant(approval_id: str, body: ReasonBody, caller: Annotated[Caller, decides]) -> dict[str, Any]:
        await access.for_system(caller, DECIDE, await _system_of(desk, approval_id))
        return await desk.decide(approval_id, _person(caller), body.reason, approve=True)

    @router.post("/approvals/{approval_id}/refuse", summary="Refuse a call (admin.oversight.decide)")
    async def refuse(approval_id: str, body: ReasonBody, caller: Annotated[Caller, decides]) -> dict[str, Any]:
        await access.for_system(caller, DECIDE, await _system_of(desk, approval_id))
        return await desk.decide(approval_id, _person(caller), body.reason, approve=False)

    @router.post("/overrides", summary="Say that an output was not followed (admin.oversight.decide)")
    async def overrides(body: OverrideBody, caller: Annotated[Caller, decides]) -> dict[str, Any]:
        person = _person(caller)
        await access.for_system(caller, DECIDE, await desk.system_of_call(body.call))
        return await desk.override(body, person.id, person.peer)

    @router.get("/stops", summary="Systems that are stopped (admin.oversight.read)", dependencies=may_read)
    async def stopped() -> list[dict[str, Any]]:
        return [stop_view(each) for each in (await asyncio.to_thread(desk.store.stops)).values()]

    @router.post("/stops", summary="Stop an AI system: new calls refused, answers cut (admin.oversight.stop)")
    async def stop(body: SystemBody, caller: Annotated[Caller, stops]) -> dict[str, Any]:
        person = _person(caller)
        await access.for_system(caller, STOP, body.system)
        return await desk.stop(body.system, person.id, body.reason, person.peer)

    @router.post("/resumptions", summary="Let it be called again (admin.oversight.stop)")
    async def resume(body: SystemBody, caller: Annotated[Caller, stops]) -> dict[str, Any]:
        person = _person(caller)
        await access.for_system(caller, STOP, body.system)
        return await desk.resume(body.system, person.id, body.reason, person.peer)

    @router.post("/drills", summary="Exercise stopping a system (admin.oversight.stop)")
    async def drills(body: SystemBody, caller: Annotated[Caller, stops]) -> dict[str, Any]:
        person = _person(caller)
        await access.for_system(caller, STOP, body.system)
        return await desk.drill(body.system, person.id, body.reason, person.peer)

    return router


async def _system_of(desk: OversightDesk, approval_id: str) -> str:
    found = await asyncio.to_thread(desk.store.get, approval_id)
    if found is None or not found.recorded:
        raise NotFoundError(f"There is no request for approval {approval_id}.")
    return found.asked.system


def _person(caller: Caller) -> Person:
    """Return the caller as a person.

    Raises:
        PolicyDeniedError: it is none.
    """
    agent = caller.agent
    if agent.kind != "human":
        raise PolicyDeniedError(
            f"{agent.id} is registered as {agent.kind}, and only people oversee.",
            remedy="Use the identity of a person (kind human).",
            code="not_a_person",
        )
    return Person(agent.id, agent.owner, {"serial": caller.peer.serial, "fingerprint": caller.peer.fingerprint})
