"""The misbehaving server misbehaves as named; other tests rely on it."""

import socket
import time

import httpx
import pytest

from tests.support.faulty_backend import FAULTS, REDIRECT_TARGET, FaultyBackend, refused_url

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def post(backend: FaultyBackend, *, stream: bool = False) -> httpx.Response:
    return httpx.post(backend.url + "/chat/completions", json={**CHAT, "stream": stream}, timeout=1, trust_env=False)


def test_without_a_fault_it_answers_and_streams():
    with FaultyBackend() as backend:
        assert post(backend).json()["usage"]["total_tokens"] == 9
        assert post(backend, stream=True).text.endswith("data: [DONE]\n\n")
        assert [request.json()["stream"] for request in backend.requests] == [False, True]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("hang-before-head", httpx.ReadTimeout),
        ("hang-mid-stream", httpx.ReadTimeout),
        ("reset-before-head", httpx.ReadError),
        ("reset-mid-stream", httpx.ReadError),
        ("close-mid-stream", httpx.RemoteProtocolError),
        ("close-mid-body", httpx.RemoteProtocolError),
        ("garbage-head", httpx.RemoteProtocolError),
        ("huge-header", httpx.RemoteProtocolError),
    ],
)
def test_a_fault_of_the_connection_is_seen_as_one(fault, error):
    with FaultyBackend(fault) as backend, pytest.raises(error):
        post(backend, stream="stream" in fault)


def test_a_caller_that_leaves_is_noticed():
    with FaultyBackend("hang-mid-stream") as backend:
        with pytest.raises(httpx.ReadTimeout):
            post(backend, stream=True)
        deadline = time.monotonic() + 5
        while backend.open and time.monotonic() < deadline:
            time.sleep(0.01)
        assert backend.open == 0


def test_it_redirects_and_fails_on_demand():
    with FaultyBackend("redirect") as backend:
        assert post(backend).headers["location"] == REDIRECT_TARGET
        for fault, status in (("error-400", 400), ("error-500", 500), ("busy", 503)):
            backend.fault = fault
            assert post(backend).status_code == status


def test_a_refused_url_refuses():
    with refused_url() as url, pytest.raises(httpx.ConnectError):
        httpx.post(url + "/chat/completions", json=CHAT, trust_env=False)


def test_every_fault_answers_or_ends_the_connection():
    body = b'{"model":"m","messages":[]}'
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    for fault in FAULTS.keys() - {"hang-before-head"}:
        with FaultyBackend(fault) as backend, socket.create_connection(("127.0.0.1", backend.port), 5) as peer:
            peer.settimeout(5)
            peer.sendall(request)
            try:
                assert peer.recv(10) or fault == "reset-before-head", fault
            except ConnectionResetError:
                assert fault == "reset-before-head"
