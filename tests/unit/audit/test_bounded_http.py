"""What a server cannot do to who asks it."""

import asyncio
import socket
import threading

import pytest

from audit.anchors.errors import AnchorError
from audit.bounded_http import BoundedClient, is_loopback
from tests.support.answering_server import Answered, answering


@pytest.fixture
def dripping():
    """The URL of a server that sends an endless header, a byte at a time."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nx-long: ")
            while not ended.wait(0.05):
                try:
                    connection.sendall(b"a")
                except OSError:
                    return

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    ended.set()
    thread.join()
    listener.close()


def test_an_answer_that_drips_for_ever_ends_at_the_limit(dripping):
    client = BoundedClient("the server", timeout=0.5, max_bytes=100, error=AnchorError)
    with pytest.raises(AnchorError, match=r"the server did not answer within 0\.5 seconds"):
        client.ask("GET", dripping)
    client.close()


def test_one_client_serves_several_threads_one_after_the_other():
    with answering(lambda asked: Answered(asked.body)) as server:
        client = BoundedClient("the server", timeout=10, max_bytes=100, error=AnchorError)
        answers = []
        for number in range(3):
            thread = threading.Thread(
                target=lambda n=number: answers.append(client.ask("POST", server.url, content=b"%d" % n).body)
            )
            thread.start()
            thread.join()
        client.close()
    assert answers == [b"0", b"1", b"2"]


async def test_code_that_has_an_event_loop_closes_it_too():
    with answering(lambda _: Answered(b"here")) as server:
        client = BoundedClient("the server", timeout=10, max_bytes=100, error=AnchorError)
        await asyncio.to_thread(client.ask, "GET", server.url)
        client.close()


def test_the_environment_names_no_proxy(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with answering(lambda _: Answered(b"here")) as server:
        client = BoundedClient("the server", timeout=10, max_bytes=100, error=AnchorError)
        assert client.ask("GET", server.url).body == b"here"
        client.close()


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("http://127.0.0.1:9000", True),
        ("http://[::1]:9000/x", True),
        ("http://localhost", True),
        ("http://localhost.example", False),
        ("http://127.0.0.1.example", False),
        ("http://127.0.0.1@example.org", False),
        ("http://10.0.0.1", False),
        ("", False),
    ],
)
def test_loopback_is_told_from_what_looks_like_it(url, is_one):
    assert is_loopback(url) is is_one
