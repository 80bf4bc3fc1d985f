"""What an OPA server may answer, and what it may not: each refuses, none lets through."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.authorization.decision_form import MALFORMED_DENY
from gateway.authorization.opa.engine import PATH, OpaEngine
from gateway.errors import UnavailableError
from tests.support.scripted_backend import Peer
from tests.unit.authorization.conftest import call
from tests.unit.authorization.opa.conftest import ALLOW, StandInOpa, decided, http


async def refused(engine: OpaEngine) -> str:
    """Return the cause that the log is given, having checked what the caller is."""
    with pytest.raises(UnavailableError) as caught:
        await engine.decide(call())
    assert caught.value.status == 503
    assert caught.value.code == "policy_engine_unavailable"
    assert "127.0.0.1" not in json.dumps(caught.value.problem())
    assert engine.malformed == 0
    return str(caught.value.__cause__)


async def malformed(answer: bytes, **changes: Any) -> str:
    """Return what was wrong, having checked that it is a deny."""
    told: list[str] = []
    async with StandInOpa.answering(answer) as opa:
        engine = opa.engine(on_malformed=told.append, **changes)
        assert await engine.decide(call()) is MALFORMED_DENY
    assert len(told) == engine.malformed == 1
    return told[0]


async def test_input_is_asked_of_the_entry_point_and_the_answer_taken() -> None:
    obligation = {"type": "clamp_max_tokens", "max_tokens": 5}
    async with StandInOpa.answering(decided({**ALLOW, "obligations": [obligation]})) as opa:
        decision = await opa.engine(expected_revision="r1").decide(call())
    assert (decision.allow, decision.reasons, decision.obligations) == (True, (), (obligation,))
    assert decision.cache_seconds == 60
    head, body = opa.requests[0]
    assert head.startswith(f"POST {PATH}?provenance=true&strict-builtin-errors=true HTTP/1.1\r\n".encode())
    assert b"host: 127.0.0.1:%d\r\n" % opa.port in head
    assert json.loads(body) == {"input": call()}


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (http("{}"), "undefined"),
        (http('{"decision_id": "1"}'), "undefined"),
        (decided(None), "undefined"),
        (decided("allow"), "a string, not an object"),
        (decided(True), "a boolean, not an object"),
        (decided({"allow": True}), "it lacks"),
        (decided({**ALLOW, "granted": []}), "unknown key granted"),
        (decided({"decision": dict(ALLOW)}), "it lacks"),
        (decided({**ALLOW, "cache_seconds": -1}), "cache_seconds"),
        (decided({**ALLOW, "cache_seconds": 60.0}), "cache_seconds"),
        (decided({**ALLOW, "obligations": [{"type": "redact"}]}), "redact"),
        (http(json.dumps(ALLOW)), "undefined"),
        (http(json.dumps([{"result": ALLOW}])), "not an object"),
        (http('{"result": '), "not JSON"),
        (http(""), "not JSON"),
        (http("<html>welcome</html>"), "not JSON"),
        (http(b"\xff\xfe"), "not JSON"),
        (http(json.dumps({"result": ALLOW}), "404 Not Found"), "status 404"),
        (http(json.dumps({"result": ALLOW}), "400 Bad Request"), "status 400"),
        (http(json.dumps({"result": ALLOW}), "302 Found", "location: http://127.0.0.1:1/"), "status 302"),
        (http(json.dumps({"result": ALLOW}), "201 Created"), "status 201"),
        (http(json.dumps({"code": "unauthorized"}), "401 Unauthorized"), "status 401"),
    ],
)
async def test_answer_that_is_no_decision_of_the_contract_is_a_deny(answer: bytes, wrong: str) -> None:
    assert wrong in await malformed(answer)


@pytest.mark.parametrize("code", ["eval_conflict_error", "eval_builtin_error", "eval_type_error"])
async def test_policy_that_fails_in_the_server_is_a_deny(code: str) -> None:
    """As in the embedded engine: it is the policy that fails, for one input, not the server."""
    body = {"code": "internal_error", "message": "…", "errors": [{"code": code, "message": "a.rego:3: why"}]}
    assert await malformed(http(json.dumps(body), "500 Internal Server Error")) == f"{code}: a.rego:3: why"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "oh",
        "{}",
        json.dumps({"result": ALLOW}),
        json.dumps({"errors": []}),
        json.dumps({"errors": {}}),
        json.dumps({"errors": [{"code": "eval_cancel_error", "message": "caller cancelled"}]}),
        json.dumps({"errors": [{"code": "eval_conflict_error", "message": "x"}, {"code": "storage", "message": "y"}]}),
    ],
)
@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Service Unavailable"])
async def test_failing_server_is_unavailable(status: str, body: str) -> None:
    async with StandInOpa.answering(http(body, status)) as opa:
        assert f"status {status[:3]}" in await refused(opa.engine())


@pytest.mark.parametrize(
    "provenance",
    [
        {"bundles": {"b": {"revision": "r0"}}},
        {"bundles": {"b": {"revision": ""}}},
        {"bundles": {"b": {}}},
        {"bundles": {}},
        {"bundles": [{"revision": "r1"}]},
        {"bundles": {"r1": "r1"}},
        {"revision": "r0"},
        {"revision": ["r1"]},
        {},
        "r1",
        None,
    ],
)
async def test_server_with_another_revision_is_unavailable(provenance: Any) -> None:
    async with StandInOpa.answering(decided(provenance=provenance)) as opa:
        assert "the gateway r1" in await refused(opa.engine(expected_revision="r1"))


async def test_server_with_another_revision_is_unavailable_also_where_it_denies_or_is_undefined() -> None:
    async with StandInOpa.answering(decided(None, "r0"), decided("x", "r0")) as opa:
        engine = opa.engine(expected_revision="r1")
        await refused(engine)
        await refused(engine)


@pytest.mark.parametrize(
    "provenance",
    [{"bundles": {"a": {"revision": "other"}, "b": {"revision": "r1"}}}, {"revision": "r1"}],
)
async def test_revision_is_found_among_several_bundles_or_in_the_old_place(provenance: Any) -> None:
    async with StandInOpa.answering(decided(provenance=provenance)) as opa:
        assert (await opa.engine(expected_revision="r1").decide(call())).allow


@pytest.mark.parametrize("document", [{"a": object()}, {"a": "\ud800"}, {1: 2}, {"a": 2**70}])
async def test_input_that_is_not_json_is_a_deny_and_is_not_sent(document: Any) -> None:
    async with StandInOpa.answering(decided()) as opa:
        engine = opa.engine()
        assert await engine.decide(document) is MALFORMED_DENY
        assert opa.connections == 0
    assert engine.malformed == 1


async def test_dead_server_is_unavailable(tmp_path: Path) -> None:
    async with StandInOpa.answering() as opa:
        pass
    assert "cannot be reached" in await refused(opa.engine())
    assert "cannot be reached" in await refused(OpaEngine(f"unix://{tmp_path}/none.sock"))


async def test_slow_server_is_unavailable_at_the_deadline() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.left()

    async with StandInOpa(silent) as opa:
        assert "in time" in await refused(opa.engine(timeout_seconds=0.02))


async def test_answer_that_trickles_is_unavailable_at_the_deadline() -> None:
    """Each byte comes soon after the one before; the deadline is that of the whole."""
    sent = 0

    async def trickle(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        for byte in http(" " * 100_000):
            await peer.send(bytes([byte]))
            sent += 1
            await asyncio.sleep(0.001)

    async with StandInOpa(trickle) as opa:
        assert "in time" in await refused(opa.engine(timeout_seconds=0.2))
    assert sent > 1


async def test_server_that_does_not_read_is_unavailable_at_the_deadline() -> None:
    async def deaf(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    async with StandInOpa(deaf) as opa:
        engine = opa.engine(timeout_seconds=0.05)
        with pytest.raises(UnavailableError):
            await engine.decide({"a": "x" * 30_000_000})


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x15\x03\x01\x00\x02\x02F",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 900\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000,
    ],
)
async def test_garbage_instead_of_http_is_unavailable(garbage: bytes) -> None:
    async with StandInOpa.answering(garbage) as opa:
        assert "no usable answer" in await refused(opa.engine())


@pytest.mark.parametrize("cut", [1, 15, 30, -1])
async def test_connection_closed_in_the_middle_of_the_answer_is_unavailable(cut: int) -> None:
    async with StandInOpa.answering(decided()[:cut]) as opa:
        await refused(opa.engine())
        assert opa.connections == 1


async def test_answer_that_ends_with_the_connection_in_the_middle_is_a_deny() -> None:
    """HTTP/1.0 says no length; what is cut off there is no JSON."""
    whole = b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps({"result": ALLOW}).encode()
    assert "not JSON" in await malformed(whole[:-1])


async def test_huge_answer_is_unavailable() -> None:
    padding = b" " * 1_048_577
    async with StandInOpa.answering(http(padding)) as opa:
        assert "more than 1048576 bytes" in await refused(opa.engine())
    async with StandInOpa.answering(http(json.dumps({"result": ALLOW}).encode().ljust(1_048_576))) as opa:
        assert (await opa.engine().decide(call())).allow


async def test_huge_answer_in_chunks_is_cut_off_early() -> None:
    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await peer.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    async with StandInOpa(endless) as opa:
        assert "more than 1048576 bytes" in await refused(opa.engine())
