"""The inventory over the control plane: identities, registration entries, revocations. Every change is on record."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from gateway import inventory_records
from gateway.admin.access import AccessControl, Caller
from gateway.errors import RequestError
from identity.entries import Entry
from identity.errors import RegistryError, SpiffeIdError
from identity.registry import Agent, Registry, Revocation

_Result = TypeVar("_Result")

Record = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Writes an audit record and returns once it is durable."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AgentBody(_Body):
    """A non-human identity to register. Times are UNIX seconds, 0 for never."""

    id: str
    team: str
    owner: str
    purpose: str
    kind: Literal["agent", "service", "pipeline", "human"] = "agent"
    risk_tier: Literal["minimal", "limited", "high"] = "limited"
    system: str = ""
    environment: str = ""
    attributes: dict[str, str] = Field(default_factory=dict)
    status: Literal["pending", "active"] = "active"
    review_due: int = 0
    expires_at: int = 0


class StatusBody(_Body):
    """A move to another state."""

    id: str
    status: Literal["active", "suspended", "quarantined", "retired"]
    reason: str


class EntryBody(_Body):
    """A registration entry, with SPIRE's fields."""

    spiffe_id: str
    selectors: list[str]
    parent_id: str = ""
    x509_ttl_seconds: int = 0
    jwt_ttl_seconds: int = 0
    federates_with: list[str] = Field(default_factory=list)
    dns_names: list[str] = Field(default_factory=list)
    hint: str = ""
    admin: bool = False
    downstream: bool = False
    expires_at: int = 0


class RevocationBody(_Body):
    """Something to refuse although it is in date."""

    kind: Literal["id", "entry", "serial", "authority", "node"]
    subject: str
    reason: str


def inventory_routes(access: AccessControl, registry: Registry, record: Record, gateway_id: str) -> APIRouter:
    """Return the routes. Reading needs `admin.agent.read`, changing `admin.agent.write`."""
    router = APIRouter(prefix="/v1", tags=["inventory"])
    read = [Depends(access.requires("admin.agent.read"))]
    writer = Depends(access.requires("admin.agent.write"))

    @router.get("/agents", summary="Registered identities", dependencies=read)
    async def agents() -> list[dict[str, Any]]:
        return [_shown(agent) for agent in await _run(registry.all)]

    @router.post("/agents", summary="Register an identity", status_code=201)
    async def register(body: AgentBody, caller: Annotated[Caller, writer]) -> dict[str, Any]:
        fields = body.model_dump(exclude={"id"})
        agent = await _run(partial(registry.register, body.id, by=caller.agent.id, **fields))
        await record("agent.registered", {**inventory_records.registered(agent), "principal": caller.agent.id})
        return _shown(agent)

    @router.post("/agents/status", summary="Move an identity to another state")
    async def move(body: StatusBody, caller: Annotated[Caller, writer]) -> dict[str, Any]:
        agent = await _run(partial(registry.set_status, body.id, body.status, body.reason, by=caller.agent.id))
        await record(
            "agent.status_changed",
            {"agent": agent.id, "status": agent.status, "cause": body.reason, "principal": caller.agent.id},
        )
        return _shown(agent)

    @router.get("/entries", summary="Registration entries", dependencies=read)
    async def entries() -> list[dict[str, Any]]:
        return [_entry(entry) for entry in await _run(registry.entries.all)]

    @router.post("/entries", summary="Create a registration entry", status_code=201)
    async def create(body: EntryBody, caller: Annotated[Caller, writer]) -> dict[str, Any]:
        entry = await _run(partial(registry.entries.create, _from(body, gateway_id), by=caller.agent.id))
        await record("entry.created", {**inventory_records.entry(_entry(entry)), "principal": caller.agent.id})
        return _entry(entry)

    @router.put("/entries/{entry_id}", summary="Replace the fields of a registration entry")
    async def replace(entry_id: str, body: EntryBody, caller: Annotated[Caller, writer]) -> dict[str, Any]:
        wanted = _from(body, gateway_id)
        changes = {name: getattr(wanted, name) for name in body.model_fields}
        entry = await _run(partial(registry.entries.update, entry_id, changes, by=caller.agent.id))
        await record("entry.updated", {**inventory_records.entry(_entry(entry)), "principal": caller.agent.id})
        return _entry(entry)

    @router.delete("/entries/{entry_id}", summary="Delete a registration entry")
    async def remove(entry_id: str, caller: Annotated[Caller, writer]) -> dict[str, Any]:
        entry = await _run(partial(registry.entries.delete, entry_id, by=caller.agent.id))
        await record("entry.deleted", {**inventory_records.entry(_entry(entry)), "principal": caller.agent.id})
        return _entry(entry)

    @router.get("/revocations", summary="What is refused although it is in date", dependencies=read)
    async def revocations() -> list[dict[str, Any]]:
        return [asdict(each) for each in await _run(registry.revocations.all)]

    @router.post("/revocations", summary="Revoke; takes effect on every worker within a second", status_code=201)
    async def revoke(body: RevocationBody, caller: Annotated[Caller, writer]) -> dict[str, Any]:
        made: Revocation = await _run(
            partial(registry.revocations.revoke, body.kind, body.subject, body.reason, by=caller.agent.id)
        )
        await record(
            "identity.revoked",
            {"kind": made.kind, "subject": made.subject, "cause": made.reason, "principal": caller.agent.id},
        )
        return asdict(made)

    return router


async def _run(call: Callable[[], _Result]) -> _Result:
    """Run a call of the inventory off the event loop.

    Raises:
        RequestError: the inventory refuses it.
    """
    try:
        return await asyncio.to_thread(call)
    except (RegistryError, SpiffeIdError) as error:
        raise RequestError(str(error), code="inventory-refused") from error


def _from(body: EntryBody, gateway_id: str) -> Entry:
    return Entry(
        entry_id="",
        spiffe_id=body.spiffe_id,
        parent_id=body.parent_id or gateway_id,
        selectors=frozenset(body.selectors),
        x509_ttl_seconds=body.x509_ttl_seconds,
        jwt_ttl_seconds=body.jwt_ttl_seconds,
        federates_with=tuple(body.federates_with),
        dns_names=tuple(body.dns_names),
        hint=body.hint,
        admin=body.admin,
        downstream=body.downstream,
        expires_at=body.expires_at,
    )


def _shown(agent: Agent) -> dict[str, Any]:
    return {**asdict(agent), "attributes": dict(agent.attributes)}


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        **asdict(entry),
        "selectors": sorted(entry.selectors),
        "federates_with": list(entry.federates_with),
        "dns_names": list(entry.dns_names),
    }
