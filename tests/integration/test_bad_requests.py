"""Requests that break HTTP, sent as raw bytes over real TLS: refused by name, recorded and counted."""

import http.client
import json
import socket
import ssl
import time

import pytest

from tests.support.calls import PATIENCE, chat, eventually, metric, plain, recorded, records
from tests.support.running_gateway import AgentFiles, RunningGateway

MODEL = "example-chat"
HEADER_BYTES = 8192
BODY_BYTES = 65_536
TIMEOUT = 1.0

BODY = json.dumps(chat(MODEL)).encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
GOOD = POST + b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)

FRAMING = [
    ("length-and-chunked", 400, POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("length-and-chunked", 400, POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"),
    ("content-length-repeated", 400, POST + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello"),
    ("content-length-repeated", 400, POST + b"content-length: 5\r\ncontent-length: 50\r\n\r\nhello"),
    ("content-length-invalid", 400, POST + b"content-length: +5\r\n\r\nhello"),
    ("content-length-invalid", 400, POST + b"content-length: 5, 5\r\n\r\nhello"),
    ("content-length-invalid", 400, POST + b"content-length: -1\r\n\r\n"),
    ("content-length-invalid", 400, POST + b"content-length: 0x5\r\n\r\nhello"),
    ("transfer-encoding", 400, POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("transfer-encoding", 400, POST + b"transfer-encoding: identity\r\n\r\n"),
    ("transfer-encoding-repeated", 400, POST + b"transfer-encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n"),
    ("space-before-colon", 400, POST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("bare-line-feed", 400, b"GET /v1/models HTTP/1.1\nhost: localhost\n\n"),
    ("bare-line-feed", 400, POST + b"content-length: 5\n\r\nhello"),
    ("bare-carriage-return", 400, POST + b"x-field: a\rtransfer-encoding: chunked\r\n\r\n"),
    ("line-folding", 400, POST + b"x-field: a\r\n b\r\n\r\n"),
    ("line-folding", 400, POST + b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ("control-character", 400, POST + b"x-field: a\x00b\r\n\r\n"),
    ("header-name", 400, POST + b": nothing\r\n\r\n"),
    ("header-line", 400, POST + b"no colon here\r\n\r\n"),
    ("host-missing", 400, b"GET /v1/models HTTP/1.1\r\n\r\n"),
    ("host-repeated", 400, b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nhost: other\r\n\r\n"),
    ("http-version", 505, b"GET /v1/models HTTP/1.0\r\nhost: localhost\r\n\r\n"),
    ("request-target", 400, b"GET http://other.test/v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    ("upgrade", 400, b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"),
    ("request-line", 400, b"hello\r\n\r\n"),
    ("chunk-extension", 400, CHUNKED + b"5;name=value\r\nhello\r\n0\r\n\r\n"),
    ("chunk-size", 400, CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("chunk-size", 400, CHUNKED + b"FFFFFFFFF\r\nhello"),
    ("chunk-framing", 400, CHUNKED + b"5\r\nhelloX\r\n0\r\n\r\n"),
    ("trailers", 400, CHUNKED + b"5\r\nhello\r\n0\r\nauthorization: smuggled\r\n\r\n"),
    ("head-too-large", 431, POST + b"x-long: " + b"a" * HEADER_BYTES + b"\r\n\r\n"),
    ("head-too-large", 431, POST + b"x-many: a\r\n" * HEADER_BYTES),
    ("body-too-large", 413, POST + b"content-length: %d\r\n\r\n" % (BODY_BYTES + 1)),
    ("body-too-large", 413, POST + b"content-length: 999999999999999\r\n\r\n"),
    ("body-too-large", 413, CHUNKED + b"%x\r\n" % (BODY_BYTES + 1)),
]


@pytest.fixture(scope="module")
def strict(example_backend: str, tmp_path_factory: pytest.TempPathFactory):
    limits = {
        "header_bytes": HEADER_BYTES, "body_bytes": BODY_BYTES,
        "header_timeout_seconds": TIMEOUT, "body_timeout_seconds": TIMEOUT,
    }  # fmt: skip
    running = RunningGateway(
        tmp_path_factory.mktemp("strict") / "home", example_backend, [MODEL], {"listener": {"limits": limits}}
    )
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def caller(strict: RunningGateway) -> AgentFiles:
    return strict.register("agent/caller")


@pytest.fixture
def wire(strict: RunningGateway, caller: AgentFiles):
    """A TLS connection of the agent on which a test sends bytes."""
    with (
        socket.create_connection(("127.0.0.1", strict.port), timeout=PATIENCE) as plain_socket,
        caller.tls().wrap_socket(plain_socket, server_hostname="localhost") as sock,
    ):
        yield sock


def read_answer(sock: ssl.SSLSocket) -> tuple[http.client.HTTPResponse, bytes]:
    response = http.client.HTTPResponse(sock, method="POST")
    response.begin()
    return response, response.read()


def read_refusal(sock: ssl.SSLSocket, rule: str, status: int) -> None:
    """Read one refusal that names `rule`, after which the connection ends."""
    response, body = read_answer(sock)
    problem = json.loads(body)
    assert (response.status, problem["status"], problem["code"]) == (status, status, rule), problem
    assert response.getheader("content-type") == "application/problem+json"
    assert response.getheader("connection") == "close"
    assert problem["detail"]
    assert sock.recv(1) == b""


def assert_recorded(strict: RunningGateway, caller: AgentFiles, rule: str, count_before: float) -> None:
    refused = recorded(strict, "connection.refused", reasons=[rule])
    assert refused["principal"] == caller.id
    assert refused["decision"] == "deny"
    assert refused["peer"]["serial"]
    eventually("the refusal is counted", lambda: count(strict, rule) == count_before + 1)


def count(strict: RunningGateway, rule: str) -> float:
    return metric(strict, f'govgateway_http_refusals_total{{rule="{rule}"}}')


def calls(strict: RunningGateway) -> int:
    """Count the calls that reached the application; each has one of these before its answer."""
    return len([entry for entry in records(strict, 10_000) if entry["type"] in {"access.intent", "access.denied"}])


@pytest.mark.parametrize(
    ("rule", "status", "data"), FRAMING, ids=[f"{rule}-{n}" for n, (rule, _, _) in enumerate(FRAMING)]
)
def test_a_request_that_breaks_a_rule_is_refused_by_name_recorded_and_counted(strict, caller, wire, rule, status, data):
    before, calls_before = count(strict, rule), calls(strict)
    wire.sendall(data)
    read_refusal(wire, rule, status)
    assert_recorded(strict, caller, rule, before)
    assert calls(strict) == calls_before, "a broken request reached the application"


def test_a_head_that_comes_too_slowly_is_refused(strict, caller, wire):
    before = count(strict, "header-timeout")
    started = time.monotonic()
    for byte in POST[:8]:  # a byte now and then does not prolong the deadline
        wire.sendall(bytes([byte]))
        time.sleep(0.05)
    read_refusal(wire, "header-timeout", 408)
    assert time.monotonic() - started >= TIMEOUT * 0.9
    assert_recorded(strict, caller, "header-timeout", before)


def test_a_body_that_comes_too_slowly_is_refused(strict, caller, wire):
    before, calls_before = count(strict, "body-timeout"), calls(strict)
    wire.sendall(POST + b"content-length: 500\r\n\r\n{")
    for _ in range(5):
        time.sleep(0.05)
        wire.sendall(b" ")
    read_refusal(wire, "body-timeout", 408)
    assert_recorded(strict, caller, "body-timeout", before)
    assert calls(strict) == calls_before


def test_a_pipelined_request_is_refused_after_the_first_is_answered(strict, caller, wire):
    before = count(strict, "pipelining")
    intents = [entry for entry in records(strict, 10_000) if entry["type"] == "access.intent"]
    wire.sendall(GOOD + GOOD)
    response, body = read_answer(wire)
    assert response.status == 200
    assert json.loads(body)["choices"]
    read_refusal(wire, "pipelining", 400)
    assert_recorded(strict, caller, "pipelining", before)
    after = [entry for entry in records(strict, 10_000) if entry["type"] == "access.intent"]
    assert len(after) == len(intents) + 1, "the pipelined request was served"


def test_what_is_hidden_behind_a_body_is_never_a_request_of_its_own(strict, wire):
    hidden = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"
    wire.sendall(POST + b"content-length: %d\r\n\r\n%b%b" % (len(BODY), BODY, hidden))
    response, _ = read_answer(wire)
    assert response.status == 200
    read_refusal(wire, "pipelining", 400)
    assert [entry for entry in records(strict, 50) if entry.get("action") == "model.list"] == []


def test_a_client_that_breaks_off_inside_a_body_leaves_nothing(strict, caller, wire):
    calls_before = calls(strict)
    wire.sendall(POST + b"content-length: 500\r\n\r\n{")
    wire.close()
    with plain(strict, caller) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    assert calls(strict) == calls_before + 1, "the broken call reached the application"


def test_100_continue_is_sent_before_the_body_and_the_call_goes_on(wire):
    wire.sendall(POST + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(BODY))
    assert wire.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.sendall(BODY)
    assert read_answer(wire)[0].status == 200


def test_a_body_too_large_is_refused_instead_of_continued(wire):
    wire.sendall(POST + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % (BODY_BYTES + 1))
    read_refusal(wire, "body-too-large", 413)


def test_the_largest_body_is_taken_and_so_is_one_in_pieces(wire):
    padded = BODY[:-1] + b" " * (BODY_BYTES - len(BODY)) + b"}"
    wire.sendall(POST + b"content-length: %d\r\n\r\n%b" % (len(padded), padded))
    assert read_answer(wire)[0].status == 200
    wire.sendall(CHUNKED)
    for start in range(0, len(BODY), 40):
        piece = BODY[start : start + 40]
        wire.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    wire.sendall(b"0\r\n\r\n")
    assert read_answer(wire)[0].status == 200


def test_plain_http_gets_no_answer(strict):
    with socket.create_connection(("127.0.0.1", strict.port), timeout=PATIENCE) as sock:
        sock.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
        said = b""
        try:
            while piece := sock.recv(4096):
                said += piece
        except ConnectionError:
            pass
    assert b"HTTP/" not in said


def test_after_all_of_it_the_gateway_serves_and_is_ready(strict, caller):
    with plain(strict, caller) as client:
        assert client.post("/v1/chat/completions", json=chat(MODEL)).status_code == 200
    assert strict.ready()["ready"] is True
