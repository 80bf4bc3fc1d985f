"""The witness as an HTTP server: two paths, bodies bounded in size and time, nothing to configure by a request."""

import asyncio
import ipaddress
import logging
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn

from audit.errors import AuditError
from audit.witness.deciding import Answer, WitnessRules
from audit.witness.protocol import MAX_CONNECTIONS, MAX_HEAD_BYTES, BoundedProtocol
from audit.witness.state import WitnessStateError

MAX_BODY_BYTES = 262_144
MAX_BODY_SECONDS = 20.0

_CHECKPOINT = re.compile(r"/([0-9a-f]{64})/checkpoint")

_LOG = logging.getLogger(__name__)

_Message = MutableMapping[str, Any]


class WitnessApp:
    """An ASGI application: POST /add-checkpoint, GET /<SHA-256 of the origin>/checkpoint."""

    def __init__(self, rules: WitnessRules) -> None:
        self._rules = rules
        self._failing = ""

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Serve one request (ASGI 3)."""
        if scope["type"] != "http":
            return
        answer = await self._answer(scope, receive)
        if answer is None:
            return
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: _Message, receive: Callable[[], Awaitable[_Message]]) -> Answer | None:
        asked = _CHECKPOINT.fullmatch(scope["path"])
        if asked is None and scope["path"] != "/add-checkpoint":
            return Answer(404, b"a witness answers POST /add-checkpoint\n")
        if scope["method"] != ("POST" if asked is None else "GET"):
            return Answer(405, b"a witness answers POST /add-checkpoint, and GET of a checkpoint\n")
        try:
            if asked is not None:
                return await asyncio.to_thread(self._rules.checkpoint, asked[1])
            return await self._add(receive)
        except WitnessStateError as error:
            self._say(str(error))
            return Answer(503, b"the witness cannot cosign now; its operator has to see why\n")

    def _say(self, failure: str) -> None:
        """Tell the operator, once for each failure: whoever asks again does not fill a log."""
        if failure != self._failing:
            self._failing = failure
            _LOG.error("nothing is cosigned: %s", failure)

    async def _add(self, receive: Callable[[], Awaitable[_Message]]) -> Answer | None:
        try:
            async with asyncio.timeout(MAX_BODY_SECONDS):
                body = await _body(receive)
        except TimeoutError:
            return Answer(408, b"the request takes too long\n")
        if body is None:
            return None
        if len(body) > MAX_BODY_BYTES:
            return Answer(413, b"the request is too large\n")
        return await asyncio.to_thread(self._rules.add_checkpoint, body)


async def _body(receive: Callable[[], Awaitable[_Message]]) -> bytes | None:
    """Return the body, no more of it than shows that it is too large; None if the client is gone."""
    body = bytearray()
    more = True
    while more and len(body) <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def serve(
    rules: WitnessRules,
    host: str,
    port: int,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    ready: Callable[[int], None] = lambda _port: None,
) -> None:
    """Serve until interrupted.

    Args:
        rules: what is cosigned.
        host: address to listen on.
        port: port; 0 takes a free one.
        certificate: TLS certificate chain (PEM).
        key: its key.
        ready: told the port once it listens.

    Raises:
        AuditError: plain HTTP is asked for on an address that is not loopback.
    """
    if certificate is None and not ipaddress.ip_address(host).is_loopback:
        raise AuditError(f"{host} is not loopback: give the witness a certificate and key, or put TLS before it")
    config = uvicorn.Config(
        WitnessApp(rules),
        host=host,
        port=port,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        http=BoundedProtocol,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level=logging.ERROR,  # a warning for each malformed request would let anybody fill a log
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        limit_concurrency=MAX_CONNECTIONS + 1,
    )
    server = uvicorn.Server(config)
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
        ready(listening.getsockname()[1])  # from here on, connections wait for the server
        server.run(sockets=[listening])
