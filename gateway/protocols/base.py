"""What a wire protocol gives the pipeline: one parse, one body to forward, one meter of the answer.

A protocol does no input or output. It turns bytes into a `Call` once; what it hands out to forward is made
from that same parse, so that what was authorised is what the backend sees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.errors import GatewayError

Headers = Sequence[tuple[bytes, bytes]]
"""Header fields in wire order, names in lower case."""


@dataclass(slots=True)
class Usage:
    """Tokens of one call, as the backend reported them.

    `known` is False until the backend reported any figure; then the worst case is charged.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    known: bool = False


@dataclass(slots=True)
class Call:
    """One parsed request: what the policy sees and what is forwarded.

    Attributes:
        protocol: name of the protocol, for instance `openai`.
        operation: the protocol's own name of the route, for instance `chat.completions`.
        action: action of the policy contract, for instance `model.infer`.
        resource_type: type of the resource, for instance `model`.
        resource_id: the model's name exactly as sent.
        upstream_path: path on the backend, relative to the backend's base URL.
        document: the parsed body; duplicate keys were refused.
        body: the exact bytes received.
        stream: whether the caller asked for server-sent events.
        max_tokens: upper bound of output tokens the caller asked for (0: none given).
        input_tokens_bound: bound of the input tokens, never lower than what a byte-level tokenizer
            yields (tokens).
        choices: how many completions were asked for (`n`, `best_of`, batch size).
        tools: names of the tools offered.
        local: answered by the gateway itself; nothing is forwarded.
        usage_events_added: `prepare` asked the backend for usage at the end of the stream, the caller did
            not; the meter takes it out.
        chunk_usage_added: the same for cumulative usage in every event.
    """

    protocol: str
    operation: str
    action: str
    resource_type: str
    resource_id: str
    upstream_path: str
    document: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""
    stream: bool = False
    max_tokens: int = 0
    input_tokens_bound: int = 0
    choices: int = 1
    tools: tuple[str, ...] = ()
    local: bool = False
    usage_events_added: bool = False
    chunk_usage_added: bool = False


class Meter(Protocol):
    """Watches the bytes of one answer, takes out what the caller did not ask for, and counts usage."""

    usage: Usage

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the backend and return the bytes to relay (empty when an event is not complete).

        Raises:
            UpstreamError: the answer is not what the protocol allows, or an event exceeds the bound.
        """

    def finish(self) -> bytes:
        """Return what is left to relay at a clean end of the answer.

        Raises:
            UpstreamError: the answer ended in the middle of an event or document.
        """


class WireProtocol(Protocol):
    """One wire protocol. Stateless; one instance serves every request."""

    name: str

    def match(self, method: str, path: str) -> bool:
        """Whether the route belongs to this protocol (any method of a known path)."""

    def parse(self, method: str, path: str, headers: Headers, body: bytes) -> Call:
        """Parse one request.

        Raises:
            RequestError: malformed, ambiguous or unsupported; NotFoundError, MethodNotAllowedError and
                MediaTypeError are its subclasses.
        """

    def prepare(self, call: Call, *, max_tokens: int, continuous_usage: bool, model: str) -> bytes:
        """Return the body to forward. Notes on the call what it asked for beyond the caller's wish.

        Args:
            call: the parsed request.
            max_tokens: output bound after obligations and reservation (tokens, per choice; 0: unchanged).
            continuous_usage: the backend reports cumulative usage in every chunk when asked.
            model: the name of the model on the backend; empty: the name the caller used.
        """

    def meter(self, call: Call, status: int, headers: Headers) -> Meter:
        """Return the meter of one answer.

        Raises:
            UpstreamError: status or content type are not what this call can answer.
        """

    def list_models(self, models: Sequence[Mapping[str, Any]], *, single: bool = False) -> bytes:
        """Return the body of the model listing, or with `single` of the one model given.

        Each entry has `id`, `created` (UNIX seconds) and `owned_by`.
        """

    def error(self, error: GatewayError, request_id: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return headers and body in the shape that the caller's SDK turns into its own exception.

        The headers are those of the shape (content type and length, request id, retry advice); the caller of
        this method adds `error.headers`.
        """

    def stream_error(self, error: GatewayError, request_id: str) -> bytes:
        """Return the bytes that end a stream under way with an error the caller's SDK understands."""
