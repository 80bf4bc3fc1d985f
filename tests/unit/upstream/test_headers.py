"""Which header fields pass between the caller and a backend."""

import pytest

from gateway.upstream.headers import request_headers, response_headers

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_form_of_the_body_and_of_the_answer_wished_for_pass() -> None:
    headers = [(b"accept", b"text/event-stream"), (b"content-type", b"application/json"), (b"openai-beta", b"x")]
    assert request_headers(headers, TRACE)[:3] == headers


def test_the_gateway_asks_for_no_compression_and_sends_its_own_trace() -> None:
    sent = request_headers([(b"accept-encoding", b"gzip"), (b"traceparent", b"00-forged")], TRACE)
    assert sent == [(b"accept-encoding", b"identity"), (b"traceparent", TRACE.encode())]


@pytest.mark.parametrize(
    "name",
    [
        "authorization", "proxy-authorization", "cookie", "api-key", "x-api-key", "host", "content-length",
        "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect", "keep-alive", "user-agent", "forwarded",
        "x-forwarded-for", "x-forwarded-client-cert", "x-real-ip", "traceparent", "tracestate", "baggage", "referer",
        "openai-organization", "openai-project", "x-stainless-lang", "x-anything", "range", "content-encoding",
    ],
)  # fmt: skip
def test_nothing_else_of_the_caller_reaches_a_backend(name: str) -> None:
    sent = request_headers([(name.encode(), b"from-the-caller")], TRACE)
    assert b"from-the-caller" not in [value for _, value in sent]


def test_what_describes_the_answer_passes() -> None:
    headers = [(b"content-type", b"application/json"), (b"openai-processing-ms", b"12")]
    assert response_headers(headers) == headers


@pytest.mark.parametrize(
    "name",
    [
        "set-cookie", "server", "date", "via", "connection", "keep-alive", "transfer-encoding", "content-length", "upgrade",
        "trailer", "proxy-authenticate", "www-authenticate", "location", "alt-svc", "x-ratelimit-remaining-tokens",
        "ratelimit", "x-request-id", "x-internal-host", "access-control-allow-origin", "strict-transport-security",
    ],
)  # fmt: skip
def test_nothing_else_of_a_backend_reaches_the_caller(name: str) -> None:
    assert response_headers([(name.encode(), b"from-the-backend")]) == []


def test_a_field_nominated_by_connection_does_not_pass_unless_it_describes_the_body() -> None:
    headers = [(b"connection", b"x-hop"), (b"x-hop", b"1"), (b"content-type", b"application/json")]
    assert response_headers(headers) == [(b"content-type", b"application/json")]
