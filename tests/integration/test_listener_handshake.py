"""Who gets through the TLS handshake, who does not, and what is said about it."""

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.model import ListenerLimits
from gateway.listener.tls import TlsMaterial
from tests.support.listening import Authority, Client, RunningListener, Svid, client_context, eventually

GET = b"GET /who HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /who HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + bytes(300_000)
OURS = Authority("ours.test")
PARTNER = Authority("partner.test")
STRANGER = Authority("ours.test")
SERVER = OURS.issue("spiffe://ours.test/gateway")


async def who(scope: Any, receive: Any, send: Any) -> None:
    """Answer who the caller is, or the rule by which it is refused."""
    peer = scope["extensions"]["govgateway"]
    if peer.identity is None:
        status, body = 401, json.dumps({"rule": peer.refusal.rule, "next": (await receive())["type"]})
    else:
        status, body = 200, json.dumps({"id": peer.identity.id})
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body.encode()})


@pytest.fixture
def listener() -> Iterator[RunningListener]:
    limits = ListenerLimits(handshake_timeout_seconds=0.4)
    with RunningListener(who, SERVER, [OURS.bundle, PARTNER.bundle], limits) as running:
        yield running


def test_a_member_of_the_domain_is_handed_to_the_application(listener: RunningListener, tmp_path: Path) -> None:
    svid = OURS.issue("spiffe://ours.test/agent/a")
    with Client(listener, client_context(svid, tmp_path)) as client:
        assert client.sock.version() == "TLSv1.3"
        answer = client.ask(GET)
        assert (answer.status, json.loads(answer.body)) == (200, {"id": "spiffe://ours.test/agent/a"})
        assert client.ask(GET).status == 200
    eventually(lambda: listener.observer.closed)
    assert [peer.id for peer in listener.observer.opened] == ["spiffe://ours.test/agent/a"]
    assert listener.observer.failures == []


def test_a_member_of_a_federated_domain_is_handed_to_the_application(listener: RunningListener, tmp_path: Path) -> None:
    svid = PARTNER.issue("spiffe://partner.test/agent/a")
    with Client(listener, client_context(svid, tmp_path)) as client:
        assert json.loads(client.ask(GET).body) == {"id": "spiffe://partner.test/agent/a"}


@pytest.mark.parametrize(
    ("svid", "rule"),
    [
        (None, "no-certificate"),
        (OURS.issue("spiffe://ours.test/a", valid_from=-100, valid_for=50), "certificate-expired"),
        (OURS.issue("spiffe://ours.test/a", valid_from=80_000), "certificate-not-yet-valid"),
        (OURS.issue("spiffe://ours.test/a", self_signed=True), "self-signed"),
        (Authority("other.test").issue("spiffe://other.test/a"), "unknown-authority"),
        (STRANGER.issue("spiffe://ours.test/a"), "unknown-authority"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_openssl_refuses_is_reported_by_its_rule(
    listener: RunningListener, tmp_path: Path, svid: Svid | None, rule: str
) -> None:
    with Client(listener, client_context(svid, tmp_path)) as client, pytest.raises(ssl.SSLError):
        client.ask(GET)
    eventually(lambda: listener.observer.failures)
    [(reported, detail)] = listener.observer.failures
    assert reported == rule
    assert "127.0.0.1:" in detail
    assert listener.observer.opened == []


@pytest.mark.parametrize(
    ("svid", "rule"),
    [
        (OURS.issue("spiffe://ours.test/a", "spiffe://ours.test/b"), "leaf-two-uri-sans"),
        (OURS.issue("spiffe://ours.test"), "leaf-root-path"),
        (PARTNER.issue("spiffe://ours.test/a"), "chain-not-trusted"),
        (OURS.issue("spiffe://unknown.test/a"), "trust-domain-unknown"),
    ],
    ids=["two ids", "root path", "federated CA signs our domain", "unknown domain"],
)
def test_a_refused_peer_gets_the_applications_answer_to_one_head_and_no_more(
    listener: RunningListener, tmp_path: Path, svid: Svid, rule: str
) -> None:
    with Client(listener, client_context(svid, tmp_path)) as client:
        answer = client.ask(POST)
        assert answer.status == 401
        assert json.loads(answer.body) == {"rule": rule, "next": "http.disconnect"}
        assert answer.headers["connection"] == "close"
        assert client.is_closed()
    [peer] = listener.observer.opened
    assert peer.identity is None


def test_tls_1_2_is_refused(listener: RunningListener, tmp_path: Path) -> None:
    context = client_context(OURS.issue("spiffe://ours.test/a"), tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol version"):
        Client(listener, context)
    eventually(lambda: listener.observer.failures)
    assert [rule for rule, _ in listener.observer.failures] == ["tls-version"]


def test_plain_http_is_refused(listener: RunningListener) -> None:
    with socket.create_connection(("127.0.0.1", listener.port), 5) as plain:
        plain.sendall(GET)
        plain.recv(100)
    eventually(lambda: listener.observer.failures)
    assert [rule for rule, _ in listener.observer.failures] == ["not-tls"]


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
def test_a_handshake_that_takes_too_long_is_cut(listener: RunningListener, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", listener.port), 5) as plain:
        plain.sendall(sent)
        assert plain.recv(1) == b""
    eventually(lambda: listener.observer.failures)
    assert [rule for rule, _ in listener.observer.failures] == ["handshake-timeout"]


def test_a_handshake_broken_off_is_reported(listener: RunningListener) -> None:
    socket.create_connection(("127.0.0.1", listener.port), 5).close()
    eventually(lambda: listener.observer.failures)
    assert [rule for rule, _ in listener.observer.failures] == ["handshake-aborted"]
    eventually(lambda: listener.server.connections == 0)


def test_no_session_is_resumed_so_that_every_connection_is_verified(listener: RunningListener, tmp_path: Path) -> None:
    context = client_context(OURS.issue("spiffe://ours.test/a"), tmp_path)
    with Client(listener, context) as first:
        first.ask(GET)
        session = first.sock.session
        assert session is None or not session.has_ticket


def test_only_http_1_1_is_negotiated(listener: RunningListener, tmp_path: Path) -> None:
    context = client_context(OURS.issue("spiffe://ours.test/a"), tmp_path)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with Client(listener, context) as client:
        assert client.sock.selected_alpn_protocol() == "http/1.1"


def test_new_tls_material_serves_new_connections_while_open_ones_go_on(
    listener: RunningListener, tmp_path: Path
) -> None:
    context = client_context(OURS.issue("spiffe://ours.test/a"), tmp_path)
    with Client(listener, context) as before:
        before.ask(GET)
        old = before.sock.getpeercert(binary_form=True)
        renewed = OURS.issue("spiffe://ours.test/gateway")
        # The partner is no longer trusted, the domain itself still is.
        listener.server.replace_tls(TlsMaterial(renewed.chain, renewed.key, OURS.bundle.authorities))
        with Client(listener, context) as after:
            assert after.ask(GET).status == 200
            assert after.sock.getpeercert(binary_form=True) != old
        assert before.ask(GET).status == 200
    partner = client_context(PARTNER.issue("spiffe://partner.test/a"), tmp_path)
    with Client(listener, partner) as refused, pytest.raises(ssl.SSLError):
        refused.ask(GET)
