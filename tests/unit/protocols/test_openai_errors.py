"""Errors as the official SDK sees them: the proper exception, its fields, and whether it tries again."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest
from openai import OpenAI

from gateway import errors
from gateway.protocols.openai import OpenAIProtocol

QUESTION = [{"role": "user", "content": "hi"}]
PROTOCOL = OpenAIProtocol()


class Answering:
    """An HTTP server that gives one prepared answer and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        answering = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                answering.asked += 1
                self.send_response(answering.status)
                for name, value in answering.headers:
                    self.send_header(name.decode(), value.decode())
                self.end_headers()
                self.wfile.write(answering.body)

            do_GET = do_POST  # noqa: N815 - the name that http.server calls

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def refuse(self, error: errors.GatewayError) -> None:
        """Answer with this error, as the pipeline does."""
        headers, self.body = PROTOCOL.error(error, "request-1")
        self.headers = [*headers, *error.headers]
        self.status = error.status

    def stream(self, body: bytes) -> None:
        """Answer with this stream."""
        self.status, self.body = 200, body
        self.headers = [(b"content-type", b"text/event-stream"), (b"content-length", b"%d" % len(body))]


@pytest.fixture(scope="module")
def server() -> Iterator[Answering]:
    answering = Answering()
    thread = threading.Thread(target=answering.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield answering
    answering.server.shutdown()
    thread.join()
    answering.server.server_close()


@pytest.fixture
def sdk(server: Answering) -> Iterator[OpenAI]:
    server.asked = 0
    with OpenAI(base_url=server.url, api_key="none", max_retries=1) as client:
        yield client


@pytest.mark.parametrize(
    ("error", "exception", "kind", "asked"),
    [
        (errors.RequestError("d"), openai.BadRequestError, "invalid_request_error", 1),
        (errors.IdentityRefusedError("d"), openai.AuthenticationError, "authentication_error", 1),
        (errors.PolicyDeniedError("d"), openai.PermissionDeniedError, "permission_error", 1),
        (errors.NotFoundError("d"), openai.NotFoundError, "not_found_error", 1),
        (errors.MethodNotAllowedError("d"), openai.APIStatusError, "invalid_request_error", 1),
        (errors.RequestTimeoutError("d"), openai.APIStatusError, "invalid_request_error", 2),
        (errors.BodyTooLargeError("d"), openai.APIStatusError, "invalid_request_error", 1),
        (errors.MediaTypeError("d"), openai.APIStatusError, "invalid_request_error", 1),
        (
            errors.QuotaExceededError("d", headers=[(b"retry-after", b"0.01")]),
            openai.RateLimitError, "rate_limit_error", 2,
        ),
        (
            errors.QuotaExceededError("d", headers=[(b"retry-after", b"40000")]),
            openai.RateLimitError, "rate_limit_error", 1,
        ),
        (errors.HttpVersionError("d"), openai.InternalServerError, "server_error", 1),
        (errors.UpstreamError("d"), openai.InternalServerError, "server_error", 2),
        (errors.UpstreamTimeoutError("d"), openai.InternalServerError, "server_error", 2),
        (errors.UnavailableError("d"), openai.InternalServerError, "server_error", 2),
    ],
    ids=lambda value: value.slug if isinstance(value, errors.GatewayError) else "",
)  # fmt: skip
def test_each_error_becomes_its_exception_and_is_repeated_only_where_that_helps(
    server, sdk, error, exception, kind, asked
):
    server.refuse(error)
    with pytest.raises(exception) as caught:
        sdk.chat.completions.create(model="m", messages=QUESTION)
    assert caught.value.status_code == error.status
    assert caught.value.type == kind
    assert server.asked == asked


def test_a_person_reads_the_cause_and_the_remedy_and_a_program_the_code(server, sdk):
    error = errors.PolicyDeniedError(
        "No overseer is assigned.", remedy="Name one.", code="oversight_missing", extensions={"reasons": ["a", "b"]}
    )
    server.refuse(error)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        sdk.chat.completions.create(model="m", messages=QUESTION)
    assert "No overseer is assigned. Name one." in caught.value.message
    assert caught.value.code == "oversight_missing"
    assert caught.value.request_id == "request-1"
    assert caught.value.body["reasons"] == ["a", "b"]


def test_the_parameter_at_fault_is_named(server, sdk, parse):
    with pytest.raises(errors.RequestError) as refused:
        parse("chat", max_tokens=-1)
    server.refuse(refused.value)
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="m", messages=QUESTION)
    assert caught.value.param == "max_tokens"
    assert caught.value.code == "max_tokens_invalid"


def test_an_error_in_the_middle_of_a_chat_raises_in_the_loop_that_reads_it(server, sdk):
    word = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}],"object":"x","created":0,"model":"m"}\n\n'
    error = errors.IdentityRefusedError("Your certificate was revoked.", remedy="Ask why.", code="revoked")
    server.stream(word + PROTOCOL.stream_error(error, "request-1"))
    stream = sdk.chat.completions.create(model="m", messages=QUESTION, stream=True)
    assert next(stream).choices[0].delta.content == "a"
    with pytest.raises(openai.APIError) as caught:
        next(stream)
    assert caught.value.message == "Your certificate was revoked. Ask why."
    assert caught.value.code == "revoked"
    assert caught.value.body["request_id"] == "request-1"


def test_an_error_in_the_middle_of_a_response_or_completion_raises_too(server, sdk):
    server.stream(PROTOCOL.stream_error(errors.UpstreamError("It broke."), "request-1"))
    with pytest.raises(openai.APIError, match="It broke"):
        list(sdk.responses.create(model="m", input="hi", stream=True))
    with pytest.raises(openai.APIError, match="It broke"):
        list(sdk.completions.create(model="m", prompt="hi", stream=True))


def test_the_sdk_reads_the_model_listing(server, sdk):
    models = [{"id": "a", "created": 7, "owned_by": "o", "secret": "x"}, {"id": "b", "created": 0, "owned_by": "o"}]
    server.status, server.headers = 200, [(b"content-type", b"application/json")]
    server.body = PROTOCOL.list_models(models)
    assert b"secret" not in server.body
    assert [(model.id, model.created) for model in sdk.models.list()] == [("a", 7), ("b", 0)]
    server.body = PROTOCOL.list_models(models[:1], single=True)
    assert sdk.models.retrieve("a").owned_by == "o"
    server.body = PROTOCOL.list_models([])
    assert list(sdk.models.list()) == []
