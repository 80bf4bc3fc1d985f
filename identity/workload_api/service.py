"""The five calls of the SPIFFE Workload API, for one connection's process.

Rules: SPIFFE Workload API specification, sections 3 to 6. Every message of a stream is the whole state, the first
comes at once, and further ones only when something is another.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from google.protobuf import json_format
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream

from identity.attestation.process import ProcessError
from identity.bundle import TrustBundle
from identity.errors import IdentityError, SvidError
from identity.workload_api import messages as m
from identity.workload_api.source import NoIdentityError, Selectors, WorkloadObserver, WorkloadSource, X509Context

HEADER = "workload.spiffe.io"
MAX_AUDIENCES = 64


class Caller(Protocol):
    """The process at the other end of a connection."""

    async def selectors(self) -> Selectors:
        """Return what is known of it; raises `ProcessError`."""

    def confirm(self) -> None:
        """Check that it is still the one that connected; raises `ProcessError`."""


class WorkloadService:
    """Answers one connection."""

    def __init__(self, source: WorkloadSource, caller: Caller, observer: WorkloadObserver) -> None:
        self._source = source
        self._caller = caller
        self._observer = observer

    def __mapping__(self) -> Mapping[str, Handler]:
        """Return the methods by path, as grpclib asks for them."""
        unary, stream = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        table = (
            ("FetchX509SVID", self._fetch_x509_svid, stream, m.X509SVIDRequest, m.X509SVIDResponse),
            ("FetchX509Bundles", self._fetch_x509_bundles, stream, m.X509BundlesRequest, m.X509BundlesResponse),
            ("FetchJWTSVID", self._fetch_jwt_svid, unary, m.JWTSVIDRequest, m.JWTSVIDResponse),
            ("FetchJWTBundles", self._fetch_jwt_bundles, stream, m.JWTBundlesRequest, m.JWTBundlesResponse),
            ("ValidateJWTSVID", self._validate, unary, m.ValidateJWTSVIDRequest, m.ValidateJWTSVIDResponse),
        )
        return {f"/SpiffeWorkloadAPI/{name}": Handler(call, kind, *types) for name, call, kind, *types in table}

    async def _fetch_x509_svid(self, stream: "Stream[Any, Any]") -> None:
        async def build(selectors: Selectors) -> m.Message:
            context = await self._source.x509_context(selectors)
            self._observer.served("FetchX509SVID", [svid.spiffe_id for svid in context.svids])
            return x509_response(context)

        await self._serve(stream, build)

    async def _fetch_x509_bundles(self, stream: "Stream[Any, Any]") -> None:
        async def build(selectors: Selectors) -> m.Message:
            response = m.X509BundlesResponse()
            for name, bundle in self._source.bundles(selectors).items():
                if bundle.authorities:
                    response.bundles[f"spiffe://{name}"] = b"".join(bundle.authorities)
            return response

        await self._serve(stream, build)

    async def _fetch_jwt_bundles(self, stream: "Stream[Any, Any]") -> None:
        async def build(selectors: Selectors) -> m.Message:
            response = m.JWTBundlesResponse()
            for name, bundle in self._source.bundles(selectors).items():
                response.bundles[f"spiffe://{name}"] = _jwt_keys(bundle)
            return response

        await self._serve(stream, build)

    async def _fetch_jwt_svid(self, stream: "Stream[Any, Any]") -> None:
        selectors = await self._admit(stream)
        request = await stream.recv_message()
        if request is None or not request.audience or not all(request.audience):
            raise GRPCError(Status.INVALID_ARGUMENT, "audience must be specified")
        if len(request.audience) > MAX_AUDIENCES:
            raise GRPCError(Status.INVALID_ARGUMENT, f"a token has at most {MAX_AUDIENCES} audiences")
        with _Statuses(self._observer):
            svids = await self._source.jwt_svids(selectors, tuple(request.audience), request.spiffe_id or None)
        hints = _unique(svid.hint for svid in svids)
        response = m.JWTSVIDResponse()
        for svid, hint in zip(svids, hints, strict=True):
            response.svids.add(spiffe_id=svid.spiffe_id, svid=svid.token, hint=hint)
        self._observer.served("FetchJWTSVID", [svid.spiffe_id for svid in svids])
        await stream.send_message(response)

    async def _validate(self, stream: "Stream[Any, Any]") -> None:
        selectors = await self._admit(stream)
        request = await stream.recv_message()
        if request is None or not request.audience or not request.svid:
            raise GRPCError(Status.INVALID_ARGUMENT, "audience and svid must be specified")
        with _Statuses(self._observer):
            identity = self._source.validate_jwt_svid(selectors, request.audience, request.svid)
        response = m.ValidateJWTSVIDResponse(spiffe_id=identity.id)
        json_format.ParseDict(dict(identity.claims), response.claims)
        await stream.send_message(response)

    async def _serve(self, stream: "Stream[Any, Any]", build: Callable[[Selectors], Awaitable[m.Message]]) -> None:
        selectors = await self._admit(stream)
        await stream.recv_message()
        sent = b""
        while True:
            with _Statuses(self._observer):
                version = self._source.version(selectors)
                message = await build(selectors)
            content = message.SerializeToString(deterministic=True)
            if content != sent:
                await stream.send_message(message)
                sent = content
            await self._source.changed(selectors, version)
            confirm(self._caller, self._observer)

    async def _admit(self, stream: "Stream[Any, Any]") -> Selectors:
        if stream.metadata is None or stream.metadata.get(HEADER) != "true":
            self._observer.refused("header-missing", "a request came without the security header")
            raise GRPCError(Status.INVALID_ARGUMENT, "security header missing from request")
        return await admit(self._source, self._caller, self._observer)


async def admit(source: WorkloadSource, caller: Caller, observer: WorkloadObserver) -> Selectors:
    """Return what is known of the caller.

    Raises:
        GRPCError: nothing can be served yet, or the caller cannot be recognised.
    """
    if not source.ready:
        raise GRPCError(Status.UNAVAILABLE, "the Workload API is starting")
    try:
        return await caller.selectors()
    except ProcessError as error:
        raise _not_admitted(error, observer) from error


def confirm(caller: Caller, observer: WorkloadObserver) -> None:
    """Check before something is pushed that the socket was not left to another process.

    Raises:
        GRPCError: the process that connected has ended, or runs another program.
    """
    try:
        caller.confirm()
    except ProcessError as error:
        raise _not_admitted(error, observer) from error


def _not_admitted(error: ProcessError, observer: WorkloadObserver) -> GRPCError:
    observer.refused(error.rule, str(error))
    status = Status.RESOURCE_EXHAUSTED if error.rule == "rate" else Status.PERMISSION_DENIED
    return GRPCError(status, str(error))


class _Statuses:
    """Turns the errors of a source into gRPC's statuses."""

    def __init__(self, observer: WorkloadObserver) -> None:
        self._observer = observer

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, IdentityError):
            return
        if isinstance(error, NoIdentityError):
            status, rule = Status.PERMISSION_DENIED, "no-identity"
        elif isinstance(error, SvidError):
            status, rule = Status.INVALID_ARGUMENT, error.rule
        else:
            status, rule = Status.UNAVAILABLE, "unavailable"
        self._observer.refused(rule, str(error))
        raise GRPCError(status, str(error)) from error


statuses = _Statuses


def x509_response(context: X509Context) -> m.Message:
    """Return the message of a workload's X.509 material."""
    response = m.X509SVIDResponse()
    authorities = b"".join(context.own.authorities)
    for svid, hint in zip(context.svids, _unique(svid.hint for svid in context.svids), strict=True):
        response.svids.add(
            spiffe_id=svid.spiffe_id,
            x509_svid=b"".join(svid.chain),
            x509_svid_key=svid.key,
            bundle=authorities,
            hint=hint,
        )
    for name, bundle in context.federated.items():
        if bundle.authorities:  # clients take a domain that is left out for withdrawn; an empty bundle they cannot read
            response.federated_bundles[f"spiffe://{name}"] = b"".join(bundle.authorities)
    return response


def _unique(hints: Any) -> list[str]:
    """Keep each hint where it first occurs: hints are unique in a response, and the first SVID is the default."""
    seen: set[str] = set()
    kept = []
    for hint in hints:
        kept.append("" if hint in seen else hint)
        seen.add(hint)
    return kept


def _jwt_keys(bundle: TrustBundle) -> bytes:
    """Return the JWKS with the keys of JWT-SVIDs alone, which is all that some clients understand."""
    return TrustBundle(
        bundle.trust_domain, (), bundle.sequence, bundle.refresh_hint, jwt_keys=bundle.jwt_keys
    ).to_jwks()
