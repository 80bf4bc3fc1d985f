"""OpenAI's API as a wire protocol of the gateway: the parts of this package behind the one seam."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.errors import GatewayError, RequestError, UpstreamError
from gateway.protocols.base import Call, Headers, Meter
from gateway.protocols.json_body import parse_json_object, require_json
from gateway.protocols.openai.answer_meter import AnswerMeter
from gateway.protocols.openai.errors import error_answer, error_event
from gateway.protocols.openai.forwarding import forwarded_body
from gateway.protocols.openai.requests import read_request
from gateway.protocols.openai.routes import BY_OPERATION, MODELS, find, is_known
from gateway.protocols.openai.stream_meter import StreamMeter


class OpenAIProtocol:
    """Chat completions, completions, embeddings, responses and models. Implements `WireProtocol`."""

    name = "openai"

    def match(self, method: str, path: str) -> bool:  # noqa: ARG002 - a known path with any method is ours
        """Whether the path is one of this API's routes."""
        return is_known(path)

    def parse(self, method: str, path: str, headers: Headers, body: bytes) -> Call:
        """Parse one request; see `gateway.protocols.base.WireProtocol`."""
        route = find(method, path)
        if isinstance(route, str):
            if body:
                raise RequestError(
                    "A GET request takes no body.", remedy="Send it without one.", code="body_not_expected"
                )
            return Call(self.name, "models", "model.list", "model", route, MODELS, local=True)
        require_json(headers)
        return read_request(route, parse_json_object(body), body)

    def prepare(self, call: Call, *, max_tokens: int, continuous_usage: bool, model: str) -> bytes:
        """Return the body to forward; notes on the call which usage the caller did not ask for."""
        return forwarded_body(
            call,
            BY_OPERATION[call.operation],
            max_tokens=max_tokens,
            continuous_usage=continuous_usage,
            model=model,
        )

    def meter(self, call: Call, status: int, headers: Headers) -> Meter:
        """Return the meter of one answer, having checked its status, content type and encoding."""
        if status != 200:
            raise UpstreamError(f"The model server answered with status {status}.", code=f"upstream_status_{status}")
        media_type = b""
        for name, value in headers:
            if name == b"content-type":
                media_type = value.partition(b";")[0].strip().lower()
            elif name == b"content-encoding" and value.lower() != b"identity":
                raise _unusable("has a content encoding, which nobody asked for")
        wanted = b"text/event-stream" if call.stream else b"application/json"
        if media_type != wanted:
            raise _unusable(f"is not of the type {wanted.decode()}")
        route = BY_OPERATION[call.operation]
        return StreamMeter(call, route) if call.stream else AnswerMeter(route)

    def list_models(self, models: Sequence[Mapping[str, Any]], *, single: bool = False) -> bytes:
        """Return the listing, or with `single` the one model given."""
        entries = [
            {"id": m["id"], "object": "model", "created": m["created"], "owned_by": m["owned_by"]} for m in models
        ]
        return orjson.dumps(entries[0] if single else {"object": "list", "data": entries})

    def error(self, error: GatewayError, request_id: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return headers and body of an error; the caller adds `error.headers`."""
        return error_answer(error, request_id)

    def stream_error(self, error: GatewayError, request_id: str) -> bytes:
        """Return the event that ends a stream under way."""
        return error_event(error, request_id)


def _unusable(what: str) -> UpstreamError:
    return UpstreamError(
        f"The answer of the model server {what}.",
        remedy="The operator has to look at the model server.",
        code="upstream_garbage",
    )
