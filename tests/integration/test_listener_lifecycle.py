"""The listener as a whole: bounds on connections, closing some of them, and draining."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.config.model import ListenerLimits
from gateway.listener import connections
from tests.support.listening import Authority, Client, RunningListener, client_context, eventually

OURS = Authority("ours.test")
SERVER = OURS.issue("spiffe://ours.test/gateway")
AGENT = OURS.issue("spiffe://ours.test/agent/a")
OTHER = OURS.issue("spiffe://ours.test/agent/b")
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"
HANG = b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n"

began = threading.Event()


async def app(scope: Any, receive: Any, send: Any) -> None:
    began.set()
    await asyncio.sleep({"/slow": 0.4, "/hang": 60}.get(scope["path"], 0))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def listener() -> Iterator[RunningListener]:
    began.clear()
    limits = ListenerLimits(connections=6, connections_per_identity=3)
    with RunningListener(app, SERVER, [OURS.bundle], limits) as running:
        yield running


def test_an_identity_has_a_bound_of_its_own(listener: RunningListener, tmp_path: Path) -> None:
    agent, other = client_context(AGENT, tmp_path), client_context(OTHER, tmp_path)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(listener, agent)) for _ in range(4)]
        answers = [client.ask(GET) for client in clients]
        assert [answer.status for answer in answers] == [200, 200, 200, 503]
        assert json.loads(answers[-1].body)["code"] == "connections-per-identity"
        assert answers[-1].headers["retry-after"] == "1"
        assert stack.enter_context(Client(listener, other)).ask(GET).status == 200
        [(rule, peer, _)] = listener.observer.refusals
        assert (rule, peer.id) == ("connections-per-identity", "spiffe://ours.test/agent/a")
        clients[0].sock.close()
        eventually(lambda: len(listener.observer.closed) == 2)
        assert stack.enter_context(Client(listener, agent)).ask(GET).status == 200


def test_the_worker_has_a_bound_too(listener: RunningListener, tmp_path: Path) -> None:
    contexts = [client_context(OURS.issue(f"spiffe://ours.test/{n}"), tmp_path) for n in range(7)]
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(listener, context)) for context in contexts]
        answers = [client.ask(GET) for client in clients]
        assert [answer.status for answer in answers] == [200] * 6 + [503]
        assert json.loads(answers[-1].body)["code"] == "connections"


def test_far_beyond_the_bound_connections_are_cut_unanswered(
    listener: RunningListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "OVERFLOW", 1)
    with ExitStack() as stack:
        for _ in range(7):
            stack.enter_context(socket.create_connection(("127.0.0.1", listener.port), 5))
        eventually(lambda: listener.server.connections == 7)
        beyond = stack.enter_context(socket.create_connection(("127.0.0.1", listener.port), 5))
        assert beyond.recv(1) == b""
        assert [rule for rule, _ in listener.observer.failures] == ["connections"]


def test_connections_of_chosen_peers_are_closed_after_their_answer(listener: RunningListener, tmp_path: Path) -> None:
    agent, other = client_context(AGENT, tmp_path), client_context(OTHER, tmp_path)
    with Client(listener, agent) as idle, Client(listener, agent) as busy, Client(listener, other) as spared:
        idle.ask(GET)
        spared.ask(GET)
        began.clear()
        busy.send(SLOW)
        assert began.wait(5)

        async def close() -> int:
            return listener.server.close_connections(lambda peer: peer.id.endswith("/a"))

        assert listener.run(close()) == 2
        assert idle.is_closed()
        answer = busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"ok", "close")
        assert busy.is_closed()
        assert spared.ask(GET).status == 200


def test_drain_finishes_what_is_under_way_and_takes_nothing_new(listener: RunningListener, tmp_path: Path) -> None:
    context = client_context(AGENT, tmp_path)
    with Client(listener, context) as idle, Client(listener, context) as busy:
        idle.ask(GET)
        began.clear()
        busy.send(SLOW)
        assert began.wait(5)
        draining = asyncio.run_coroutine_threadsafe(listener.server.drain(5), listener.loop)
        assert idle.is_closed()
        eventually(lambda: cannot_connect(listener.port))
        answer = busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"ok", "close")
        busy.sock.close()
        idle.sock.close()
        draining.result(5)
        assert listener.server.connections == 0


def test_drain_cuts_what_does_not_end_in_time(listener: RunningListener, tmp_path: Path) -> None:
    with Client(listener, client_context(AGENT, tmp_path)) as client:
        client.send(HANG)
        assert began.wait(5)
        start = time.monotonic()
        listener.run(listener.server.drain(0.2))
        assert time.monotonic() - start < 2
        assert client.is_closed()
        assert listener.server.requests_under_way == 0


def cannot_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False
