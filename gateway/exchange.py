"""One call on its way through the pipeline: what is known of it so far, and how its answer is sent."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter_ns
from typing import Any

from audit.log import Entry, PayloadDigest
from audit.sealing.intake import CallContent
from gateway.approvals.model import Approval, Terms
from gateway.authorization.engine import Decision
from gateway.errors import GatewayError
from gateway.protocols.base import Call, Meter, WireProtocol
from gateway.quota.ledger import Reservation
from gateway.telemetry.trace import TraceContext
from gateway.upstream.client import Backend, UpstreamAnswer
from identity.jwt_svid import JwtIdentity
from identity.registry import Agent
from identity.verification import PeerIdentity

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientDisconnectedError(Exception):
    """The caller closed the connection before its request or its answer was complete."""


class Exchange:
    """State of one call. Fields are filled by the steps of the pipeline in order; nothing is shared.

    Attributes:
        token: the JWT-SVID that the call carried.
        delegation: for whom the caller acts, the first in the chain first; `delegators` are they as registered.
        delegated_inputs: the policy input of each of them.
        marks: readings of a nanosecond clock, one at the beginning of each step.
        started: whether the head of the answer was sent.
        approval: a person's approval that the call has or waits for, where the policy asks for one.
        content: what seals the answer, where the policy asks for it.
        terms: on which terms the policy asks for an approval.
        cut_by: the error that ends an answer under way, set by `cut`.
    """

    __slots__ = (
        "_receive",
        "_send",
        "agent",
        "answer",
        "approval",
        "backend",
        "body",
        "call",
        "content",
        "cut_by",
        "decision",
        "delegated_inputs",
        "delegation",
        "delegators",
        "digest",
        "headers",
        "intent",
        "marks",
        "max_tokens",
        "meter",
        "method",
        "path",
        "peer",
        "policy_input",
        "protocol",
        "reached_backend",
        "relayed",
        "release_backend",
        "request_id",
        "reservation",
        "sent_ns",
        "settled",
        "started",
        "status",
        "task",
        "terms",
        "token",
        "trace",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.marks = [perf_counter_ns()]
        self._receive = receive
        self._send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.peer: PeerIdentity | None = None
        self.agent: Agent | None = None
        self.token: JwtIdentity | None = None
        self.delegation: tuple[str, ...] = ()
        self.delegators: tuple[Agent, ...] = ()
        self.delegated_inputs: list[dict[str, Any]] = []
        self.trace: TraceContext | None = None
        self.protocol: WireProtocol | None = None
        self.call: Call | None = None
        self.body = b""
        self.content: CallContent | None = None
        self.policy_input: dict[str, Any] = {}
        self.decision: Decision | None = None
        self.reservation: Reservation | None = None
        self.intent: Entry | None = None
        self.request_id = ""
        self.backend: Backend | None = None
        self.release_backend: Callable[[Backend], None] | None = None
        self.answer: UpstreamAnswer | None = None
        self.approval: Approval | None = None
        self.terms: Terms | None = None
        self.meter: Meter | None = None
        self.relayed = 0
        self.digest: PayloadDigest | None = None
        self.max_tokens = 0
        self.sent_ns = 0
        self.reached_backend = False
        self.settled = False
        self.started = False
        self.status = 0
        self.task: asyncio.Task[Any] | None = None
        self.cut_by: GatewayError | None = None

    def mark(self) -> None:
        """Note that the next step begins."""
        self.marks.append(perf_counter_ns())

    def cut(self, error: GatewayError) -> None:
        """End the answer under way; the caller is told `error` where the protocol can."""
        if self.cut_by is None and self.task is not None:
            self.cut_by = error
            self.task.cancel()

    async def read_body(self) -> bytes:
        """Return the whole request body; the listener holds it to the configured size.

        Raises:
            ClientDisconnectedError: the caller left before the end of the body.
        """
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientDisconnectedError
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return body
        parts = [body]
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientDisconnectedError
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of the answer."""
        self.started = True
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, *, more: bool) -> None:
        """Send bytes of the answer's body; waits while the caller reads too slowly."""
        self.relayed += len(data)
        if self.digest is not None:
            self.digest.update(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
