"""The control plane's routes for policies: what is active, activation and the way back, and what real OPAs ask for."""

import contextlib
import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.admin.access import AccessControl, Caller
from gateway.errors import ConfigError, NotFoundError, RequestError
from gateway.generations import Generations
from gateway.people import says_something
from gateway.policy_activation.discovery import discovery_bundle
from gateway.policy_activation.shadowing import Shadowing
from gateway.policy_activation.sources import BUNDLES
from gateway.policy_activation.store import Activation, History

MAX_WAIT_SECONDS = 600
"""Longest that a follower may wait for the next revision (seconds)."""

BUNDLE = "govgateway.tar.gz"
"""Name under which the active revision is served."""

DISCOVERY = "discovery.tar.gz"
"""Name under which an OPA finds how to follow this gateway."""

_WAIT = re.compile(r"(?:^|[;,\s])wait\s*=\s*\"?([0-9]{1,5})\"?(?:$|[;,\s])", re.IGNORECASE)


class RollbackBody(BaseModel):
    """Where to go back to (name of a revision or beginning of its digest; empty: the one before), and why."""

    model_config = ConfigDict(extra="forbid")

    to: str = Field("", max_length=200)
    reason: str = Field(min_length=1, max_length=1000)


class ActiveRevision(BaseModel):
    """The revision in force, and who activated it."""

    active: Activation
    previous: Activation | None


def policy_routes(access: AccessControl, generations: Generations, shadowing: Shadowing) -> APIRouter:
    """Return the routes, all below `/v1/policy`."""
    router = APIRouter(prefix="/v1/policy", tags=["policy"])
    policies = generations.policies
    may_read = Depends(access.requires("admin.policy.read"))
    may_activate = Depends(access.requires("admin.policy.activate"))
    rolls_back = access.requires("admin.policy.rollback")
    may_roll_back = Depends(rolls_back)
    may_shadow = Depends(access.requires("admin.policy.shadow"))
    follows = access.requires("admin.policy.bundle")

    @router.get("", summary="The active revision (admin.policy.read)", dependencies=[may_read])
    async def active() -> ActiveRevision:
        return ActiveRevision(active=policies.active.activation, previous=policies.store.history().previous)

    @router.get("/history", summary="Every activation (admin.policy.read)", dependencies=[may_read])
    async def history() -> History:
        return policies.store.history()

    @router.post("/activate", summary="Activate the bundle in the body (admin.policy.activate)")
    async def activate(
        request: Request, caller: Annotated[Caller, may_activate], rollback: bool = False, reason: str = ""
    ) -> Activation:
        content = await request.body()
        source = f"control plane: {caller.peer.id}"
        if rollback:
            await rolls_back(request)
            if not says_something(reason):
                raise RequestError("A rollback needs a reason.", remedy="Give it as ?reason=…", code="reason-missing")
        with _refused():
            return await generations.activate(content, source, caller.peer.id, rollback=rollback, reason=reason)

    @router.post("/rollback", summary="Go back to an earlier revision (admin.policy.rollback)")
    async def rollback(body: RollbackBody, caller: Annotated[Caller, may_roll_back]) -> Activation:
        with _refused():
            return await generations.rollback(body.to, caller.peer.id, body.reason)

    @router.get("/shadow", summary="What the watched candidate decides otherwise", dependencies=[may_read])
    async def shadow() -> dict[str, Any]:
        with _refused():
            return shadowing.report()

    @router.put("/shadow", summary="Watch the bundle in the body beside the active one (admin.policy.shadow)")
    async def start_shadow(request: Request, caller: Annotated[Caller, may_shadow]) -> dict[str, Any]:
        content = await request.body()
        with _refused():
            return await shadowing.start(content, f"control plane: {caller.peer.id}", caller.peer.id)

    @router.delete("/shadow", summary="Stop watching (admin.policy.shadow)")
    async def stop_shadow(caller: Annotated[Caller, may_shadow]) -> dict[str, Any]:
        with _refused():
            return await shadowing.stop(caller.peer.id)

    @router.post("/shadow/promote", summary="Activate the watched candidate (admin.policy.activate)")
    async def promote(caller: Annotated[Caller, may_activate]) -> Activation:
        with _refused():
            return await shadowing.promote(caller.peer.id)

    @router.get(
        "/bundles/{name}",
        summary="The active revision as an OPA bundle, with ETag and long polling (admin.policy.bundle)",
        response_class=Response,
    )
    async def bundle(name: str, request: Request, caller: Annotated[Caller, Depends(follows)]) -> Response:
        if name == DISCOVERY:
            content = discovery_bundle(generations.config.policy, BUNDLE)
            etag = f'"{sha256(content).hexdigest()}"'
            if _matches(etag.strip('"'), _etags(request)):
                return Response(status_code=304, headers={"etag": etag})
            return Response(content, media_type="application/gzip", headers={"etag": etag})
        if name != BUNDLE:
            raise NotFoundError(f"There is no bundle {name}; the active revision is {BUNDLE}.")
        seconds = _wait_seconds(",".join(request.headers.getlist("prefer")))
        known = _etags(request)
        digest = policies.active.activation.digest
        if digest in known and seconds:
            await policies.wait(digest, seconds, caller.peer.id)
            await follows(request)  # who waited may have lost its standing meanwhile
            digest = policies.active.activation.digest
        headers = {"etag": f'"{digest}"', "cache-control": "no-cache"}
        if _matches(digest, known):
            return Response(status_code=304, headers=headers)
        media_type = BUNDLES if seconds else "application/gzip"
        return Response(policies.store.get(digest), media_type=media_type, headers=headers)

    return router


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Turn a refusal of the policies into an answer that names it."""
    try:
        yield
    except ConfigError as error:
        raise RequestError(
            str(error), remedy="Correct it; the active revision stays.", code="policy-refused"
        ) from error


def _wait_seconds(prefer: str) -> int:
    """Return how long a client wants to wait for news (RFC 7240, `wait`), within our bound."""
    found = _WAIT.search(prefer)
    return min(int(found[1]), MAX_WAIT_SECONDS) if found else 0


def _etags(request: Request) -> set[str]:
    """Return the entity tags of If-None-Match (RFC 9110, section 13.1.2); a weak one compares like a strong one."""
    header = ",".join(request.headers.getlist("if-none-match"))
    return {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}


def _matches(digest: str, tags: set[str]) -> bool:
    """Whether what has this digest is known already; `*` knows whatever there is, so it has nothing to wait for."""
    return digest in tags or "*" in tags
