"""What others ask this trust domain for over HTTPS: its bundle, its OIDC documents, and an identity for a node.

    GET  /bundle                             SPIFFE bundle endpoint
    GET  /.well-known/openid-configuration   OIDC discovery, where an issuer is configured
    GET  /keys                               JWKS of the JWT-SVIDs
    POST /v1/attest/{method}                 {"payload": {…}, "csr": PEM} → 200, or 202 with a challenge, to be
                                             answered with {"challenge_id": …, "answer": {…}}

Plain ASGI; errors are problem documents (RFC 9457). TLS is the listener's: proofs travel in the body, so it is never
served without. A proof that may be given once is used up even if no certificate follows.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from hashlib import sha256
from typing import Any

from cryptography import x509

from identity.attestation.base import (
    AttestationError,
    AttestationUnavailableError,
    Attested,
    NodeAttestor,
    SourceLimiter,
    source_of,
)
from identity.attestation.conversations import Conversations, Outcome, Question
from identity.bundle import TrustBundle
from identity.certificate_request import CertificateRequestError, parse_request
from identity.discovery import (
    BUNDLE_PATH,
    DISCOVERY_PATH,
    KEYS_PATH,
    bundle_bytes,
    check_issuer,
    discovery_bytes,
    keys_bytes,
)
from identity.errors import IdentityError
from identity.remote_issuing import handed_out
from identity.strict_json import parse_object

Issue = Callable[[Attested, x509.CertificateSigningRequest], Awaitable[Sequence[bytes]]]
"""Issues a node's X.509-SVID for the key of a request; returns the chain (DER, leaf first). Raises `IdentityError`."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY_BYTES = 128 * 1024
ATTEST_PATH = "/v1/attest/"
PROBLEM_BASE = "urn:govgateway:problem:"


class _Problem(Exception):  # noqa: N818 - an answer, not a fault
    def __init__(
        self, status: int, slug: str, title: str, detail: str, code: str, *headers: tuple[bytes, bytes]
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers
        self.body = json.dumps(
            {"type": PROBLEM_BASE + slug, "title": title, "status": status, "detail": detail, "code": code}
        ).encode()


def identity_endpoint(
    *,
    bundle: Callable[[], TrustBundle],
    attestors: Iterable[NodeAttestor],
    issue: Issue,
    limiter: SourceLimiter,
    issuer: str = "",
    conversations: Conversations | None = None,
) -> "IdentityEndpoint":
    """Return the ASGI application.

    Args:
        bundle: the own bundle as it is now.
        attestors: the ways in which nodes may prove themselves; none turns attestation off.
        issue: issues SVIDs to nodes.
        limiter: bounds the attempts of each source address.
        issuer: `iss` of JWT-SVIDs; empty: no OIDC documents.
        conversations: holds attestations under way.

    Raises:
        BundleError: the issuer cannot be one.
    """
    if issuer:
        check_issuer(issuer)
    return IdentityEndpoint(
        bundle, attestors, issue, limiter, issuer, Conversations() if conversations is None else conversations
    )


class IdentityEndpoint:
    """The ASGI application; made by `identity_endpoint`. `close` ends what is under way."""

    def __init__(
        self,
        bundle: Callable[[], TrustBundle],
        attestors: Iterable[NodeAttestor],
        issue: Issue,
        limiter: SourceLimiter,
        issuer: str,
        conversations: Conversations,
    ) -> None:
        self._bundle = bundle
        self._attestors = {attestor.name: attestor for attestor in attestors}
        self._issue = issue
        self._limiter = limiter
        self._issuer = issuer
        self._conversations = conversations

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the application's life (`lifespan`)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"this application serves http, not {scope['type']}")
        try:
            status, headers, body = await self._answer(scope, receive)
        except _Problem as problem:
            status, body = problem.status, problem.body
            headers = [
                (b"content-type", b"application/problem+json"),
                (b"cache-control", b"no-store"),
                *problem.headers,
            ]
        headers = [*headers, (b"x-content-type-options", b"nosniff")]
        if status != 304:
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def close(self) -> None:
        """End the attestations under way."""
        await self._conversations.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})

    async def _answer(self, scope: Mapping[str, Any], receive: Receive) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        path, method = scope["path"], scope["method"]
        if path.startswith(ATTEST_PATH) and path[len(ATTEST_PATH) :] in self._attestors:
            _allow(method, "POST")
            return await self._attest(self._attestors[path[len(ATTEST_PATH) :]], scope, receive)
        bundle = self._bundle()
        if path == BUNDLE_PATH:
            body = bundle_bytes(bundle)
        elif path == DISCOVERY_PATH and self._issuer:
            body = discovery_bytes(self._issuer, bundle)
        elif path == KEYS_PATH and self._issuer:
            body = keys_bytes(bundle)
        else:
            raise _Problem(404, "not-found", "There is no such route.", f"Nothing is served at {path[:200]}.", "route")
        _allow(method, "GET", "HEAD")
        tag = f'"{sha256(body).hexdigest()}"'.encode()
        headers = [(b"etag", tag), (b"cache-control", b"public, max-age=%d" % max(0, bundle.refresh_hint))]
        if _has(scope, b"if-none-match", tag):
            return 304, headers, b""
        return 200, [*headers, (b"content-type", b"application/json")], body

    async def _attest(
        self, attestor: NodeAttestor, scope: Mapping[str, Any], receive: Receive
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        client = scope.get("client")
        wait = self._limiter.wait(source_of(client[0]) if client else "unknown")
        if wait:
            raise _Problem(
                429,
                "too-many-attempts",
                "This source tries to attest too often.",
                f"Try again in {wait} seconds.",
                "attestation-rate",
                (b"retry-after", b"%d" % wait),
            )
        document = _document(await _body(scope, receive))
        try:
            result = await self._step(attestor, document)
            answer = await self._finish(result)
        except AttestationUnavailableError as error:
            raise _Problem(
                503, "unavailable", "Attestation is not possible now.", str(error), error.rule, (b"retry-after", b"5")
            ) from error
        except AttestationError as error:
            malformed = error.rule == "payload-malformed"
            raise _Problem(
                400 if malformed else 403,
                "invalid-request" if malformed else "attestation-refused",
                "The request cannot be understood." if malformed else "The node did not prove what it is.",
                str(error),
                error.rule,
            ) from error
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        return 202 if isinstance(result, Question) else 200, headers, json.dumps(answer).encode()

    async def _step(self, attestor: NodeAttestor, document: Mapping[str, Any]) -> Question | Outcome:
        if "challenge_id" in document:
            name, answer = document["challenge_id"], document.get("answer")
            if not isinstance(name, str) or not isinstance(answer, dict):
                raise AttestationError("payload-malformed", "an answer has the members 'challenge_id' and 'answer'")
            return await self._conversations.go_on(attestor.name, name, answer)
        payload = document.get("payload")
        if not isinstance(payload, dict):
            raise AttestationError("payload-malformed", "the request needs the members 'payload' and 'csr'")
        return await self._conversations.begin(attestor, payload, _csr(document.get("csr")))

    async def _finish(self, result: Question | Outcome) -> dict[str, Any]:
        if isinstance(result, Question):
            return {"challenge_id": result.conversation, "challenge": dict(result.message)}
        try:
            chain = await self._issue(result.attested, result.request)
        except AttestationError:
            raise
        except IdentityError as error:
            raise AttestationError("not-issued", f"the node is attested, but gets no certificate: {error}") from error
        return {
            "spiffe_id": result.attested.spiffe_id,
            "selectors": sorted(result.attested.selectors),
            "can_reattest": result.attested.can_reattest,
            **handed_out(chain, self._bundle()),
        }


def _allow(method: str, *allowed: str) -> None:
    if method not in allowed:
        names = ", ".join(allowed)
        raise _Problem(
            405,
            "method-not-allowed",
            "This route does not take this method.",
            f"Use {names}.",
            "method",
            (b"allow", names.encode()),
        )


def _has(scope: Mapping[str, Any], name: bytes, tag: bytes) -> bool:
    for field, value in scope["headers"]:
        if field == name:
            tags = [each.strip().removeprefix(b"W/") for each in value.split(b",")]
            if tag in tags or b"*" in tags:
                return True
    return False


async def _body(scope: Mapping[str, Any], receive: Receive) -> bytes:
    kinds = [value.split(b";")[0].strip().lower() for field, value in scope["headers"] if field == b"content-type"]
    if kinds != [b"application/json"]:
        raise _Problem(
            415, "unsupported-media-type", "The content type is not supported.", "Send application/json.", "media-type"
        )
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Problem(400, "invalid-request", "The request cannot be understood.", "It is not complete.", "body")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _Problem(
                413, "body-too-large", "The request body is too large.", f"At most {MAX_BODY_BYTES} bytes.", "body"
            )
        if not message.get("more_body", False):
            return bytes(body)


def _document(body: bytes) -> dict[str, Any]:
    try:
        return parse_object(body)
    except ValueError as error:
        raise _Problem(
            400, "invalid-request", "The request cannot be understood.", f"The body is no JSON object: {error}.", "body"
        ) from error


def _csr(pem: object) -> x509.CertificateSigningRequest:
    try:
        return parse_request(pem)
    except CertificateRequestError as error:
        raise AttestationError(error.rule, str(error)) from error
