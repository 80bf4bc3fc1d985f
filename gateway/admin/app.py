"""The routes of the control plane, with their OpenAPI description."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from gateway import __version__
from gateway.admin.access import AccessControl, Caller
from gateway.admin.token_exchange import ExchangeError
from gateway.errors import ConfigError, GatewayError, MediaTypeError, NotFoundError, RequestError
from identity.errors import BundleError
from identity.federation import FederationStatus
from identity.verification import PeerIdentity

_NO_STORE = {"cache-control": "no-store"}


class Problem(BaseModel):
    """A refusal, RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str | None = None


class Reloaded(BaseModel):
    """What a reload put in place."""

    config_digest: str
    policy_revision: str
    policy_data_digest: str
    workers: int


class ExchangedToken(BaseModel):
    """The answer of a token exchange (RFC 8693, section 2.2.1)."""

    access_token: str
    issued_token_type: str
    token_type: str
    expires_in: int


class Control(BaseModel):
    """The functions that the routes call."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    status: Callable[[], dict[str, Any]]
    show_config: Callable[[], dict[str, Any]]
    inventory: Callable[[AccessControl], APIRouter]
    policy: Callable[[AccessControl], APIRouter]
    oversight: Callable[[AccessControl], APIRouter]
    reload: Callable[[str], Awaitable[Reloaded]]
    federation: Callable[[], tuple[FederationStatus, ...]]
    refresh: Callable[[str], Awaitable[FederationStatus]]
    exchange: Callable[[bytes, PeerIdentity], Awaitable[dict[str, Any]]] | None = None


def create_admin_app(access: AccessControl, control: Control) -> FastAPI:
    """Return the control plane's application. Every route names the policy action that governs it."""
    app = FastAPI(
        title="govgateway control plane",
        version=__version__,
        description="Mutual TLS; each route is governed by the policy action it names and is audited.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        responses={code: {"model": Problem} for code in (401, 403, 422, 503)},
    )
    status_read = Depends(access.requires("admin.status.read"))

    @app.get("/v1/status", summary="State of every part (admin.status.read)", dependencies=[status_read])
    async def status() -> dict[str, Any]:
        return control.status()

    @app.get("/v1/config", summary="The running configuration", dependencies=[status_read])
    async def config() -> dict[str, Any]:
        return control.show_config()

    app.include_router(control.inventory(access))
    app.include_router(control.policy(access))
    app.include_router(control.oversight(access))

    @app.get("/v1/federation", summary="Federated trust domains and their bundles", dependencies=[status_read])
    async def federation() -> list[dict[str, Any]]:
        return [asdict(each) for each in control.federation()]

    @app.post(
        "/v1/federation/{trust_domain}/refresh",
        summary="Fetch a federated domain's bundle now (admin.federation.refresh)",
        dependencies=[Depends(access.requires("admin.federation.refresh"))],
    )
    async def refresh(trust_domain: str) -> dict[str, Any]:
        try:
            return asdict(await control.refresh(trust_domain))
        except BundleError as error:
            raise NotFoundError(str(error)) from error

    @app.post(
        "/v1/config/reload",
        summary="Read configuration and policies again (admin.config.reload); a bad file is refused whole",
    )
    async def reload(caller: Annotated[Caller, Depends(access.requires("admin.config.reload"))]) -> Reloaded:
        try:
            return await control.reload(caller.agent.id)
        except ConfigError as error:
            raise RequestError(
                str(error), remedy="Correct the file; the running configuration stays.", code="config-refused"
            ) from error

    if control.exchange is not None:
        _add_exchange(app, access, control.exchange)

    @app.get("/openapi.json", include_in_schema=False, dependencies=[status_read])
    async def openapi() -> dict[str, Any]:
        return app.openapi()

    @app.exception_handler(GatewayError)
    async def gateway_error(request: Request, error: GatewayError) -> JSONResponse:
        return _problem(error, request)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return _problem(NotFoundError(f"{request.method} {request.url.path}: {error.detail}."), request)

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        return _problem(RequestError("; ".join(str(item["msg"]) for item in error.errors())), request)

    return app


def _add_exchange(
    app: FastAPI, access: AccessControl, exchange: Callable[[bytes, PeerIdentity], Awaitable[dict[str, Any]]]
) -> None:
    @app.post("/oauth2/token", summary="Token exchange, RFC 8693 (identity.exchange)", response_model=ExchangedToken)
    async def token(
        request: Request, caller: Annotated[Caller, Depends(access.requires("identity.exchange"))]
    ) -> JSONResponse:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise MediaTypeError("The token endpoint takes a form.", remedy="Send application/x-www-form-urlencoded.")
        try:
            answer = await exchange(await request.body(), caller.peer)
        except ExchangeError as error:
            shown = {"error": error.oauth_error, "error_description": error.detail, "code": error.code}
            return JSONResponse(shown, status_code=400, headers=_NO_STORE)
        return JSONResponse(answer, headers=_NO_STORE)


def _problem(error: GatewayError, request: Request) -> JSONResponse:
    return JSONResponse(
        error.problem(request.url.path), status_code=error.status, media_type="application/problem+json"
    )
